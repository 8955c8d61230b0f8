//! The machine's watchdog: it resets the whole host when the lease loop stands
//! still while a site is active here. Part of the proof of level 2.
//!
//! Opening the device arms it; every feed is one byte; closing it without the
//! letter V leaves it running, so that an agent that died is followed by its
//! host. The driver decides when: armed before a site is activated, fed only by
//! a healthy lease loop, disarmed on a wanted stop. All writing is done by a
//! thread of its own: no call here waits (A4). It never feeds by itself, so a
//! loop that stands still starves it.

mod device;
mod timeout;

pub use device::is_running;

use daemon::config::Span;
use device::{Character, Device};
use model::WatchdogState;
use serde::Deserialize;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};
use tokio::sync::watch;

/// When the host is reset if the file does not say: a loop that stood still
/// for twice the default lease will not recover.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bounds of `timeout`: below, a busy disk at boot resets the host; above, the
/// longest lease (60 s) is long over.
const TIMEOUT_RANGE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// `[watchdog]` of agent.toml.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct WatchdogConfig {
    /// The device, such as /dev/watchdog.
    pub device: PathBuf,
    /// When the host is reset, from the newest feed; whole seconds.
    pub timeout: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    device: PathBuf,
    timeout: Option<Span>,
}

/// Why `[watchdog]` makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchdogConfigError {
    /// Not absolute.
    #[error("the watchdog's device `{0}` is not an absolute path: write \"/dev/watchdog\"")]
    Relative(String),
    /// Out of bounds.
    #[error("the watchdog's timeout {0} is not between 2s and 60s in whole seconds")]
    Timeout(Span),
}

impl TryFrom<Raw> for WatchdogConfig {
    type Error = WatchdogConfigError;
    fn try_from(raw: Raw) -> Result<Self, WatchdogConfigError> {
        if !raw.device.is_absolute() {
            return Err(WatchdogConfigError::Relative(raw.device.display().to_string()));
        }
        let given = raw.timeout.unwrap_or(Span(TIMEOUT));
        let timeout = given.duration();
        let within = (TIMEOUT_RANGE.0..=TIMEOUT_RANGE.1).contains(&timeout);
        if !within || timeout.subsec_nanos() != 0 {
            return Err(WatchdogConfigError::Timeout(given));
        }
        Ok(Self { device: raw.device, timeout })
    }
}

/// What is wanted of the thread, and what it did.
#[derive(Debug)]
struct State {
    wanted: bool,
    /// A feed that was not written yet; more than one are as good as one.
    hungry: bool,
    ended: bool,
    state: watch::Sender<WatchdogState>,
    /// As the open device has it.
    timeout: Option<Duration>,
    why: String,
}

