//! What this voter hears of the hosts itself, for the leader (C5).

use crate::driver;
use failover::Lookout;
use model::{HostId, Observation};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::MissedTickBehavior;

/// How often this voter tells what it sees: the shortest heartbeat there is.
/// So an observation is never older than the heartbeats it speaks of, five of
/// them come within the shortest suspicion, and a witness, which knows no
/// group's lease, needs to know none. It costs twenty small messages a second.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// The lookout of this voter. Cheap to clone.
#[derive(Clone)]
pub struct Eyes(Arc<Mutex<Lookout>>);

impl Eyes {
    /// The eyes of the voter called `name`; they open now.
    #[must_use]
    pub fn open(name: &str) -> Self {
        Self(Arc::new(Mutex::new(Lookout::new(name.to_owned(), driver::now().mono))))
    }

    fn lookout(&self) -> MutexGuard<'_, Lookout> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An agent spoke here, and not through another voter.
    pub fn heard(&self, host: &HostId) {
        self.lookout().heard(host, driver::now().mono);
    }

    /// Watches its own clock, and hands each observation to `tell`; runs until dropped.
    pub(crate) async fn watch(self, mut tell: impl FnMut(Observation)) {
        let mut ticks = tokio::time::interval(TELL_EVERY);
        // A late tick is what a lookout must notice; made-up ones would hide it.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = driver::now().mono;
            let observation = {
                let mut lookout = self.lookout();
                lookout.tick(now);
                lookout.report(now)
            };
            tell(observation);
        }
    }
}
