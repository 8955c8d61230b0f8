//! The command line's words about backups.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum BackupVerb {
    /// What a host's loss would lose now: each source's newest proven copy, against its bounds
    ///
    /// Exit code 1 when a source is beyond what is acceptable.
    Rpo {
        /// Only this group's sources
        group: Option<String>,
    },
}
