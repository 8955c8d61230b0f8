//! The fold of the committed records, kept beside the driver's for snapshots.
//!
//! Every committed record is applied here in order and handed to the driver.
//! The state lives in memory; snapshots are durable. What a record means is the
//! core's business: applying never fails.

use super::{
    fatal::{FatalError, Fatality},
    journal::{Journal, JournalError},
    types::{Applied, Entry, LogId, Membership, Recorded, Snapshot, SnapshotMeta, Types, position},
};
use futures::{Stream, StreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use std::{io, ops::Bound, sync::Arc};
use tokio::sync::mpsc;

/// The state and where it stands.
pub(super) struct Machine {
    state: failover::State,
    last: Option<LogId>,
    membership: Membership,
    journal: Arc<Journal>,
    applied: mpsc::Sender<Applied>,
    /// Reports the end of the library's task that owns this.
    _ending: Ending,
}

/// Notices that the machine was dropped while nobody was shutting down: the
/// task that applied records has died, and the library may not say so.
struct Ending(Arc<Fatality>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.report(FatalError::Ended("the task that applies records is gone".into()));
    }
}

impl Machine {
    /// Rebuilds the state from the journal: the snapshot, then the entries that
    /// are known to be committed. Blocks.
    pub(super) fn recover(
        journal: &Arc<Journal>,
        applied: mpsc::Sender<Applied>,
        fatality: Arc<Fatality>,
    ) -> Result<Self, JournalError> {
        let mut machine = Self {
            state: failover::State::default(),
            last: None,
            membership: Membership::default(),
            journal: Arc::clone(journal),
            applied,
            _ending: Ending(fatality),
        };
        if let Some(snapshot) = journal.snapshot()? {
            let state = parse(&snapshot.snapshot).map_err(|why| JournalError::Damaged {
                path: journal.path().to_path_buf(),
                detail: format!("its snapshot: {why}"),
            })?;
            machine.replace(&snapshot.meta, state);
        }
        let next = machine.last.map_or(0, |last| last.index.saturating_add(1));
        if let Some(committed) = journal.committed()?.filter(|upto| upto.index >= next) {
            let range = (Bound::Included(next), Bound::Included(committed.index));
            for entry in journal.entries(range)? {
                let _ = machine.take(entry);
            }
        }
        Ok(machine)
    }

    /// The state alone, for whoever takes no part.
    pub(super) fn into_state(self) -> failover::State {
        self.state
    }

    /// Everything applied so far, for the driver; nothing on a new node.
    pub(super) fn recovered(&self) -> Option<Applied> {
        let last = self.last.as_ref()?;
        Some(Applied::Snapshot(Box::new(self.state.clone()), position(last)))
    }

    /// Applies one entry; answers the record for the driver.
    fn take(&mut self, entry: Entry) -> Option<Applied> {
        self.last = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Normal(Recorded(record)) => {
                let position = position(&entry.log_id);
                self.state.apply(position, &record);
                Some(Applied::Record { position, record })
            }
            EntryPayload::Membership(members) => {
                self.membership = Membership::new(Some(entry.log_id), members);
                None
            }
        }
    }

    fn replace(&mut self, meta: &SnapshotMeta, state: failover::State) {
        self.state = state;
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
    }

    async fn tell(&self, applied: Applied) -> io::Result<()> {
        self.applied.send(applied).await.map_err(|_| {
            self._ending.0.report(FatalError::DriverGone);
            io::Error::other("the driver no longer takes committed records")
        })
    }
}

fn parse(state: &str) -> Result<failover::State, serde_json::Error> {
    serde_json::from_str(state)
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = String;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Membership)> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let applied = self.take(entry);
            // The asker first: a driver that waits for its own append cannot block it here.
            if let Some(responder) = responder {
                responder.send(());
            }
            if let Some(applied) = applied {
                self.tell(applied).await?;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            state: self.state.clone(),
            meta: SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() },
            journal: Arc::clone(&self.journal),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: String) -> io::Result<()> {
        let state = parse(&data).map_err(io::Error::other)?;
        let stored = meta.clone();
        self.journal.run(move |journal| journal.save_snapshot(&stored, &data)).await?;
        self.replace(meta, state);
        match self.recovered() {
            Some(applied) => self.tell(applied).await,
            None => Ok(()),
        }
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.journal.run(Journal::snapshot).await
    }
}

/// A copy of the state on its way to the disk.
pub(super) struct Builder {
    state: failover::State,
    meta: SnapshotMeta,
    journal: Arc<Journal>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = String;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let snapshot = serde_json::to_string(&self.state)?;
        let (meta, data) = (self.meta.clone(), snapshot.clone());
        self.journal.run(move |journal| journal.save_snapshot(&meta, &data)).await?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot })
    }
}
