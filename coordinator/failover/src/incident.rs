//! Incidents: what happened to a group, entry by entry.

use alloc::{format, string::String, vec::Vec};
use core::fmt;
use model::{GroupId, HostId, IncidentId, PlanId, ProbeName, ServiceName, Severity, Wall};
use serde::{Deserialize, Serialize};

use crate::sight::Sight;

/// A timeline holds at most this many entries: a plan with a hundred services,
/// each tried twice, makes about half as many.
const TIMELINE_MAX: usize = 1000;

/// Why a plan was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The group had never been active.
    FirstStart,
    /// A host of the active site is silent.
    HostLost {
        /// Which.
        host: HostId,
    },
    /// An exclusive service of the active site failed while its host lives.
    ServiceFailed {
        /// Where.
        host: HostId,
        /// Which.
        service: ServiceName,
        /// In words.
        detail: String,
    },
    /// An operator asked for it.
    Operator {
        /// Who.
        by: String,
    },
    /// A feed is silent on the active site while another site hears it (C8).
    FeedSilent {
        /// Where.
        host: HostId,
        /// Which.
        feed: ProbeName,
    },
}

impl Cause {
    /// The word used everywhere for this cause.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::FirstStart => "first-start",
            Self::HostLost { .. } => "host-lost",
            Self::ServiceFailed { .. } => "service-failed",
            Self::Operator { .. } => "operator",
            Self::FeedSilent { .. } => "feed-silent",
        }
    }

    /// How much it matters.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::FirstStart => Severity::Info,
            Self::HostLost { .. } | Self::ServiceFailed { .. } | Self::FeedSilent { .. } => {
                Severity::Critical
            }
            Self::Operator { .. } => Severity::Low,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstStart => f.write_str("the group has never been active"),
            Self::HostLost { host } => write!(f, "host {host} is silent"),
            Self::ServiceFailed { host, service, detail } => {
                write!(f, "service {service} on {host} failed: {detail}")
            }
            Self::Operator { by } => write!(f, "operator {by} asked for it"),
            Self::FeedSilent { host, feed } => {
                write!(f, "feed {feed} is silent on {host}, and another site hears it")
            }
        }
    }
}

/// How an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentState {
    /// Being worked on.
    Open,
    /// A person must look.
    Held,
    /// Over.
    Closed,
}

impl IncidentState {
    /// The word used everywhere for this state.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Held => "held",
            Self::Closed => "closed",
        }
    }
}

/// One line of an incident's story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When, by the leader's wall clock.
    pub at: Wall,
    /// What, in words.
    pub what: String,
}

/// What happened, from its first sign to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its number.
    pub id: IncidentId,
    /// The group.
    pub group: GroupId,
    /// Why it was opened.
    pub cause: Cause,
    /// How it stands.
    pub state: IncidentState,
    /// When it was opened.
    pub opened_at: Wall,
    /// When it was closed.
    pub closed_at: Option<Wall>,
    /// Its plans, oldest first.
    pub plans: Vec<PlanId>,
    /// What the decision that opened it saw.
    pub evidence: Sight,
    /// Its story.
    pub timeline: Vec<TimelineEntry>,
}

impl Incident {
    /// One line for a list.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}: {}", self.group, self.cause)
    }

    /// Adds a line; past the limit the story ends with one that says so.
    pub(crate) fn tell(&mut self, at: Wall, what: String) {
        match self.timeline.len() {
            n if n < TIMELINE_MAX => self.timeline.push(TimelineEntry { at, what }),
            TIMELINE_MAX => self.timeline.push(TimelineEntry {
                at,
                what: "the timeline is full; later entries are in the journal only".into(),
            }),
            _ => {}
        }
    }
}
