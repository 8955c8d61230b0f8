//! What systemd is told of this process; does nothing where there is no systemd.

use sd_notify::NotifyState;
use std::time::Duration;

fn tell(states: &[NotifyState<'_>]) {
    // Without NOTIFY_SOCKET this is Ok and sends nothing. A failure changes
    // nothing that we do: systemd's own timeout speaks if it matters.
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told of this process's state");
    }
}

/// Started: everything listens. `status` is shown by `systemctl status`.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Shown by `systemctl status`, one line.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Going down on request.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Alive; to be called from the loop whose life matters, at least every
/// [`watchdog_interval`].
pub fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// Half of what the unit's `WatchdogSec` allows, as sd_watchdog_enabled(3)
/// advises; `None` where the unit sets none.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}
