//! Why nothing is opened, as data and in words.

use crate::{fence::ProofLevel, incident::Cause};
use alloc::string::String;
use core::fmt;
use model::{HostId, Millis, PlanId, ProbeName, ServiceName};
use serde::{Deserialize, Serialize};

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
    /// Nobody can tell whether a service runs, which is no proof that it does not.
    ServiceUnknown {
        /// Which.
        service: ServiceName,
        /// Where.
        host: HostId,
        /// The driver's words.
        detail: String,
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
    /// This leader lost sight of a host that another voter still hears (C5).
    ObserversDisagree {
        /// The host.
        host: HostId,
        /// Every voter's opinion in words.
        opinions: String,
    },
    /// Too few voters have lost sight of a host (C5).
    NoObserverQuorum {
        /// The host.
        host: HostId,
        /// How many have.
        lost: u64,
        /// How many voters there are; 0 when that is not known.
        voters: u64,
        /// Every voter's opinion in words.
        opinions: String,
    },
    /// A feed is silent on every site: the market is closed, or the venue is down (C8).
    MarketQuiet {
        /// Which.
        feed: ProbeName,
    },
    /// A feed is silent on the active site, and no other site can tell (C8).
    FeedUnclear {
        /// Which.
        feed: ProbeName,
        /// What the other sites say, in words.
        detail: String,
    },
    /// A feed is silent, not for long enough yet.
    FeedFailing {
        /// Which.
        feed: ProbeName,
        /// Where.
        host: HostId,
        /// What is left.
        dwell_left: Millis,
    },
    /// The only sites that could take over lag too far behind with their data (C5).
    DataBehind(String),
}

impl Reason {
    /// One word for its kind: a non-decision is recorded when this changes.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::PlanRunning(_) => "plan-running",
            Self::Healthy => "healthy",
            Self::Held(_) => "held",
            Self::AutomationOff(_) => "automation-off",
            Self::Suspect { .. } => "suspect",
            Self::NotHeardYet(_) => "not-heard-yet",
            Self::ServiceFailing { .. } => "service-failing",
            Self::ServiceUnknown { .. } => "service-unknown",
            Self::CoolingDown(_) => "cooling-down",
            Self::NoTarget(_) => "no-target",
            Self::ProofTooWeak { .. } => "proof-too-weak",
            Self::WaitingForPrimary(_) => "waiting-for-primary",
            Self::ObserversDisagree { .. } => "observers-disagree",
            Self::NoObserverQuorum { .. } => "no-observer-quorum",
            Self::MarketQuiet { .. } => "market-quiet",
            Self::FeedUnclear { .. } => "feed-unclear",
            Self::FeedFailing { .. } => "feed-failing",
            Self::DataBehind(_) => "data-behind",
        }
    }

    /// Whether something is wrong with the active site, so that holding is
    /// worth a record. A leader that has yet to hear a host knows of no trouble.
    #[must_use]
    pub const fn is_trouble(&self) -> bool {
        match self {
            Self::PlanRunning(_)
            | Self::Healthy
            | Self::NotHeardYet(_)
            | Self::WaitingForPrimary(_) => false,
            Self::Held(_)
            | Self::AutomationOff(_)
            | Self::Suspect { .. }
            | Self::ServiceFailing { .. }
            | Self::ServiceUnknown { .. }
            | Self::CoolingDown(_)
            | Self::NoTarget(_)
            | Self::ProofTooWeak { .. }
            | Self::ObserversDisagree { .. }
            | Self::NoObserverQuorum { .. }
            | Self::MarketQuiet { .. }
            | Self::FeedUnclear { .. }
            | Self::FeedFailing { .. }
            | Self::DataBehind(_) => true,
        }
    }

    /// Whether certain trouble stays as it is for this reason alone: a person has
    /// to know, because nothing will move by itself.
    #[must_use]
    pub const fn is_block(&self) -> bool {
        match self {
            Self::Held(_)
            | Self::AutomationOff(_)
            | Self::CoolingDown(_)
            | Self::NoTarget(_)
            | Self::ProofTooWeak { .. }
            | Self::DataBehind(_) => true,
            Self::PlanRunning(_)
            | Self::Healthy
            | Self::Suspect { .. }
            | Self::NotHeardYet(_)
            | Self::ServiceFailing { .. }
            | Self::ServiceUnknown { .. }
            | Self::WaitingForPrimary(_)
            | Self::ObserversDisagree { .. }
            | Self::NoObserverQuorum { .. }
            | Self::MarketQuiet { .. }
            | Self::FeedUnclear { .. }
            | Self::FeedFailing { .. } => false,
        }
    }
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
            Self::ServiceUnknown { service, host, detail } => write!(
                f,
                "nobody can tell whether {service} runs on {host}, so nothing moves: {detail}"
            ),
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
            Self::ObserversDisagree { host, opinions } => {
                write!(f, "host {host} is silent here, but not for every voter (C5): {opinions}")
            }
            Self::NoObserverQuorum { host, voters: 0, .. } => write!(
                f,
                "host {host} is silent here, and this leader does not know its fellow voters yet (C5)"
            ),
            Self::NoObserverQuorum { host, lost, voters, opinions } => write!(
                f,
                "{lost} of {voters} voters have lost sight of host {host}, which is no majority \
                 (C5): {opinions}"
            ),
            Self::MarketQuiet { feed } => write!(
                f,
                "feed {feed} is silent on every site: the market is closed or the venue is down, \
                 which no failover mends (C8)"
            ),
            Self::FeedUnclear { feed, detail } => write!(
                f,
                "feed {feed} is silent on the active site, and no other site can tell whether the \
                 market is open (C8): {detail}"
            ),
            Self::FeedFailing { feed, host, dwell_left } => {
                write!(f, "feed {feed} on {host} is silent; it counts in {dwell_left}")
            }
            Self::DataBehind(why) => write!(f, "the data of the other site is too old: {why}"),
        }
    }
}
