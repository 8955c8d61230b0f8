//! The journal's file: the library's own conformance suite, and every kind of damage.

use super::{
    journal::frame,
    tests::{eventually, member, record, settings},
    types::{Entry, LogId, SnapshotMeta, Types, Vote},
    *,
};
use openraft::{
    EntryPayload, StorageError,
    testing::log::{StoreBuilder, Suite},
    vote::leader_id_std::CommittedLeaderId,
};
use redb::{Database, ReadableTable, TableDefinition};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Fresh;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Fresh {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        let directory = tempfile::tempdir().unwrap();
        let fatality = Arc::new(Fatality::default());
        let (journal, _) = Journal::open(directory.path(), Arc::clone(&fatality)).unwrap();
        let (applied, mut records) = mpsc::channel(4);
        tokio::spawn(async move { while records.recv().await.is_some() {} });
        let machine = Machine::recover(&journal, applied, fatality).unwrap();
        Ok((directory, LogStore(journal), machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_s_own_suite_passes() {
    Suite::test_all(Fresh).await.unwrap();
}

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1), index)
}

fn entry(index: u64) -> Entry {
    Entry { log_id: log_id(index), payload: EntryPayload::Normal(types::Recorded(record(index))) }
}

fn open(directory: &Path) -> Result<Arc<Journal>, JournalError> {
    Journal::open(directory, Arc::default()).map(|(journal, _)| journal)
}

/// A closed journal with entries 0 to 39, and its file.
fn written() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let journal = open(directory.path()).unwrap();
    for index in 0..40 {
        journal.append(&[entry(index)]).unwrap();
    }
    journal.save_vote(Vote::new(1, 7)).unwrap();
    journal.save_committed(Some(log_id(30))).unwrap();
    journal.save_vote(Vote::new(2, 7)).unwrap();
    let file = directory.path().join(JOURNAL_FILE);
    (directory, file)
}

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// Changes the closed file through the database, as a defect of it or of ours would.
fn tamper(file: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let db = Database::open(file).unwrap();
    let write = db.begin_write().unwrap();
    change(&write);
    write.commit().unwrap();
}

fn refusal(directory: &TempDir) -> JournalError {
    open(directory.path()).err().expect("a damaged journal was opened")
}

#[test]
fn what_was_written_is_read_again_under_the_same_number() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, file) = written();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let journal = open(directory.path()).unwrap();
    let number = journal.node();
    assert_eq!(journal.vote(), Some(Vote::new(2, 7)));
    assert_eq!(journal.committed().unwrap(), Some(log_id(30)));
    assert_eq!(journal.log_state().unwrap(), (None, Some(log_id(39))));
    assert!(matches!(open(directory.path()), Err(JournalError::Locked { .. })));
    drop(journal);
    assert_eq!(open(directory.path()).unwrap().node(), number);
    std::fs::remove_file(&file).unwrap();
    assert_ne!(open(directory.path()).unwrap().node(), number);
}

#[test]
fn a_flipped_or_torn_entry_is_found_at_open() {
    for (index, change) in [(7, 0), (20, 1), (39, 2)] {
        let (directory, file) = written();
        tamper(&file, |write| {
            let mut log = write.open_table(LOG).unwrap();
            let mut bytes = log.get(index).unwrap().unwrap().value().to_vec();
            match change {
                0 => *bytes.last_mut().unwrap() ^= 0x10,
                1 => bytes.truncate(bytes.len() / 2),
                _ => bytes.clear(),
            }
            log.insert(index, bytes.as_slice()).unwrap();
        });
        let error = refusal(&directory);
        assert!(
            matches!(&error, JournalError::DamagedEntry { index: found, .. } if *found == index),
            "{error:?}"
        );
        let words = error.to_string();
        for part in [file.to_str().unwrap(), &index.to_string(), "rejoins as a new member"] {
            assert!(words.contains(part), "{part} is missing in: {words}");
        }
    }
}

