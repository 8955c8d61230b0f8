//! What a coordinator may ask for, one file each, and starting again what a
//! lapse stopped.
//!
//! Whether it is allowed was settled before (guard), and the intent is durable
//! (ledger). Invariants: a start that was handed to a driver is waited for, so
//! that whoever closes afterwards knows that none is under way; every wait ends
//! at the deadline or when it is cancelled.

mod fence;
mod promote;
mod restore;
mod stand_by;
mod start_service;
mod verify;

pub(crate) use fence::stop_all;
pub(crate) use restore::{RESTORE_LIMIT, restore};
pub(crate) use stand_by::stand_by;

use crate::{
    gate::Gate,
    probe::FeedMark,
    service::{LeaseDeadline, Services},
    watchdog::Watchdog,
};
use daemon::{clock::boottime_ms, shutdown::Shutdown};
use model::{Action, Command, Epoch, GroupId, Mono, Outcome, ProbeName, Refusal, ServiceName};
use std::{sync::Arc, time::Duration};

/// The feeds of a group, each with what it brought since the promotion.
pub(crate) type Marks = Arc<[(ProbeName, FeedMark)]>;

/// What a command finds when it is carried out.
pub(crate) struct Room {
    /// The group it concerns.
    pub(crate) group: GroupId,
    /// The epoch it is carried out under.
    pub(crate) epoch: Epoch,
    /// This host's services.
    pub(crate) services: Arc<Services>,
    /// What the group's feeds brought since the promotion.
    pub(crate) marks: Marks,
    /// When the group's lease ends.
    pub(crate) lease: LeaseDeadline,
    /// Set when it has to give up.
    pub(crate) cancel: Shutdown,
    /// The kernel gate.
    pub(crate) gate: Gate,
    /// The machine's watchdog.
    pub(crate) watchdog: Watchdog,
    /// When it has to be done.
    pub(crate) until: Mono,
    /// What was started since the promotion, in order.
    pub(crate) started: Vec<ServiceName>,
}

/// Why waiting ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GaveUp {
    Cancelled,
    Deadline,
}

impl GaveUp {
    const fn words(self) -> &'static str {
        match self {
            Self::Cancelled => {
                "given up: the lease ended, the group was fenced, or a higher epoch came"
            }
            Self::Deadline => "the deadline passed",
        }
    }
}

impl Room {
    fn left(&self) -> Duration {
        self.until.since(Mono(boottime_ms())).to_duration()
    }

    /// Waits for `wanted`, but no longer than it may.
    async fn wait<T>(&self, wanted: impl Future<Output = T>) -> Result<T, GaveUp> {
        tokio::select! {
            biased;
            () = self.cancel.requested() => Err(GaveUp::Cancelled),
            value = wanted => Ok(value),
            () = tokio::time::sleep(self.left()) => Err(GaveUp::Deadline),
        }
    }

    fn no_lease(&self) -> Outcome {
        Outcome::Refused(Refusal::NoLease { epoch: self.epoch })
    }
}

fn failed(detail: impl Into<String>) -> Outcome {
    Outcome::Failed { detail: detail.into() }
}

/// Carries out one command other than a fence, which is the keeper's.
pub(crate) async fn carry_out(command: Command, room: Room) -> Outcome {
    match &command.action {
        Action::Fence => failed("a fence is not carried out like this: this is a defect"),
        Action::Promote { site } => promote::promote(&room, site).await,
        Action::StartService { service } => start_service::start_service(&room, service).await,
        Action::Verify { .. } => verify::verify(&room).await,
    }
}
