//! Appending a record: the only way by which anything becomes fact (C1).

use super::{
    fatal::FatalError,
    node::{Node, led_by},
    types::{Member, Recorded, position},
};
use failover::{Position, Record};
use openraft::errors::{ClientWriteError, ForwardReason, RaftError};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// How long an append may take until its outcome is called unknown.
const APPEND_DEADLINE: Duration = Duration::from_secs(2);

/// Why a record is not known to be committed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Another leads, or none: the record was not appended.
    #[error("this coordinator does not lead{}, so the record was not appended", led_by(leader.as_ref()))]
    NotLeader {
        /// Who leads, as far as is known here.
        leader: Option<Member>,
    },
    /// The outcome is unknown: the record may be committed, now or later, or never.
    #[error(
        "the record was not confirmed within {APPEND_DEADLINE:?}, or leadership changed meanwhile; \
         it may or may not become committed"
    )]
    TimedOut,
    /// Consensus has ended in this process; the outcome is unknown.
    #[error("the consensus has ended in this process")]
    Fatal(#[source] Arc<FatalError>),
}

impl Node {
    /// Appends a record; answers its place once it is committed and applied here.
    pub(super) async fn append(&self, record: Record) -> Result<Position, AppendError> {
        let deadline = Instant::now() + APPEND_DEADLINE;
        loop {
            let write = self.raft.client_write(Recorded(record.clone()));
            let Ok(answer) = timeout_at(deadline, write).await else {
                return Err(AppendError::TimedOut);
            };
            match answer {
                Ok(written) => return Ok(position(&written.log_id)),
                Err(RaftError::Fatal(why)) => return Err(AppendError::Fatal(self.ended(&why))),
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                    // Not appended, and this node leads: its voters are late with their answers.
                    let late = forward.reason == ForwardReason::LeaseExpired;
                    if late && Instant::now() + self.settings.heartbeat < deadline {
                        sleep(self.settings.heartbeat).await;
                        continue;
                    }
                    return Err(AppendError::NotLeader { leader: self.other(&forward) });
                }
                // The other two are of requests that are not made here; neither can
                // promise that the record will not be committed.
                Err(RaftError::APIError(
                    ClientWriteError::LogEntryDiscarded(_)
                    | ClientWriteError::ChangeMembershipError(_)
                    | ClientWriteError::PreconditionFailed(_),
                )) => return Err(AppendError::TimedOut),
            }
        }
    }
}
