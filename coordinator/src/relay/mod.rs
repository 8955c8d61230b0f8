//! What agents say to a voter that does not lead reaches the one that does,
//! and its answers come back (C6); and what each voter sees itself goes the
//! same way (C5). So an agent that can reach any one voter is served.
//!
//! Every voter that does not lead, the witness included, holds one stream to
//! the leader ([`Uplink`]). It passes on agents' own words and vouches for one
//! thing: whose certificate it checked. The leader ([`RelayService`]) takes
//! them as if they had come to it directly. What anything means is the core's
//! business.
//!
//! Invariants: nothing here ever waits for the other side, and every queue has
//! an end (what does not fit is dropped; agents and the core ask again); a
//! stream that breaks loses what was in it; what came by a relay goes to the
//! driver alone and is never relayed again, so there are no circles.

mod queue;
mod serve;
mod sight;
mod up;

pub use serve::RelayService;
pub use sight::Eyes;
pub use up::Uplink;
