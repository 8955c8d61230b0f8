//! Minds one holder from its start to its confirmed end.
//!
//! Invariant: a phase that says stopped or failed is only given after the
//! holder is gone and its program's process group with it.

use crate::service::{Changed, LeaseDeadline, Look};
use model::{Mono, ServiceState};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::{fs, path::Path, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};

/// How long a line to the holder may take: it is read at once unless the
/// holder itself is stopped, and then it has to go.
const LINE_LIMIT: Duration = Duration::from_millis(100);

/// How long the kernel may take to forget a killed process group.
const GONE_LIMIT: Duration = Duration::from_secs(1);

/// Between two looks at the group.
const GONE_LOOK: Duration = Duration::from_millis(2);

/// The same once it was reported: such a process waits for a disk or a network
/// file system, which takes seconds at best.
const GONE_LOOK_LATER: Duration = Duration::from_secs(1);

/// What the driver asks of a run.
pub(super) enum Ask {
    /// Take deadlines from this lease from now on (`None`: no limit).
    /// Answered when it was taken; dropped when the run is being killed.
    Follow(Option<LeaseDeadline>, oneshot::Sender<()>),
    /// Kill it.
    Stop,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Running {
        pid: i32,
    },
    /// Killed because that was wanted: by `stop` (`asked`) or at the lease's end.
    Stopped {
        asked: bool,
        detail: String,
    },
    /// Ended by itself, or never ran.
    Failed {
        detail: String,
    },
    /// The holder is gone and something of the program may be left.
    Unconfirmed {
        detail: String,
    },
}

impl Phase {
    pub(super) const fn is_over(&self) -> bool {
        match self {
            Self::Starting | Self::Running { .. } => false,
            Self::Stopped { .. } | Self::Failed { .. } | Self::Unconfirmed { .. } => true,
        }
    }

    pub(super) fn look(&self, log: &Path) -> Look {
        match self {
            Self::Starting => Look::new(ServiceState::Starting, "its holder starts it"),
            Self::Running { pid } => Look::new(ServiceState::Running, format!("pid {pid}")),
            Self::Stopped { detail, .. } => Look::new(ServiceState::Stopped, detail.clone()),
            Self::Failed { detail } => {
                let detail = format!("{detail}; its output is in {}", log.display());
                Look::new(ServiceState::Failed, detail)
            }
            Self::Unconfirmed { detail } => Look::new(ServiceState::Unknown, detail.clone()),
        }
    }
}

/// What the loop woke up for.
enum Woke {
    Said(Option<String>),
    Asked(Option<Ask>),
    Lease(bool),
}

pub(super) struct Minder {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    lease: Option<LeaseDeadline>,
    asks: mpsc::Receiver<Ask>,
    phase: watch::Sender<Phase>,
    changed: Changed,
    group: Option<Pid>,
    stop_asked: bool,
    last_words: Option<String>,
}

