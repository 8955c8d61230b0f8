//! The Raft library's view of the journal's log and vote.
//!
//! Every call that makes something durable returns after the disk has it, so
//! the library acknowledges nothing else; what goes wrong ends the process.

use super::{
    journal::Journal,
    types::{Entry, LogId, Types, Vote},
};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use std::{fmt::Debug, io, ops::RangeBounds, sync::Arc};

/// A handle; all handles are one log.
#[derive(Clone)]
pub(super) struct LogStore(pub(super) Arc<Journal>);

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        self.0.run(move |journal| journal.entries(range)).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.0.vote())
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let (last_purged_log_id, last_log_id) = self.0.run(Journal::log_state).await?;
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = *vote;
        self.0.run(move |journal| journal.save_vote(vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.0.run(move |journal| journal.save_committed(committed)).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.0.run(Journal::committed).await
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        flushed.io_completed(self.0.run(move |journal| journal.append(&entries)).await);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.0.run(move |journal| journal.truncate_after(last)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.0.run(move |journal| journal.purge(upto)).await
    }
}
