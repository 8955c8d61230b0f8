//! `understudy-agent backup`, the program itself: real files, the real restic
//! program, a real Docker, real kills and a real full disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "these are tests, also outside of their functions"
)]

mod bench;
mod docker;
mod faults;
mod files;
mod interop;
mod standby;
mod status;
mod tree;
mod web;
