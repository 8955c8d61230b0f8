//! Effects on the world outside of the cluster: one module a kind of effect.
//!
//! Each does one thing when asked and says what came of it. What is to be
//! done, when, and how often is decided in the core and kept in the journal.

pub mod agents;
pub mod dns;
pub mod fence;
pub mod notify;
pub mod tasks;
