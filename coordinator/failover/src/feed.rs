//! What a feed's reading says for the market rule (C8), and what a watermark's
//! says of the data.
//!
//! The agent's verdict is `Critical` only where the publisher's service should
//! run; on a waiting site silence shows as `Unknown` with a subscription that
//! stands (measure `layer`). Unknown is not silent: it proves nothing.

use model::{Millis, Reading, Verdict};
use serde::{Deserialize, Serialize};

/// A reading older than this says nothing any more.
pub(crate) const READING_MAX: Millis = Millis::from_secs(60);
/// The measure that says how far the connection came.
const LAYER: &str = "layer";
/// From this layer on the publisher has accepted the subscription.
const SUBSCRIBED: i64 = 4;
/// The measure of a watermark probe.
const LAG: &str = "lag_ms";

/// How a feed is on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedState {
    /// Messages come.
    Hears,
    /// The publisher should send, or has accepted the subscription, and nothing comes.
    Silent,
    /// It cannot be told.
    Unknown,
}

impl FeedState {
    /// What `reading` says.
    pub(crate) fn of(reading: &Reading) -> Self {
        let subscribed = reading.measures.get(LAYER).is_some_and(|layer| *layer >= SUBSCRIBED);
        if reading.age > READING_MAX {
            return Self::Unknown;
        }
        match reading.verdict {
            Verdict::Ok | Verdict::Warn => Self::Hears,
            Verdict::Critical => Self::Silent,
            Verdict::Unknown if subscribed => Self::Silent,
            Verdict::Unknown => Self::Unknown,
        }
    }

    /// The word used everywhere for this state.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hears => "heard",
            Self::Silent => "silent",
            Self::Unknown => "unknown",
        }
    }
}

/// How far the copy lags behind, when the reading can tell.
pub(crate) fn lag(reading: &Reading) -> Option<Millis> {
    let lag = reading.measures.get(LAG).and_then(|lag| u64::try_from(*lag).ok())?;
    match reading.verdict {
        Verdict::Unknown => None,
        Verdict::Ok | Verdict::Warn | Verdict::Critical => Some(Millis(lag)),
    }
}
