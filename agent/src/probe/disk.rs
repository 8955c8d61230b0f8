//! A file system's space and inodes, and whether it became read-only.
//!
//! `statvfs` blocks for as long as a dead NFS server does, and no signal ends
//! it. So a thread of the probe's own asks, one question at a time; while one
//! is unanswered the finding is unknown, and nothing else waits.

use super::{DiskConfig, Finding, Slot, count, millis};
use model::{Millis, ProbeName, Verdict};
use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};
use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{
    sync::oneshot,
    time::{MissedTickBehavior, interval, timeout},
};

type Answer = io::Result<StatVfs>;

pub(super) struct Disk {
    config: DiskConfig,
    limit: Duration,
    questions: SyncSender<oneshot::Sender<Answer>>,
    /// The question that was not answered in time, and when it was asked.
    unanswered: Option<(Instant, oneshot::Receiver<Answer>)>,
}

impl Disk {
    pub(super) fn new(config: DiskConfig, limit: Duration, name: &ProbeName) -> io::Result<Self> {
        let path = config.path.clone();
        let ask = move || statvfs(&path).map_err(io::Error::from);
        Self::asking(config, limit, name, ask)
    }

    fn asking(
        config: DiskConfig,
        limit: Duration,
        name: &ProbeName,
        ask: impl Fn() -> Answer + Send + 'static,
    ) -> io::Result<Self> {
        // Room for one: the probe asks again only once it has its answer.
        let (questions, asked): (SyncSender<oneshot::Sender<Answer>>, Receiver<_>) =
            sync_channel(1);
        thread::Builder::new().name(format!("disk-{name}")).stack_size(64 << 10).spawn(
            move || {
                while let Ok(answer) = asked.recv() {
                    // Nobody waits any more when the probe has ended.
                    let _ = answer.send(ask());
                }
            },
        )?;
        Ok(Self { config, limit, questions, unanswered: None })
    }

    pub(super) async fn run(mut self, slot: Arc<Slot>, every: Duration) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            slot.publish(self.find().await);
        }
    }

    async fn find(&mut self) -> Finding {
        let (since, mut answer) = match self.unanswered.take() {
            Some(earlier) => earlier,
            None => {
                let (send, receive) = oneshot::channel();
                if self.questions.try_send(send).is_err() {
                    return Finding::new(Verdict::Unknown, "the probe's thread is gone");
                }
                (Instant::now(), receive)
            }
        };
        match timeout(self.limit, &mut answer).await {
            Ok(Ok(Ok(stat))) => judge(&self.config, &stat),
            Ok(Ok(Err(error))) => {
                let path = self.config.path.display();
                Finding::new(Verdict::Unknown, format!("cannot look at {path}: {error}"))
            }
            Ok(Err(_)) => Finding::new(Verdict::Unknown, "the probe's thread is gone"),
            Err(_) => {
                let waited: Millis = millis(since.elapsed());
                self.unanswered = Some((since, answer));
                let path = self.config.path.display();
                let words =
                    format!("{path} has not answered for {waited} (a dead network file system?)");
                Finding::new(Verdict::Unknown, words).measure("waited_ms", count(waited.0))
            }
        }
    }
}

/// What part of `whole` is `part`, in percent; all of nothing is free.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 100.0;
    }
    // A percentage needs no more digits than an f64 has.
    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    let share = part as f64 / whole as f64;
    (share * 100.0).min(100.0)
}

fn judge(config: &DiskConfig, stat: &StatVfs) -> Finding {
    // As df counts: what is kept back for root is neither used nor free.
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let free = percent(stat.f_bavail, used.saturating_add(stat.f_bavail));
    let used_inodes = stat.f_files.saturating_sub(stat.f_ffree);
    let free_inodes = percent(stat.f_favail, used_inodes.saturating_add(stat.f_favail));
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    let total_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
    // Some file systems (btrfs) make inodes as needed and count none.
    let counts_inodes = stat.f_files > 0;
    let read_only = stat.f_flag.contains(StatVfsMountFlags::RDONLY);
    let space = config.free.of_scarce(free);
    let inodes =
        if counts_inodes { config.free_inodes.of_scarce(free_inodes) } else { Verdict::Ok };
    let verdict = if read_only { Verdict::Critical } else { space.max(inodes) };
    let path = config.path.display();
    let free_mib = free_bytes >> 20;
    let mut summary = format!("{path}: {free:.0} % free ({free_mib} MiB)");
    if counts_inodes {
        summary.push_str(&format!(", {free_inodes:.0} % of inodes free"));
    }
    if read_only {
        summary.push_str(", mounted read-only (after an I/O error?)");
    }
    Finding::new(verdict, summary)
        .measure("free_bytes", count(free_bytes))
        .measure("total_bytes", count(total_bytes))
        .measure("free_percent", whole(free))
        .measure("free_inodes", count(stat.f_favail))
        .measure("total_inodes", count(stat.f_files))
        .measure("read_only", i64::from(read_only))
}

/// The whole part of a percentage.
#[expect(clippy::cast_possible_truncation, reason = "between 0 and 100")]
fn whole(percent: f64) -> i64 {
    percent as i64
}

#[cfg(test)]
mod tests;
