//! The real core (`failover`) and the real pure parts of the agent, in
//! deterministic virtual time: three voters and two hosts, each with a clock of
//! its own, a network that delays, loses, doubles, reorders and cuts, and nodes
//! that crash, pause and come back.
//!
//! A seed says everything about a run. What a node does is what the product's
//! drivers do with the same pure parts; what is written anew here (a small
//! Raft, the kernel gate, services, disks) stands for the world. The checkers
//! know the truth, which no node does.

pub mod checkers;
pub mod clock;
pub mod draw;
pub mod fault;
pub mod history;
pub mod partitions;
mod raft;
pub mod run;
pub mod scene;
pub mod stage;

mod host;
mod message;
mod network;
mod rng;
mod voter;
mod world;

pub use world::{Stats, World};
