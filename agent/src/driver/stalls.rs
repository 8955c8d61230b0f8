//! Stalls as the loop sees them (A5), and the thread that reads the hardware
//! clock for it.

use super::{Driver, now};
use crate::stall::{Reading, Stall, Stalled};
use daemon::clock::boottime_ms;
use model::Mono;
use std::{path::Path, thread, time::Duration};
use tokio::sync::mpsc;

/// The first hardware clock; most machines have one, some guests none.
const CLOCK: &str = "/sys/class/rtc/rtc0/since_epoch";
/// Between two readings: a hold is seen that much after its end at the latest,
/// and reading takes some microseconds.
const READ_EVERY: Duration = Duration::from_millis(500);
/// One is as good as two.
const STALLS_MAX: usize = 1;

impl Driver {
    /// The loop has come round. Before anything that waited meanwhile is taken:
    /// an answer that came through a stall must find its question gone.
    pub(super) fn come_round(&mut self) {
        let now = now();
        if let Some(stalled) = self.stall.round(now) {
            self.on_stalled(stalled, now);
        }
    }

    pub(super) fn on_stalled(&mut self, stalled: Stalled, now: Mono) {
        let memory = self.ledger.memory();
        for group in self.groups.values_mut().filter(|group| group.is_at_stake(memory)) {
            group.stall(stalled, now);
            self.beat.want();
        }
    }

    /// Where nothing is at stake the loop may sleep for long.
    pub(super) fn rest(&mut self) {
        let memory = self.ledger.memory();
        if !self.groups.values().any(|group| group.is_at_stake(memory)) {
            self.stall.rest();
        }
    }
}

/// Reads the hardware clock on a thread of its own, because that may take as
/// long as the hardware likes, and tells of stalls. Without one it is silent.
pub(super) fn watch_hardware() -> mpsc::Receiver<Stalled> {
    let (tell, told) = mpsc::channel(STALLS_MAX);
    if read(Path::new(CLOCK)).is_none() {
        tracing::info!(
            clock = CLOCK,
            "no hardware clock: a guest that is held is not noticed by it"
        );
        return told;
    }
    let watch = move || {
        let mut stall = Stall::default();
        while !tell.is_closed() {
            if let Some(stalled) = read(Path::new(CLOCK)).and_then(|at| stall.hardware(at)) {
                // Full: the loop is about to hear of one already.
                let _ = tell.try_send(stalled);
            }
            // A pace, not a wait for something: a clock of whole seconds is read
            // twice in each, and tells nobody when it has moved on.
            thread::sleep(READ_EVERY);
        }
    };
    let thread = thread::Builder::new().name("hardware-clock".into()).stack_size(64 << 10);
    if let Err(error) = thread.spawn(watch) {
        tracing::warn!(%error, "the hardware clock is not watched");
    }
    told
}

fn read(clock: &Path) -> Option<Reading> {
    let before = Mono(boottime_ms());
    let seconds = std::fs::read_to_string(clock).ok()?.trim().parse().ok()?;
    Some(Reading { before, after: Mono(boottime_ms()), seconds })
}
