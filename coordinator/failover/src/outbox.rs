//! The outbox: notifications that the journal asked for, channel by channel.
//!
//! An entry appears with the record that asks for it. A delivery's start is
//! committed before it is sent and its outcome after, so a new leader knows
//! which ones may have gone out: it sends those again under the same number,
//! which is how a receiver can tell a repetition.

use alloc::{collections::BTreeMap, string::String};
use model::{GroupId, IncidentId, Millis, NotificationId, Severity, Wall};
use serde::{Deserialize, Serialize};

/// Tries of one channel before a notification is given up there: with the
/// pauses below that is about a quarter of an hour.
pub(crate) const ATTEMPTS_MAX: u64 = 10;
/// The longest pause between two tries.
const PAUSE_MAX: Millis = Millis(120_000);

/// How a notification stands in one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelState {
    /// To be sent, after a failed try or for the first time.
    Waiting,
    /// A try has begun; its outcome is not known.
    Sending,
    /// The channel took it.
    Accepted,
    /// Given up.
    Abandoned,
}

impl ChannelState {
    /// The word used everywhere for this state.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sending => "sending",
            Self::Accepted => "accepted",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A notification's way through one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelDelivery {
    /// How it stands.
    pub state: ChannelState,
    /// Tries begun.
    pub attempts: u64,
    /// The last failure in words.
    pub detail: String,
    /// How long the channel asked to be left alone after it.
    pub wait: Millis,
    /// When the last change came.
    pub at: Wall,
}

/// One notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Its number, the same at every repetition.
    pub id: NotificationId,
    /// How much it matters.
    pub severity: Severity,
    /// The group it concerns.
    pub group: GroupId,
    /// The incident it concerns.
    pub incident: IncidentId,
    /// One line.
    pub title: String,
    /// What happened, and what to do.
    pub body: String,
    /// When it was asked for.
    pub at: Wall,
    /// Channel by channel, once a delivery there has begun.
    pub channels: BTreeMap<String, ChannelDelivery>,
}

impl Notification {
    /// Whether nothing is left to do for `channel`.
    #[must_use]
    pub fn settled(&self, channel: &str) -> bool {
        self.channels.get(channel).is_some_and(|delivery| match delivery.state {
            ChannelState::Accepted | ChannelState::Abandoned => true,
            ChannelState::Waiting | ChannelState::Sending => false,
        })
    }
}

/// The pause after `attempts` failed tries: 1 s, doubling, at most two minutes.
#[must_use]
pub(crate) fn pause(attempts: u64) -> Millis {
    let doublings = attempts.saturating_sub(1).min(16);
    Millis(1000u64 << doublings).min(PAUSE_MAX)
}
