//! What Understudy's machines say to each other: the generated `understudy.v1`
//! types, and [`convert`], the only place where they become the model's and back.
//!
//! Invariant: a message that is wrong, unknown or from the future becomes a
//! [`convert::WireError`] in words; nothing here panics on any input.

pub mod convert;
mod version;

pub use version::{MAJOR, MINOR, SkewError, check_version, own_version};

/// The generated messages, clients and servers of `understudy.v1`.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic, clippy::all)]
pub mod v1 {
    tonic::include_proto!("understudy.v1");
}

/// The compiled description of every service, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
