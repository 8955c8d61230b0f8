//! What a host's silence means. Silence alone: health is another question.

use crate::policy::Timing;
use model::Millis;
use serde::{Deserialize, Serialize};

/// A leader that has never heard a host gives it this long for its first
/// contact: agents reconnect with a back-off of at most one second, and a
/// freshly started pair must not mistake its own youth for a loss.
pub(crate) const FIRST_CONTACT: Millis = Millis(5000);

/// How a host stands, by its silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Heard within the suspicion time.
    Alive,
    /// Five heartbeats are missing; the dwell is running.
    Suspect {
        /// What is left of the dwell.
        dwell_left: Millis,
    },
    /// Silent for the dwell, which is never shorter than the suspicion.
    Lost,
    /// Not heard yet by this leader, which has not watched for long enough to judge.
    NeverHeard,
}

impl Standing {
    /// Judges `silence` (`None`: never heard) by a leader that has watched for `watched`.
    #[must_use]
    pub fn of(silence: Option<Millis>, watched: Millis, timing: &Timing) -> Self {
        let Some(silence) = silence else {
            return match watched {
                long if long >= FIRST_CONTACT + timing.detection() => Self::Lost,
                _ => Self::NeverHeard,
            };
        };
        if silence < timing.suspicion {
            Self::Alive
        } else if silence < timing.detection() {
            Self::Suspect { dwell_left: timing.detection().saturating_sub(silence) }
        } else {
            Self::Lost
        }
    }

    /// The word used everywhere for this standing.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect { .. } => "suspect",
            Self::Lost => "lost",
            Self::NeverHeard => "never-heard",
        }
    }
}
