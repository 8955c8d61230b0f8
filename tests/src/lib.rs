//! Promises kept on real machines: the harness that the scenarios, the demo
//! and the benchmarks share.
//!
//! Starts the real programs, on loopback in a folder of their own or on the
//! machines of the lab, speaks to
//! them only as an operator would (configuration files, `coordctl`, signals),
//! and looks at what came of it. It knows no types of the product: what it
//! reads is what the programs print. Everything it started is gone when it is
//! dropped, and nothing here waits without a deadline.

pub mod cluster;
pub mod config;
pub mod containers;
pub mod ctl;
pub mod installation;
pub mod journal;
pub mod lab;
pub mod node;
pub mod ports;
pub mod process;
pub mod programs;
pub mod stats;
pub mod ticks;
pub mod view;
pub mod wait;
pub mod webhook;
