//! Understudy's coordinator: the journal, the decision, the DNS hook and the
//! notifications. `failover` decides; this crate gives it events and carries
//! out its effects, and nothing in here decides anything.

pub mod config;
pub mod consensus;
pub mod driver;
pub mod enroll;
pub mod explain;
pub mod inbound;
mod membership;
pub mod outbound;
pub mod relay;
pub mod run;
mod witness;