impl Minder {
    pub(super) fn new(
        mut child: Child,
        lease: Option<LeaseDeadline>,
        asks: mpsc::Receiver<Ask>,
        phase: watch::Sender<Phase>,
        changed: Changed,
    ) -> Option<Self> {
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take()?).lines();
        stdin.is_some().then_some(Self {
            child,
            stdin,
            lines,
            lease,
            asks,
            phase,
            changed,
            group: None,
            stop_asked: false,
            last_words: None,
        })
    }

    /// Until the program is gone. `limit` bounds how long the holder may take to
    /// kill once it was told: a quarter of it, and as
    /// long again to end, so that there is time to kill the holder.
    pub(super) async fn mind(mut self, limit: Duration) {
        self.pass_deadline().await;
        let mut kill_holder_at: Option<Instant> = None;
        loop {
            let grace = kill_holder_at.map(|at| at.saturating_duration_since(Instant::now()));
            let woke = match grace {
                None => self.wake().await,
                Some(left) => match timeout(left, self.wake()).await {
                    Ok(woke) => woke,
                    Err(_) => break,
                },
            };
            match woke {
                Woke::Said(Some(line)) => self.hear(&line),
                Woke::Said(None) => break,
                Woke::Asked(Some(Ask::Follow(lease, took))) => {
                    self.lease = lease;
                    self.pass_deadline().await;
                    if self.stdin.is_some() {
                        // A start that no longer waits changes nothing.
                        let _ = took.send(());
                    }
                }
                Woke::Asked(Some(Ask::Stop)) => {
                    self.stop_asked = true;
                    self.tell("stop\n").await;
                }
                // The driver is dropped: the agent ends, and so does the program.
                Woke::Asked(None) | Woke::Lease(false) => self.tell("stop\n").await,
                Woke::Lease(true) => self.pass_deadline().await,
            }
            if self.stdin.is_none() && kill_holder_at.is_none() {
                // Whatever is still asked now is answered by being dropped.
                self.asks.close();
                while self.asks.try_recv().is_ok_and(|ask| self.note(&ask)) {}
                kill_holder_at = Some(Instant::now() + limit / 4);
            }
        }
        self.asks.close();
        self.end(limit / 4).await;
    }

    /// An ask that came too late: a stop still counts as one. Always true.
    const fn note(&mut self, ask: &Ask) -> bool {
        if matches!(ask, Ask::Stop) {
            self.stop_asked = true;
        }
        true
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
        self.changed.tell();
    }

    async fn wake(&mut self) -> Woke {
        // Once the holder was told to stop, nothing else is said to it.
        let open = self.stdin.is_some();
        let lease = async {
            match &mut self.lease {
                Some(lease) if open => lease.changed().await.is_ok(),
                Some(_) | None => std::future::pending().await,
            }
        };
        tokio::select! {
            line = self.lines.next_line() => Woke::Said(line.ok().flatten()),
            ask = self.asks.recv(), if open => Woke::Asked(ask),
            alive = lease => Woke::Lease(alive),
        }
    }

    fn hear(&mut self, line: &str) {
        match line.strip_prefix("started ").and_then(|pid| pid.parse().ok()) {
            Some(pid) => {
                self.group = Pid::from_raw(pid);
                self.set_phase(Phase::Running { pid });
            }
            None => self.last_words = Some(line.chars().take(400).collect()),
        }
    }

    async fn pass_deadline(&mut self) {
        let line = match self.lease.as_mut().map(|lease| *lease.borrow_and_update()) {
            None => "none\n".into(),
            Some(Some(Mono(deadline))) => format!("{deadline}\n"),
            Some(None) => "stop\n".into(),
        };
        self.tell(&line).await;
    }

    /// A holder that does not take a line is stopped: its stdin is closed.
    async fn tell(&mut self, line: &str) {
        let Some(stdin) = &mut self.stdin else { return };
        let written = timeout(LINE_LIMIT, stdin.write_all(line.as_bytes())).await;
        if line == "stop\n" || !matches!(written, Ok(Ok(()))) {
            self.stdin = None;
        }
    }

    /// Waits for the holder's end, or brings it about, and makes sure of the group's.
    async fn end(&mut self, limit: Duration) {
        self.stdin = None;
        if timeout(limit, self.child.wait()).await.is_err() {
            let _ = self.child.start_kill();
            let _ = timeout(GONE_LIMIT, self.child.wait()).await;
        }
        let started = Instant::now();
        let mut look = GONE_LOOK;
        while let Some(group) = self.group.filter(|group| group_lives(*group)) {
            let _ = kill_process_group(group, Signal::KILL);
            if started.elapsed() > GONE_LIMIT && look == GONE_LOOK {
                let words = self.last_words.as_deref().unwrap_or("its holder was killed");
                let group = group.as_raw_nonzero();
                let detail = format!("process group {group} does not die after SIGKILL ({words})");
                self.set_phase(Phase::Unconfirmed { detail });
                // Goes on for as long as the kernel keeps it, but no longer in a hurry.
                look = GONE_LOOK_LATER;
            }
            sleep(look).await;
        }
        let over = conclude(self.last_words.as_deref(), self.stop_asked);
        self.set_phase(over);
    }
}

/// What the holder's last line means.
fn conclude(last_words: Option<&str>, asked: bool) -> Phase {
    let stopped = |detail: &str| Phase::Stopped { asked, detail: detail.into() };
    match last_words {
        Some("killed deadline") => stopped("killed at the end of its lease"),
        Some("killed stop") if asked => stopped("killed as asked"),
        Some("killed stop") => stopped("killed because its lease is gone"),
        Some(words) if words.starts_with("unconfirmed ") => {
            Phase::Unconfirmed { detail: words.into() }
        }
        Some("killed agent-gone") => stopped("killed because its holder lost the agent"),
        Some(_) | None if asked => stopped("killed as asked"),
        Some(words) if words.starts_with("failed ") => {
            Phase::Failed { detail: words["failed ".len()..].into() }
        }
        Some(words) => Phase::Failed { detail: format!("{words} by itself") },
        None => Phase::Failed { detail: "its holder was killed, and so was it".into() },
    }
}

/// Whether a process of the group still runs; ended ones that nobody reaped do not count.
fn group_lives(group: Pid) -> bool {
    if test_kill_process_group(group).is_err() {
        return false;
    }
    let Ok(entries) = fs::read_dir("/proc") else { return true };
    let own = group.as_raw_nonzero().get().to_string();
    entries.flatten().any(|entry| {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { return false };
        let Some((_, fields)) = stat.rsplit_once(')') else { return false };
        let mut fields = fields.split_ascii_whitespace();
        let (state, process_group) = (fields.next(), fields.nth(1));
        !matches!(state, Some("Z" | "X")) && process_group == Some(&own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_say_whether_it_was_wanted() {
        let state = |words, asked| conclude(words, asked).look(Path::new("/l")).state;
        assert_eq!(state(Some("exited code 0"), false), ServiceState::Failed);
        assert_eq!(state(Some("exited code 0"), true), ServiceState::Stopped);
        assert_eq!(state(Some("killed deadline"), false), ServiceState::Stopped);
        assert_eq!(state(Some("killed stop"), true), ServiceState::Stopped);
        assert_eq!(state(None, false), ServiceState::Failed);
    }

    #[test]
    fn a_group_lives_as_long_as_a_process_of_it_runs() {
        assert!(group_lives(rustix::process::getpgrp()));
        assert!(!group_lives(Pid::from_raw(i32::MAX).unwrap()));
    }
}
