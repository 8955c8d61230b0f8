//! The decision: hold, or open a plan. One pure function of a [`Sight`].
//!
//! STOP and START are apart (C5): a site that nobody hears stops by itself
//! within its lease; this function only ever starts something.

mod reason;
mod target;
mod trouble;

pub use reason::Reason;
pub(crate) use target::{could_serve, data_ready};

use crate::{
    incident::Cause,
    plan::PlanKind,
    policy::{OnFeedSilent, OnServiceFailed},
    sight::Sight,
};
use alloc::string::ToString;
use core::fmt;
use model::{Millis, SiteId};
use serde::{Deserialize, Serialize};
use target::target;
use trouble::{Certain, Trouble, trouble};

/// What to do about a group now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Nothing, and why.
    Hold(Reason),
    /// Open a plan.
    Open(Opening),
}

impl Decision {
    /// One word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Hold(_) => "hold",
            Self::Open(_) => "open",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold(reason) => write!(f, "{reason}"),
            Self::Open(opening) => {
                write!(f, "{} to {}: {}", opening.kind, opening.to, opening.cause)
            }
        }
    }
}

/// A plan to open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The recipe.
    pub kind: PlanKind,
    /// The site that is active.
    pub from: Option<SiteId>,
    /// The site that shall be.
    pub to: SiteId,
    /// Why.
    pub cause: Cause,
    /// For how long the old site has not been good.
    pub lost_for: Millis,
}

/// Decides. The order of the questions is the order of their importance: a
/// block is named before the trouble that it blocks only when there is trouble.
#[must_use]
pub fn decide(sight: &Sight) -> Decision {
    if let Some(plan) = sight.plan {
        return Decision::Hold(Reason::PlanRunning(plan));
    }
    let Some(active) = sight.active.as_ref().and_then(|name| sight.site(name)) else {
        return first_start(sight);
    };
    let certain = match trouble(sight, active) {
        Trouble::None => return Decision::Hold(Reason::Healthy),
        Trouble::NotYet(reason) => return Decision::Hold(reason),
        Trouble::Certain(causes) => causes,
    };
    let hold = |reason| Decision::Hold(reason);
    if let Some(why) = &sight.held {
        return hold(Reason::Held(why.clone()));
    }
    // What is left to a person must not hide what is not.
    let ours = certain.iter().position(|certain| !left_to_person(sight, &certain.cause));
    let Some(Certain { cause, lost_for }) = certain.into_iter().nth(ours.unwrap_or(0)) else {
        return hold(Reason::Healthy);
    };
    if ours.is_none() {
        return hold(Reason::AutomationOff(cause));
    }
    if sight.cool_down_left > Millis::ZERO {
        return hold(Reason::CoolingDown(sight.cool_down_left));
    }
    let to = match target(sight, active) {
        Ok(site) => site,
        Err(reason) => return hold(reason),
    };
    let (reachable, needed) = (sight.reachable_proof(active), sight.proof_needed);
    if reachable < needed {
        return hold(Reason::ProofTooWeak { reachable, needed });
    }
    let from = Some(active.site.clone());
    Decision::Open(Opening { kind: PlanKind::Failover, from, to, cause, lost_for })
}

/// What is certainly wrong with the active site, whether or not it is acted upon.
#[must_use]
pub(crate) fn cause(sight: &Sight) -> Option<Cause> {
    let active = sight.active.as_ref().and_then(|name| sight.site(name))?;
    match trouble(sight, active) {
        Trouble::Certain(causes) => causes.into_iter().next().map(|certain| certain.cause),
        Trouble::None | Trouble::NotYet(_) => None,
    }
}

/// Whether the policy leaves trouble of this kind to a person.
fn left_to_person(sight: &Sight, cause: &Cause) -> bool {
    let moves = match cause {
        Cause::ServiceFailed { .. } => sight.on_service_failed == OnServiceFailed::Failover,
        Cause::FeedSilent { .. } => sight.on_feed_silent == OnFeedSilent::Failover,
        Cause::HostLost { .. } | Cause::FirstStart | Cause::Operator { .. } => true,
    };
    !(moves && sight.automatic)
}

fn first_start(sight: &Sight) -> Decision {
    if let Some(why) = &sight.held {
        return Decision::Hold(Reason::Held(why.clone()));
    }
    let ready = sight
        .site(&sight.primary)
        .ok_or_else(|| "the policy names no such site".to_string())
        .and_then(|site| could_serve(sight, site));
    match ready {
        Err(why) => Decision::Hold(Reason::WaitingForPrimary(why)),
        Ok(()) => Decision::Open(Opening {
            kind: PlanKind::Start,
            from: None,
            to: sight.primary.clone(),
            cause: Cause::FirstStart,
            lost_for: Millis::ZERO,
        }),
    }
}