#[test]
fn missing_entries_are_found_at_open() {
    for gone in [0, 5, 30] {
        let (directory, file) = written();
        tamper(&file, |write| {
            write.open_table(LOG).unwrap().remove(gone).unwrap();
        });
        let error = refusal(&directory);
        assert!(matches!(error, JournalError::DamagedEntry { index, .. } if index == gone));
    }
    // The end may be missing only if it was never committed.
    let (directory, file) = written();
    let cut = |from: u64| {
        tamper(&file, |write| {
            write.open_table(LOG).unwrap().retain(|index, _| index < from).unwrap();
        });
    };
    cut(31);
    assert_eq!(open(directory.path()).unwrap().log_state().unwrap().1, Some(log_id(30)));
    cut(30);
    assert!(matches!(refusal(&directory), JournalError::DamagedEntry { index: 30, .. }));
}

#[test]
fn a_changed_vote_snapshot_or_format_is_found_at_open() {
    for key in ["vote", "node", "committed", "format"] {
        let (directory, file) = written();
        tamper(&file, |write| {
            let mut meta = write.open_table(META).unwrap();
            let mut bytes = meta.get(key).unwrap().unwrap().value().to_vec();
            bytes[0] ^= 1;
            meta.insert(key, bytes.as_slice()).unwrap();
        });
        let words = refusal(&directory).to_string();
        assert!(words.contains(&format!("its {key}")), "{words}");
    }
    let (directory, file) = written();
    tamper(&file, |write| {
        let two = frame::encode(&2_u64).unwrap();
        write.open_table(META).unwrap().insert("format", two.as_slice()).unwrap();
    });
    assert!(matches!(refusal(&directory), JournalError::Newer { format: 2, known: 1, .. }));

    let (directory, file) = written();
    {
        let journal = open(directory.path()).unwrap();
        let meta = SnapshotMeta { last_log_id: Some(log_id(20)), ..SnapshotMeta::default() };
        journal.save_snapshot(&meta, "{}").unwrap();
        journal.purge(log_id(10)).unwrap();
        // An older one does not replace it.
        let older = SnapshotMeta { last_log_id: Some(log_id(15)), ..SnapshotMeta::default() };
        journal.save_snapshot(&older, "[]").unwrap();
    }
    let snapshot = open(directory.path()).unwrap().snapshot().unwrap().unwrap();
    assert_eq!((snapshot.meta.last_log_id, snapshot.snapshot.as_str()), (Some(log_id(20)), "{}"));
    for key in ["snapshot", "snapshot-meta"] {
        tamper(&file, |write| {
            write.open_table(META).unwrap().remove(key).unwrap();
        });
        assert!(matches!(refusal(&directory), JournalError::Damaged { .. }));
    }
}

#[test]
fn a_crash_between_a_snapshot_and_the_removal_of_what_it_replaces_is_tidied() {
    let (directory, _) = written();
    {
        let journal = open(directory.path()).unwrap();
        let meta = SnapshotMeta { last_log_id: Some(log_id(99)), ..SnapshotMeta::default() };
        journal.save_snapshot(&meta, "{}").unwrap();
        journal.append(&[entry(100), entry(101)]).unwrap();
    }
    let journal = open(directory.path()).unwrap();
    assert_eq!(journal.log_state().unwrap(), (Some(log_id(99)), Some(log_id(101))));
}

#[test]
fn a_bit_flipped_anywhere_in_the_pages_in_use_is_found_at_open() {
    let (directory, file) = written();
    let whole = std::fs::read(&file).unwrap();
    // Where a record lies on the disk; some copies are in pages no longer in use.
    let places: Vec<usize> =
        whole.windows(9).enumerate().filter(|(_, w)| w == b"serial-33").map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    let mut found = 0;
    for place in places {
        let mut bytes = whole.clone();
        bytes[place + 7] ^= 0x01;
        std::fs::write(&file, &bytes).unwrap();
        match open(directory.path()) {
            Err(error) => {
                found += 1;
                let words = error.to_string();
                assert!(matches!(
                    error,
                    JournalError::Damaged { .. } | JournalError::DamagedEntry { .. }
                ));
                assert!(words.contains(file.to_str().unwrap()), "{words}");
                assert!(words.contains("rejoins as a new member"), "{words}");
            }
            Ok(journal) => {
                let range = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
                assert_eq!(journal.entries(range).unwrap()[33], entry(33));
            }
        }
    }
    assert!(found > 0, "no flipped bit was found");
}

