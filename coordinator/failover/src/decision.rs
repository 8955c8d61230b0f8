//! The decision: hold, or open a plan. One pure function of a [`Sight`].
//!
//! STOP and START are apart (C5): a site that nobody hears stops by itself
//! within its lease; this function only ever starts something.

use crate::{
    fence::ProofLevel,
    incident::Cause,
    plan::PlanKind,
    policy::OnServiceFailed,
    sight::{HostSight, Sight, SiteSight},
    suspicion::Standing,
};
use alloc::{
    format,
    string::{String, ToString},
};
use core::fmt;
use model::{HostId, Millis, PlanId, ServiceName, SiteId};
use serde::{Deserialize, Serialize};

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

/// Why nothing is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A plan is under way.
    PlanRunning(PlanId),
    /// The active site is as it should be.
    Healthy,
    /// Automation is stopped.
    Held(String),
    /// The policy leaves failover to a person.
    AutomationOff(Cause),
    /// A host is silent, not for long enough yet.
    Suspect {
        /// Which.
        host: HostId,
        /// What is left.
        dwell_left: Millis,
    },
    /// This leader has not heard a host of the active site yet and has not watched for long enough.
    NotHeardYet(HostId),
    /// A service fails, not for long enough yet.
    ServiceFailing {
        /// Which.
        service: ServiceName,
        /// Where.
        host: HostId,
        /// What is left.
        dwell_left: Millis,
    },
    /// The cool-down after the last failover runs (C7).
    CoolingDown(Millis),
    /// No other site could take over.
    NoTarget(String),
    /// Fencing would not reach the proof that the policy demands.
    ProofTooWeak {
        /// What it would reach.
        reachable: ProofLevel,
        /// What is demanded.
        needed: ProofLevel,
    },
    /// The group has never been active and its primary is not ready.
    WaitingForPrimary(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlanRunning(plan) => write!(f, "plan {plan} is under way"),
            Self::Healthy => f.write_str("the active site is healthy"),
            Self::Held(why) => write!(f, "automation is held: {why}"),
            Self::AutomationOff(cause) => {
                write!(f, "{cause}, and the policy leaves that to a person")
            }
            Self::Suspect { host, dwell_left } => {
                write!(f, "host {host} is silent; failover in {dwell_left} unless it is heard")
            }
            Self::NotHeardYet(host) => {
                write!(f, "this leader has not heard {host} yet and waits for a first contact")
            }
            Self::ServiceFailing { service, host, dwell_left } => {
                write!(f, "{service} on {host} is not running; failover in {dwell_left}")
            }
            Self::CoolingDown(left) => {
                write!(f, "the cool-down after the last failover has {left} left")
            }
            Self::NoTarget(why) => write!(f, "no site could take over: {why}"),
            Self::ProofTooWeak { reachable, needed } => write!(
                f,
                "fencing would reach proof level {reachable}, the policy demands {needed}"
            ),
            Self::WaitingForPrimary(why) => {
                write!(f, "never active yet; waiting for the primary: {why}")
            }
        }
    }
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
    let (cause, lost_for) = match trouble(sight, active) {
        Trouble::None => return Decision::Hold(Reason::Healthy),
        Trouble::NotYet(reason) => return Decision::Hold(reason),
        Trouble::Certain { cause, lost_for } => (cause, lost_for),
    };
    let hold = |reason| Decision::Hold(reason);
    if let Some(why) = &sight.held {
        return hold(Reason::Held(why.clone()));
    }
    let left_to_person = match &cause {
        Cause::ServiceFailed { .. } => match sight.on_service_failed {
            OnServiceFailed::Failover => !sight.automatic,
            OnServiceFailed::Hold => true,
        },
        Cause::HostLost { .. } | Cause::FirstStart | Cause::Operator { .. } => !sight.automatic,
    };
    if left_to_person {
        return hold(Reason::AutomationOff(cause));
    }
    if sight.cool_down_left > Millis::ZERO {
        return hold(Reason::CoolingDown(sight.cool_down_left));
    }
    let to = match target(sight, &active.site) {
        Ok(site) => site,
        Err(why) => return hold(Reason::NoTarget(why)),
    };
    let (reachable, needed) = (sight.reachable_proof(active), sight.proof_needed);
    if reachable < needed {
        return hold(Reason::ProofTooWeak { reachable, needed });
    }
    let from = Some(active.site.clone());
    Decision::Open(Opening { kind: PlanKind::Failover, from, to, cause, lost_for })
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

enum Trouble {
    None,
    NotYet(Reason),
    Certain { cause: Cause, lost_for: Millis },
}

/// The worst that is known of the active site: certain trouble before trouble that may pass.
fn trouble(sight: &Sight, active: &SiteSight) -> Trouble {
    let mut pending = None;
    for host in &active.hosts {
        match of_host(sight, host) {
            Trouble::Certain { cause, lost_for } => return Trouble::Certain { cause, lost_for },
            Trouble::NotYet(reason) => pending = pending.or(Some(reason)),
            Trouble::None => {}
        }
    }
    pending.map_or(Trouble::None, Trouble::NotYet)
}

fn of_host(sight: &Sight, host: &HostSight) -> Trouble {
    match sight.standing(host) {
        Standing::Lost => Trouble::Certain {
            cause: Cause::HostLost { host: host.host.clone() },
            lost_for: host.silence.unwrap_or(sight.watched),
        },
        Standing::Suspect { dwell_left } => {
            Trouble::NotYet(Reason::Suspect { host: host.host.clone(), dwell_left })
        }
        Standing::NeverHeard => Trouble::NotYet(Reason::NotHeardYet(host.host.clone())),
        Standing::Alive => of_services(sight, host),
    }
}

fn of_services(sight: &Sight, host: &HostSight) -> Trouble {
    let Some(worst) = host.faults.iter().max_by_key(|fault| fault.lasting) else {
        return Trouble::None;
    };
    // A living host gets one lease more than a silent one: its agent starts
    // services again by itself when a lease comes back.
    let patience = sight.timing.detection() + sight.timing.lease;
    if worst.lasting < patience {
        return Trouble::NotYet(Reason::ServiceFailing {
            service: worst.service.clone(),
            host: host.host.clone(),
            dwell_left: patience.saturating_sub(worst.lasting),
        });
    }
    Trouble::Certain {
        cause: Cause::ServiceFailed {
            host: host.host.clone(),
            service: worst.service.clone(),
            detail: format!("{} ({})", worst.state, worst.detail),
        },
        lost_for: worst.lasting,
    }
}

/// The first other site, in the policy's order, that could serve.
fn target(sight: &Sight, active: &SiteId) -> Result<SiteId, String> {
    let mut why = String::new();
    for site in sight.sites.iter().filter(|site| site.site != *active) {
        match could_serve(sight, site) {
            Ok(()) => return Ok(site.site.clone()),
            Err(reason) => {
                let gap = if why.is_empty() { "" } else { "; " };
                why = format!("{why}{gap}{}: {reason}", site.site);
            }
        }
    }
    Err(why)
}

/// Whether every host of `site` is heard and declares what the group expects of it.
///
/// # Errors
/// The first thing that stands against it, in words.
pub(crate) fn could_serve(sight: &Sight, site: &SiteSight) -> Result<(), String> {
    for host in &site.hosts {
        let standing = sight.standing(host);
        if standing != Standing::Alive {
            return Err(format!("host {} is {}", host.host, standing.word()));
        }
        if let Some(service) = host.undeclared.first() {
            return Err(format!("agent.toml on {} does not declare {service}", host.host));
        }
    }
    Ok(())
}
