//! Backups that stand on their own, for the worst day: sources, repositories in
//! the restic format, proof by restoring, and restores that swap.
//!
//! The agent's binary calls this in a child process (`understudy-agent backup
//! ...`), never in its own loop: it blocks, and takes memory. Nothing here needs
//! a coordinator, and nothing here starts an exclusive service.

mod choose;
mod command;
pub mod config;
mod error;
mod limits;
mod manifest;
mod prune;
mod repository;
mod restore;
mod retention;
mod run;
pub mod schedule;
mod source;
pub mod status;
mod verify;

pub use command::{Answer, BackupCommand, Common, ThawAction, run};
pub use config::{Config, ContainerName, RepositoryConfig, SourceConfig};
pub use error::BackupError;
pub use limits::end_with;
pub use repository::{Level, OWN, PasswordError, RepositoryError, Verified, restic_lock};
pub use restore::{RestoreError, SwapError, TreeError};
pub use source::SourceError;
pub use verify::VerifyError;
