//! The agent against a coordinator of the tests' own, over real mTLS on
//! loopback, with real processes as services.
#![allow(clippy::unwrap_used, reason = "these are tests, also outside of their functions")]

mod backups;
mod bench;
mod coordinator;
mod enrolment;
mod failsafe;
mod gated;
mod program;
mod session;
