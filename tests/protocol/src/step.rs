//! Everything that can happen. Each is possible or not, and none must happen.

use crate::agent::Site;
use std::fmt;

/// Which leader acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    /// The newest.
    Leader,
    /// The one before, which still believes that it leads.
    Former,
}

/// One step. A number of type `usize` is the age of a request, in ticks: its nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// A tick of true time passes.
    Tick,
    /// The agent of the active site asks coordinators and the other agent (A2, A6).
    Ask(Site),
    /// A coordinator grants this site's request (C2).
    Grant(Who, Site, usize),
    /// The other agent promises this site's agent (A6).
    Promise(Site, usize),
    /// A grant arrives (A2).
    TakeGrant(Site, usize),
    /// A promise arrives; with [`crate::Defect::A6NoPromise`], nothing does (A6).
    TakePromise(Site, usize),
    /// A committed epoch reaches an agent, in a command, a refusal or another's word.
    Hear(Site, u8),
    /// An agent closes its gate before its time (A3, A5).
    Close(Site),
    /// An agent's process starts again.
    Restart(Site),
    /// A quorum confirms the newest leader (C2).
    Round,
    /// The next leader is elected.
    Elect {
        /// Whether an uncommitted record is in its log.
        keeps_record: bool,
    },
    /// The leader commits a plan that fences the active site.
    Plan,
    /// The target's agent tells the leader of its promises (C4).
    Report,
    /// The leader concludes the lapse and appends the activation (C3, C4).
    Propose,
    /// The activation is committed (C1).
    Commit,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leader => "the leader",
            Self::Former => "the former leader",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick => f.write_str("a tick passes"),
            Self::Ask(site) => write!(f, "{site:?} asks to go on"),
            Self::Grant(who, site, age) => write!(f, "{who} grants {site:?}'s request, {age} old"),
            Self::Promise(site, age) => {
                write!(f, "{:?} promises on {site:?}'s request, {age} old", site.other())
            }
            Self::TakeGrant(site, age) => write!(f, "{site:?} takes the grant for {age} ago"),
            Self::TakePromise(site, age) => {
                write!(f, "{site:?} goes on by failsafe, as asked for {age} ago")
            }
            Self::Hear(site, epoch) => write!(f, "{site:?} hears of epoch {epoch}"),
            Self::Close(site) => write!(f, "{site:?} closes its gate by itself"),
            Self::Restart(site) => write!(f, "{site:?}'s agent is restarted"),
            Self::Round => f.write_str("a quorum confirms the leader"),
            Self::Elect { keeps_record: true } => f.write_str("a new leader, with the whole log"),
            Self::Elect { keeps_record: false } => {
                f.write_str("a new leader, without the last record")
            }
            Self::Plan => f.write_str("a plan is committed"),
            Self::Report => f.write_str("the target reports its promises"),
            Self::Propose => f.write_str("the leader concludes the lapse"),
            Self::Commit => f.write_str("the activation is committed"),
        }
    }
}
