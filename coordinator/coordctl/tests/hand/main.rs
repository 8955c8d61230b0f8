//! The binary as an operator meets it: alone, and against coordinators that
//! play their part over real mutual TLS.

// A test that cannot go on says so by panicking; clippy's own exception
// reaches only functions that are tests themselves.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod alone;
mod asking;
mod backup;
mod host;
mod moving;
mod rpo;
mod stage;