#[test]
fn a_truncated_or_foreign_file_is_refused_with_the_fix() {
    let (directory, file) = written();
    let whole = std::fs::read(&file).unwrap();
    for part in [8, 2, 1] {
        let length = whole.len() - whole.len() / 8 * part;
        let length = length.max(100);
        std::fs::write(&file, &whole[..length]).unwrap();
        let error = refusal(&directory);
        assert!(matches!(error, JournalError::Damaged { .. }), "{length}: {error:?}");
        let words = error.to_string();
        assert!(words.contains(file.to_str().unwrap()), "{words}");
        assert!(words.contains("rejoins as a new member"), "{words}");
    }
    std::fs::write(&file, b"this is no journal").unwrap();
    assert!(matches!(refusal(&directory), JournalError::Damaged { .. }));
    let missing = directory.path().join("missing");
    let words = open(&missing).err().unwrap().to_string();
    assert!(words.contains("check that its directory exists"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_gone_ends_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let (applied, records) = mpsc::channel(4);
    let own = member("c1", "127.0.0.1:1");
    let dial: Dialer = Arc::new(|to| {
        tonic::transport::Endpoint::from_shared(format!("http://{to}")).unwrap().connect_lazy()
    });
    let settings = settings(directory.path(), own.clone());
    let consensus = Consensus::open(settings, dial, applied).await.unwrap();
    consensus.found(own).await.unwrap();
    eventually("leadership", || async { consensus.leadership().borrow().ready.then_some(()) })
        .await;
    drop(records);
    let _ = consensus.append(record(1)).await;
    let why = timeout(tests::PATIENCE, consensus.fatal()).await.unwrap();
    assert!(matches!(*why, FatalError::DriverGone), "{why}");
    let refused = consensus.append(record(2)).await.unwrap_err();
    assert!(matches!(refused, AppendError::Fatal(_)), "{refused:?}");
    consensus.shutdown().await;
}

#[tokio::test]
async fn timing_that_cannot_work_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (applied, _records) = mpsc::channel(4);
    let dial: Dialer = Arc::new(|_| unreachable!("nothing is dialled"));
    let settings = Settings {
        heartbeat: Duration::from_millis(500),
        ..settings(directory.path(), member("c1", "127.0.0.1:1"))
    };
    let refused = Consensus::open(settings, dial, applied).await.err().unwrap();
    assert!(refused.to_string().contains("[timing]"), "{refused}");
}

#[test]
fn a_copy_is_read_without_taking_part_and_the_file_stays_as_it_is() {
    let (directory, file) = written();
    let before = std::fs::read(&file).unwrap();
    // As beside a running coordinator, which holds the file open and locked.
    let running = open(directory.path()).unwrap();
    let state = read_offline(directory.path()).unwrap();
    assert_eq!(state.position.index, 30, "what is known to be committed, and no more");
    drop(running);
    assert_eq!(read_offline(directory.path()).unwrap().position.index, 30);
    assert_eq!(std::fs::read(&file).unwrap().len(), before.len());

    let empty = tempfile::tempdir().unwrap();
    let words = read_offline(empty.path()).unwrap_err().to_string();
    assert!(words.contains("cannot be copied"), "{words}");
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "nothing is made there");
    std::fs::write(empty.path().join(JOURNAL_FILE), "no journal").unwrap();
    let words = read_offline(empty.path()).unwrap_err().to_string();
    assert!(words.contains("cannot be read"), "{words}");
}
