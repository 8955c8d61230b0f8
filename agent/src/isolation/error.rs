//! Why an isolation was not begun, confirmed or ended.

use super::TURN_LIMIT;
use crate::gate::{netlink::NetlinkError, program::ProgramError};
use daemon::durable::DurableError;

/// Why an isolation was not begun, confirmed or ended.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// Nobody could undo it.
    #[error(
        "refused: no administrator would reach this host any more. Write [isolation] \
         administrators = [\"ADDRESS\"] in agent.toml, give --admin ADDRESS, or, from the \
         machine's own console, --force --reason TEXT"
    )]
    NobodyLeft,
    /// agent.toml does not let coordinators do it.
    #[error(
        "agent.toml on this host does not let coordinators isolate it: [isolation] remote = true \
         would; on the host itself, `understudy-agent isolate`"
    )]
    NotRemote,
    /// A word is missing.
    #[error("--force needs --reason TEXT: it is recorded")]
    NoReason,
    /// Too long.
    #[error("an isolation for more than 366d is one without an end: leave --for out")]
    TooLong,
    /// None stands.
    #[error("this host is not isolated: there is nothing to confirm")]
    NotIsolated,
    /// No proof that somebody can still log in.
    #[error(
        "not confirmed: {0}. Log in anew, by a new SSH connection from an administrator's \
         address, and confirm there; at the machine's own console, --force --reason TEXT"
    )]
    NotFresh(String),
    /// Somebody else is at it.
    #[error("another `isolate` of this host is under way, and did not end within {} s", TURN_LIMIT.as_secs())]
    Busy,
    /// The memory.
    #[error("the isolation is not saved: {0}")]
    Saved(#[from] DurableError),
    /// `nft`.
    #[error("the isolation's table was not loaded: {0}")]
    Nft(String),
    /// nf_tables.
    #[error("nf_tables: {0}")]
    Kernel(String),
}

impl From<ProgramError> for IsolationError {
    fn from(error: ProgramError) -> Self {
        Self::Nft(error.to_string())
    }
}

impl From<NetlinkError> for IsolationError {
    fn from(error: NetlinkError) -> Self {
        Self::Kernel(error.to_string())
    }
}
