//! Understudy's agent: eyes and hands on a host.
//!
//! Pure parts: [`lease`], [`guard`], [`keeper`], [`failsafe`], [`stall`],
//! [`verdict`]. Durable memory: [`ledger`]. Eyes: [`probe`]. Hands: [`service`],
//! [`hold`], [`gate`], [`backups`], [`isolation`], [`emergency`], [`watchdog`] and
//! the commands. [`session`] speaks with coordinators, [`peer`] with other agents,
//! [`task`] does what operators order, [`evidence`] shows what happened; [`driver`]
//! is the one loop
//! that ties them together.

pub mod backups;
mod command;
pub mod config;
pub mod coordinators;
pub mod driver;
pub mod emergency;
pub mod enroll;
pub mod evidence;
pub mod failsafe;
pub mod gate;
pub mod guard;
pub mod hold;
pub mod isolation;
pub mod keeper;
pub mod lease;
pub mod ledger;
pub mod peer;
pub mod probe;
pub mod service;
pub mod session;
pub mod stall;
pub mod task;
pub mod verdict;
pub mod watchdog;
