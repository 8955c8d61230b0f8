//! The lab: the real programs on five machines and a venue, with a network and
//! Docker of their own, and faults as they happen.
//!
//! A machine is a set of namespaces (network, processes, mounts), so that
//! nothing that a scenario does is seen outside, and the end of a machine is
//! the end of everything on it. The protected service is a *trader* which sends
//! numbered orders to the *venue*; what arrived there is the evidence.
//!
//! What a fault does is in `fault`, what a program has to bear in `hardship`, and
//! what must be true afterwards in `checker`.

pub mod checker;
pub mod config;
pub mod docker;
pub mod fault;
pub mod hardship;
pub mod machine;
pub mod network;
pub mod orders;
pub mod stage;
pub mod talk;
pub mod timeline;

pub use stage::Lab;
