//! The agent's part: a thread that puts a table back which somebody removed,
//! takes away one whose time is over, and tells the loop how it stands.
//!
//! Nothing depends on it: without an agent the kernel ends an isolation on time,
//! and the boot loads one that is to stand.

use super::{Host, Kept, Profile, saved::Saved};
use model::OrderOutcome;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::sync::watch;

/// Between two looks: how long a removed table is missing at most, for one small
/// file and one question to the kernel.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How the host stands, for the loop and for coordinators.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// What is cut; `None` when nothing is.
    pub profile: Option<Profile>,
    /// Whether somebody confirmed it.
    pub confirmed: bool,
    /// Who asked for it, and why.
    pub words: String,
    /// What came of the newest order through coordinators.
    pub order: Option<OrderOutcome>,
}

impl Standing {
    fn of(saved: &Saved) -> Self {
        let order = saved.order.clone();
        let Some(active) = &saved.active else { return Self { order, ..Self::default() } };
        let words = match active.reason.as_str() {
            "" => format!("by {}", active.by),
            reason => format!("by {}: {reason}", active.by),
        };
        let confirmed = active.confirm_until.is_none();
        Self { profile: Some(active.profile), confirmed, words, order }
    }
}

/// The thread's handle; dropped, the thread ends, and what stands stays.
#[derive(Debug)]
pub struct Keeper {
    standing: watch::Receiver<Standing>,
    ended: Arc<AtomicBool>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Keeper {
    /// Looks once, so that the first word is true, and starts the thread in this
    /// thread's network namespace. Never fails: what does not work is logged.
    #[must_use]
    pub fn start(host: Host) -> Self {
        let mut round = Round { host, fault: String::new() };
        let (tell, standing) = watch::channel(round.look().unwrap_or_default());
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let run = move || {
            while !seen.load(Ordering::Relaxed) {
                // A pace, not a wait for something.
                thread::sleep(LOOK_EVERY);
                if let Some(newest) = round.look() {
                    tell.send_if_modified(|told| {
                        let changed = *told != newest;
                        *told = newest;
                        changed
                    });
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("isolation".into()).spawn(run) {
            tracing::warn!(%error, "an isolation that somebody removes is not put back");
        }
        Self { standing, ended }
    }

    /// How it stands, and when that changes.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }
}

struct Round {
    host: Host,
    /// The newest fault, so that it is logged once.
    fault: String,
}

impl Round {
    /// `None` where it cannot be told: then what was known stays.
    fn look(&mut self) -> Option<Standing> {
        let table = self.host.table().to_owned();
        match self.host.keep() {
            Ok(Kept::Nothing | Kept::Standing) => {}
            Ok(Kept::Loaded) => {
                tracing::warn!(%table, "this host is to be isolated: the table was put back");
            }
            Ok(Kept::Ended) => tracing::warn!(%table, "the isolation's time is over: reverted"),
            Ok(Kept::Removed) => tracing::warn!(%table, "a leftover isolation was removed"),
            Err(error) => {
                let fault = error.to_string();
                if fault != self.fault {
                    tracing::warn!(%table, fault, "the isolation is not kept");
                    self.fault = fault;
                }
            }
        }
        Saved::load(&self.host.state_dir).ok().map(|saved| Standing::of(&saved))
    }
}
