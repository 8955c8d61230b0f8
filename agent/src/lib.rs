//! Understudy's agent: eyes and hands on a host.
//!
//! Pure parts: [`lease`], [`guard`], [`keeper`], [`verdict`]. Durable memory:
//! [`ledger`]. Eyes: [`probe`]. Hands: [`service`], [`hold`], [`gate`] and the
//! commands. [`session`] speaks with coordinators; [`driver`] is the one loop
//! that ties them together.

mod command;
pub mod config;
pub mod coordinators;
pub mod driver;
pub mod enroll;
pub mod gate;
pub mod guard;
pub mod hold;
pub mod keeper;
pub mod lease;
pub mod ledger;
pub mod probe;
pub mod service;
pub mod session;
pub mod verdict;
