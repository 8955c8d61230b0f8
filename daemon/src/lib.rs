//! How our processes behave: configuration files, logging, shutdown, durable
//! files, locks, waiting, exit codes, and running other programs.
//!
//! Knows nothing of groups, leases or coordinators: what a program does is its
//! own business, this crate only keeps every program doing it the same way.

pub mod backoff;
pub mod clock;
pub mod command;
pub mod config;
pub mod durable;
pub mod exit;
pub mod lock;
pub mod notify_systemd;
pub mod random;
pub mod shutdown;
pub mod telemetry;
