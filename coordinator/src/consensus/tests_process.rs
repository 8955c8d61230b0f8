//! Real processes: killed in the middle, and out of space.
//!
//! The child is this test's own program, run again with only [`child`] and a
//! directory in its environment.

use super::{
    tests::{eventually, member, record, settings},
    *,
};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};
use tempfile::TempDir;

/// Where the child's journal is; only a child has it.
const DIRECTORY: &str = "UNDERSTUDY_TEST_JOURNAL";
/// The first number that the child appends.
const FROM: &str = "UNDERSTUDY_TEST_FROM";
/// What stands before an acknowledged number on the child's standard output.
const ACKNOWLEDGED: &str = "acknowledged ";

async fn single(directory: &Path) -> (Consensus, Arc<Mutex<failover::State>>) {
    let (applied, mut records) = mpsc::channel(4);
    let state = Arc::<Mutex<failover::State>>::default();
    let fold = Arc::clone(&state);
    tokio::spawn(async move {
        while let Some(applied) = records.recv().await {
            let mut state = fold.lock().unwrap();
            match applied {
                Applied::Record { position, record } => {
                    state.apply(position, &record);
                }
                Applied::Snapshot(all, _) => *state = *all,
            }
        }
    });
    let own = member("c1", "127.0.0.1:1");
    let dial: Dialer = Arc::new(|to| {
        tonic::transport::Endpoint::from_shared(format!("http://{to}")).unwrap().connect_lazy()
    });
    let mut settings = settings(directory, own.clone());
    // Snapshots and purges happen in every round.
    (settings.snapshot_every, settings.snapshot_keep) = (50, 10);
    let consensus = Consensus::open(settings, dial, applied).await.unwrap();
    if !consensus.is_initialised().await.unwrap() {
        consensus.found(own).await.unwrap();
    }
    eventually("leadership", || async { consensus.leadership().borrow().ready.then_some(()) })
        .await;
    (consensus, state)
}

/// Not a test but the child's whole life: it appends until it is killed or fails.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let why = runtime.block_on(async {
        let (consensus, _state) = single(Path::new(&directory)).await;
        for number in from.. {
            match consensus.append(record(number)).await {
                Ok(_) => println!("{ACKNOWLEDGED}{number}"),
                Err(why) => {
                    eprintln!("not acknowledged {number}: {why}");
                    break;
                }
            }
        }
        consensus.fatal().await
    });
    eprintln!("fatal: {}", fatal::in_full(&*why));
    // As the coordinator's main does, without tidying.
    std::process::exit(70);
}

/// Starts a child; a limit is on the size of its files, in KiB.
fn spawn(directory: &Path, from: u64, limit: Option<u64>) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = match limit {
        None => Command::new(program),
        Some(limit) => {
            // The limit's signal is ignored, so that writing fails as on a full disk.
            let mut shell = Command::new("bash");
            let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" \"$@\"");
            shell.arg("-c").arg(script).arg(program);
            shell
        }
    };
    command
        .args(["--exact", "consensus::tests_process::child", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(FROM, from.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Reads acknowledged numbers until there are enough, or the child ends.
fn acknowledged(child: &mut Child, enough: usize) -> Vec<u64> {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let number = |line: std::io::Result<String>| {
        // The test runner's own words may stand before the first.
        let line = line.ok()?;
        let at = line.find(ACKNOWLEDGED)?;
        line.get(at + ACKNOWLEDGED.len()..)?.parse().ok()
    };
    lines.filter_map(number).take(enough).collect()
}

/// What the directory's journal holds, by opening it here.
async fn held(directory: &Path) -> failover::State {
    let (consensus, state) = single(directory).await;
    // Everything before is applied when the leader is ready; one more record
    // shows when the fold here has taken it all.
    let marker = consensus.append(record(u64::MAX)).await.unwrap();
    let state = eventually("the marker", || async {
        let state = state.lock().unwrap().clone();
        (state.position >= marker).then_some(state)
    })
    .await;
    consensus.shutdown().await;
    state
}

fn holds(state: &failover::State, number: u64) -> bool {
    state.revoked.contains_key(&format!("serial-{number}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let directory = TempDir::new().unwrap();
    let mut random = daemon::random::Random::from_os();
    let (mut all, mut next) = (Vec::new(), 1);
    for round in 0..15 {
        let enough = usize::try_from(1 + random.below(80)).unwrap();
        let mut child = spawn(directory.path(), next, None);
        let numbers = acknowledged(&mut child, enough);
        child.kill().unwrap();
        // What it still said before it died counts too.
        let rest = acknowledged(&mut child, usize::MAX);
        child.wait().unwrap();
        assert!(numbers.len() == enough, "round {round}: it ended by itself after {numbers:?}");
        all.extend(numbers);
        all.extend(rest);
        next = all.last().unwrap() + 1;
        let state = held(directory.path()).await;
        for number in &all {
            assert!(holds(&state, *number), "round {round}: {number} was lost");
        }
        // At most the one that was under way is there beyond them.
        assert!(!holds(&state, next + 1), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_process_and_loses_nothing() {
    let directory = TempDir::new().unwrap();
    held(directory.path()).await;
    let size = std::fs::metadata(directory.path().join(JOURNAL_FILE)).unwrap().len();
    let mut child = spawn(directory.path(), 1, Some(size / 1024));
    let all = acknowledged(&mut child, 20_000);
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(ExitStatus::code(&output.status), Some(70), "{words}");
    // The database may notice only that something before had failed.
    assert!(words.contains("no space is left") || words.contains("Previous I/O"), "{words}");
    assert!(words.contains("`df -h`") && words.contains("start it again"), "{words}");
    assert!(words.contains(JOURNAL_FILE), "{words}");

    // With space again it carries on from where it was.
    let state = held(directory.path()).await;
    for number in &all {
        assert!(holds(&state, *number), "{number} was lost of {}", all.len());
    }
    let next = all.last().unwrap_or(&0) + 2;
    let mut child = spawn(directory.path(), next, None);
    assert_eq!(acknowledged(&mut child, 3), [next, next + 1, next + 2]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(holds(&held(directory.path()).await, next + 2));
}
