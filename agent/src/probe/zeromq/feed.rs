//! What a feed has brought so far: counters that its thread writes and
//! everyone reads, and marks from which messages are counted apart.
//!
//! Bounded: a handful of numbers, and at most [`MARKS_MAX`] marks.

use crate::probe::Slot;
use daemon::clock::boottime_ms;
use model::{Millis, Mono, Verdict};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// Most marks that wait for their first message: one a promotion under way,
/// and promotions of one group follow each other.
const MARKS_MAX: usize = 16;

/// How a feed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedSnapshot {
    /// Messages accepted since the agent's start.
    pub total_messages: u64,
    /// When the newest was received here; `None` before the first.
    pub last_received: Option<Mono>,
    /// Its probe's verdict.
    pub verdict: Verdict,
}

/// What a feed brought since its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedProgress {
    /// Messages accepted since.
    pub messages: u64,
    /// From the mark to the first of them.
    pub first_after: Option<Millis>,
}

/// A feed's counters.
pub(in crate::probe) struct Feed {
    slot: Arc<Slot>,
    messages: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
    /// Milliseconds of `CLOCK_BOOTTIME`; 0 before the first.
    last_ms: AtomicU64,
    marks: Mutex<Vec<Weak<Mark>>>,
    /// How many marks wait, so that a message need not lock for none.
    waiting: AtomicUsize,
}

struct Mark {
    since: Mono,
    messages_before: u64,
    /// Milliseconds of `CLOCK_BOOTTIME`; 0 before the first.
    first_ms: AtomicU64,
    came: Notify,
}

/// Counts a feed's messages from the moment it was made.
pub struct FeedMark {
    mark: Arc<Mark>,
    feed: Arc<Feed>,
}

impl Feed {
    pub(in crate::probe) fn new(slot: Arc<Slot>) -> Self {
        Self {
            slot,
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
            marks: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    pub(in crate::probe) fn snapshot(&self) -> FeedSnapshot {
        FeedSnapshot {
            total_messages: self.messages(),
            last_received: self.last(),
            verdict: self.slot.verdict(),
        }
    }

    pub(in crate::probe) fn mark(self: &Arc<Self>) -> FeedMark {
        self.mark_since(Mono(boottime_ms()))
    }

    /// A mark for a moment that was noticed a little late.
    pub(super) fn mark_since(self: &Arc<Self>, since: Mono) -> FeedMark {
        let mut marks = self.marks();
        let first = self.last().filter(|last| *last > since).map_or(0, |last| last.0);
        let mark = Arc::new(Mark {
            since,
            messages_before: self.messages().saturating_sub(u64::from(first > 0)),
            first_ms: AtomicU64::new(first),
            came: Notify::new(),
        });
        marks.retain(|mark| mark.strong_count() > 0);
        if marks.len() >= MARKS_MAX {
            marks.remove(0);
        }
        if first == 0 {
            marks.push(Arc::downgrade(&mark));
        }
        self.waiting.store(marks.len(), Ordering::SeqCst);
        drop(marks);
        FeedMark { mark, feed: Arc::clone(self) }
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// One message more, received now.
    pub(super) fn accept(&self, bytes: u64) {
        // 0 means never, and the first millisecond of a machine has no agent.
        let now = boottime_ms().max(1);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_ms.store(now, Ordering::SeqCst);
        self.messages.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let mut marks = self.marks();
            for mark in marks.drain(..).filter_map(|mark| mark.upgrade()) {
                mark.first_ms.store(now, Ordering::SeqCst);
                mark.came.notify_one();
            }
            self.waiting.store(0, Ordering::SeqCst);
        }
    }

    /// One message that was too large or had too many frames.
    pub(super) fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages.load(Ordering::SeqCst)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn last(&self) -> Option<Mono> {
        let last = self.last_ms.load(Ordering::SeqCst);
        (last > 0).then_some(Mono(last))
    }

    fn marks(&self) -> MutexGuard<'_, Vec<Weak<Mark>>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FeedMark {
    /// What came since the mark.
    #[must_use]
    pub fn progress(&self) -> FeedProgress {
        let first = self.mark.first_ms.load(Ordering::SeqCst);
        FeedProgress {
            messages: self.feed.messages().saturating_sub(self.mark.messages_before),
            first_after: (first > 0).then(|| Mono(first).since(self.mark.since)),
        }
    }

    /// Waits for the first message since the mark, at most `limit`.
    pub async fn until_first(&self, limit: Duration) -> FeedProgress {
        if self.progress().first_after.is_none() {
            // Either way the progress says what came.
            let _ = timeout(limit, self.mark.came.notified()).await;
        }
        self.progress()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{probe::ProbeConfig, service::Changed};

    fn feed() -> Arc<Feed> {
        let config: ProbeConfig = toml::from_str("name = \"p\"\nkind = \"host\"").unwrap();
        Arc::new(Feed::new(Arc::new(Slot::new(
            config.name.clone(),
            config.kind(),
            config.rules(),
            Changed::new(),
        ))))
    }

    #[tokio::test]
    async fn a_mark_counts_from_its_moment() {
        let feed = feed();
        feed.accept(10);
        let mark = feed.mark_since(Mono(boottime_ms() + 1));
        assert_eq!(mark.progress(), FeedProgress { messages: 0, first_after: None });
        let none = mark.until_first(Duration::from_millis(1)).await;
        assert_eq!(none.first_after, None);
        feed.accept(5);
        feed.accept(5);
        let progress = mark.until_first(Duration::from_secs(10)).await;
        assert_eq!(progress.messages, 2);
        assert!(progress.first_after.is_some());
        assert_eq!((feed.messages(), feed.bytes()), (3, 20));
        assert_eq!(feed.snapshot().total_messages, 3);
    }

    #[tokio::test]
    async fn a_mark_noticed_late_still_has_its_first_message() {
        let feed = feed();
        feed.accept(1);
        let mark = feed.mark_since(Mono(0));
        assert_eq!(mark.progress().messages, 1);
        assert!(mark.until_first(Duration::ZERO).await.first_after.is_some());
    }

    #[test]
    fn marks_are_bounded() {
        let feed = feed();
        let later = Mono(u64::MAX - 1);
        let kept: Vec<_> = (0..100).map(|_| feed.mark_since(later)).collect();
        assert_eq!(feed.marks().len(), MARKS_MAX);
        drop(kept);
        let _one = feed.mark_since(later);
        assert_eq!(feed.marks().len(), 1);
    }
}