impl State {
    fn is(&mut self, state: WatchdogState, why: String) {
        self.why = why;
        self.state.send_replace(state);
    }
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// The handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Watchdog(Arc<Inner>);

#[derive(Debug)]
struct Inner(Shared);

impl Drop for Inner {
    /// Ends the thread, which leaves the device as it is: only
    /// [`Watchdog::disarm`] stops it.
    fn drop(&mut self) {
        lock(&self.0).ended = true;
        self.0.1.notify_one();
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the device, which arms it, with this time.
type Open = dyn FnMut(&Path, Duration) -> io::Result<Box<dyn Device>> + Send;

impl Watchdog {
    /// Looks whether there is one; arms nothing. Never fails: what is missing is
    /// said by [`Self::why`]. One that an earlier agent left running counts as
    /// armed at once, and is taken over by the first [`Self::arm`] or
    /// [`Self::disarm`].
    #[must_use]
    pub fn open(config: Option<&WatchdogConfig>) -> Self {
        Self::with(config, Box::new(Character::open))
    }

    fn with(config: Option<&WatchdogConfig>, open: Box<Open>) -> Self {
        let (state, why) = match config {
            None => (WatchdogState::Absent, "agent.toml has no [watchdog]".to_owned()),
            Some(config) => match std::fs::metadata(&config.device) {
                Err(error) => {
                    (WatchdogState::Absent, format!("{}: {error}", config.device.display()))
                }
                Ok(_) if is_running(&config.device) => (WatchdogState::Armed, String::new()),
                Ok(_) => (WatchdogState::Disarmed, String::new()),
            },
        };
        let running = state == WatchdogState::Armed;
        let absent = state == WatchdogState::Absent;
        let state = watch::Sender::new(state);
        let first =
            State { wanted: running, hungry: false, ended: false, state, timeout: None, why };
        let shared: Shared = Arc::new((Mutex::new(first), Condvar::new()));
        if let (Some(config), false) = (config, absent) {
            let (of_thread, config) = (Arc::clone(&shared), config.clone());
            let run = move || Keeper { shared: of_thread, config, open, device: None }.run();
            if let Err(error) = thread::Builder::new().name("watchdog".into()).spawn(run) {
                let mut state = lock(&shared);
                state.is(WatchdogState::Absent, error.to_string());
            }
        }
        Self(Arc::new(Inner(shared)))
    }

    /// Arms it; to be seen by [`Self::state`]. To be fed from then on.
    pub fn arm(&self) {
        self.change(|state| (state.wanted, state.hungry) = (true, true));
    }

    /// Says that the lease loop is healthy; nothing while it is not armed.
    pub fn feed(&self) {
        self.change(|state| state.hungry = true);
    }

    /// Stops it: for a wanted stop, once nothing exclusive runs any more.
    pub fn disarm(&self) {
        self.change(|state| (state.wanted, state.hungry) = (false, false));
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> WatchdogState {
        *lock(&self.0.0).state.borrow()
    }

    /// Waits while it is disarmed: until it runs, or there is none.
    pub async fn armed(&self) {
        let mut state = lock(&self.0.0).state.subscribe();
        // The sender lives as long as this handle.
        let _ = state.wait_for(|state| *state != WatchdogState::Disarmed).await;
    }

    /// When the device resets the host, from the newest feed; `None` while that
    /// is not known, as of one that an earlier agent left running.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        lock(&self.0.0).timeout
    }

    /// For a person: why there is none, or what failed; else empty.
    #[must_use]
    pub fn why(&self) -> String {
        lock(&self.0.0).why.clone()
    }

    fn change(&self, how: impl FnOnce(&mut State)) {
        how(&mut lock(&self.0.0));
        self.0.0.1.notify_one();
    }
}

/// The thread.
struct Keeper {
    shared: Shared,
    config: WatchdogConfig,
    open: Box<Open>,
    device: Option<Box<dyn Device>>,
}

impl Keeper {
    fn run(mut self) {
        loop {
            let (wanted, hungry) = {
                let idle = |state: &mut State| {
                    let armed = *state.state.borrow() == WatchdogState::Armed;
                    !state.ended && state.wanted == armed && !(armed && state.hungry)
                };
                let waited = self.shared.1.wait_while(lock(&self.shared), idle);
                let mut state = waited.unwrap_or_else(PoisonError::into_inner);
                if state.ended {
                    // Closed without the letter: the device goes on.
                    return;
                }
                (state.wanted, std::mem::take(&mut state.hungry))
            };
            let done = if wanted { self.fed(hungry) } else { self.disarmed() };
            let mut state = lock(&self.shared);
            state.timeout = self.device.as_ref().map(|device| device.timeout());
            match done {
                Ok(now) => state.is(now, String::new()),
                Err(error) => {
                    let words = format!("{}: {error}", self.config.device.display());
                    tracing::warn!(reason = %words, "the watchdog does not work");
                    // Not tried again until it is asked for again.
                    state.wanted = false;
                    state.is(WatchdogState::Disarmed, words);
                }
            }
        }
    }

    fn device(&mut self) -> io::Result<&mut Box<dyn Device>> {
        let device = match self.device.take() {
            Some(device) => device,
            None => (self.open)(&self.config.device, self.config.timeout)?,
        };
        Ok(self.device.insert(device))
    }

    fn fed(&mut self, hungry: bool) -> io::Result<WatchdogState> {
        let device = self.device()?;
        if hungry {
            device.write(b"\0")?;
        }
        Ok(WatchdogState::Armed)
    }

    /// The letter V, and then the device is closed (magic close).
    fn disarmed(&mut self) -> io::Result<WatchdogState> {
        self.device()?.write(b"V")?;
        self.device = None;
        Ok(WatchdogState::Disarmed)
    }
}

#[cfg(test)]
pub(crate) mod tests;
