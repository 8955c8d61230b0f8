//! Copies that another host's agent keeps: the real agents, over real mTLS.

use crate::{
    bench::{AGENT, Bench, Ended, Tmpfs, ended, is_root, until},
    faults::Kills,
    tree,
};
use certs::{Authority, Expected, Identity, Link, Role, RoleKind, Trust};
use model::{CopyKind, CopyName};
use proto::v1::{self, backup_copies_client::BackupCopiesClient, write_copy::Body};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tonic::{Code, Status, transport::Channel};

const DAY: Duration = Duration::from_secs(86_400);
const FILES: &str = "[[backup]]\nname = \"files\"\nkind = \"paths\"\nroot = \"DIR/live\"\n";

/// The host `p1` that sends, and the host `s1` that keeps.
struct Pair {
    bench: Bench,
    authority: Authority,
    address: String,
    keeper: Option<Child>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Pair {
    /// With the repository `standby` at `s1` in both hosts' files.
    fn new(source: &str, max_mib: u32) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        let authority = Authority::create("fx", certs::now()).unwrap();
        let mut pair = Self { bench, authority, address, keeper: None };
        pair.equip("p1", "state/pki");
        pair.equip("s1", "s1/state/pki");
        fs::create_dir(pair.bench.path("live")).unwrap();
        let standby = format!(
            "[[repository]]\nname = \"standby\"\npassword_file = \"DIR/key\"\n\
             agent = {{ host = \"s1\", address = \"{}\" }}\n{source}",
            pair.address
        );
        pair.bench.configure(&standby);
        let keeper = format!(
            "host = \"s1\"\nstate_dir = \"DIR/s1/state\"\ncoordinators = [\"127.0.0.1:1\"]\n\
             [gate]\nenabled = false\n\
             [peer]\nlisten = \"{}\"\n[peer.backups]\ndirectory = \"DIR/s1/copies\"\n\
             hosts = [\"p1\"]\nreaders = [\"s2\"]\nmax_mib = {max_mib}\n\
             [[repository]]\nname = \"from-p1\"\npath = \"DIR/s1/copies/p1/standby\"\n\
             password_file = \"DIR/key\"\nkeep = {{ last = 1 }}\n{FILES}",
            pair.address
        );
        fs::write(
            pair.keeper_file(),
            keeper.replace("DIR", pair.bench.dir.path().to_str().unwrap()),
        )
        .unwrap();
        pair.start();
        pair.bench.ok(&["init"]);
        pair
    }

    fn equip(&self, host: &str, at: &str) -> PathBuf {
        let identity = Identity::new("fx", Role::Agent, host).unwrap();
        let at = self.bench.path(at);
        self.authority.equip(&at, &identity, DAY, certs::now()).unwrap();
        at
    }

    fn keeper_file(&self) -> PathBuf {
        self.bench.path("s1/agent.toml")
    }

    fn start(&mut self) {
        let child = Command::new(AGENT)
            .args(["run", "--config"])
            .arg(self.keeper_file())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.bench.path("s1/log")).unwrap())
            .spawn()
            .unwrap();
        self.keeper = Some(child);
        until("s1 to answer", || TcpStream::connect(&self.address).is_ok());
    }

    fn kill(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            keeper.kill().unwrap();
            keeper.wait().unwrap();
        }
    }

    /// A call on the host that keeps.
    fn there(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(AGENT);
        command.arg("backup").args(args).arg("--config").arg(self.keeper_file());
        ended(&command.stdin(Stdio::null()).output().unwrap())
    }

    fn there_ok(&self, args: &[&str]) -> String {
        let ended = self.there(args);
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        ended.out
    }

    fn copies(&self) -> PathBuf {
        self.bench.path("s1/copies/p1/standby")
    }

    /// Whatever is not whole, or not a file that restic knows.
    fn half(&self) -> usize {
        let own = fs::read_dir(self.copies().join("understudy")).unwrap().filter_map(Result::ok);
        own.filter(|entry| entry.file_name().to_string_lossy().ends_with("tmp")).count()
    }

    /// Snapshots of the standby, as the sender lists them.
    fn list(&self) -> Vec<serde_json::Value> {
        let of = |one: &serde_json::Value| one["repository"] == "standby";
        self.bench.list().into_iter().filter(of).collect()
    }

    fn fill(&self, seed: u64) {
        for file in 0..12 {
            let bytes = tree::noise(seed * 100 + file, 400_000);
            fs::write(self.bench.path("live").join(format!("f{file}")), bytes).unwrap();
        }
    }
}

fn source(more: &str) -> String {
    format!("{FILES}{more}")
}

#[test]
fn a_standby_keeps_copies_restores_from_them_and_prunes_them() {
    let pair = Pair::new(&source("repository = [\"local\", \"standby\"]\n"), 500);
    tree::odd(&pair.bench.path("live"), is_root());
    let lines = tree::lines(&pair.bench.path("live"));
    let ran = pair.bench.json(&["run"]);
    let repositories: Vec<_> =
        ran["done"].as_array().unwrap().iter().map(|done| &done["repository"]).collect();
    assert_eq!(repositories, ["local", "standby"]);
    assert_eq!(pair.list()[0]["verified_level"], 1);
    pair.bench.ok(&["verify", "files", "--percent", "100"]);
    assert_eq!(pair.list()[0]["verified_level"], 2, "and it is known over there");
    fs::write(pair.bench.path("live/plain"), "changed").unwrap();
    pair.bench.ok(&["run"]);
    // The sender is gone; the standby has all that it needs.
    let to = pair.bench.path("back");
    let at = pair.there_ok(&["list", "--json"]);
    let at: serde_json::Value = serde_json::from_str(&at).unwrap();
    let first = at[0]["snapshot"].as_str().unwrap();
    pair.there_ok(&[
        "restore",
        "files",
        "--host",
        "p1",
        "--snapshot",
        first,
        "--to",
        to.to_str().unwrap(),
    ]);
    assert_eq!(tree::lines(&to), lines);
    // Another way back: through the agent, from the sender.
    let again = pair.bench.path("again");
    let again = again.to_str().unwrap();
    pair.bench.ok(&["restore", "files", "--from", "standby", "--snapshot", first, "--to", again]);
    assert_eq!(tree::lines(Path::new(again)), lines);
    let said = pair.bench.ok(&["prune"]);
    assert!(said.contains("repository standby: host s1 prunes it"), "{said}");
    assert_eq!(pair.list().len(), 2);
    pair.there_ok(&["prune"]);
    assert_eq!(pair.list().len(), 1, "its own rule: last = 1");
    pair.bench.ok(&["run"]);
    pair.bench.ok(&["verify", "files", "--percent", "100"]);
}

#[test]
fn one_targets_failure_is_its_own_and_the_next_run_goes_on() {
    let mut pair = Pair::new(&source("repository = [\"standby\", \"local\"]\n"), 500);
    pair.fill(1);
    pair.kill();
    let ended = pair.bench.run(&["run", "--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let ran: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(ran["done"][0]["repository"], "local");
    let failed = ran["failed"][0].as_str().unwrap();
    assert!(failed.contains("repository `standby`") && failed.contains(&pair.address), "{failed}");
    let to = pair.bench.path("back");
    pair.bench.ok(&["restore", "files", "--to", to.to_str().unwrap()]);
    pair.start();
    pair.bench.ok(&["run"]);
    assert_eq!(pair.list().len(), 1);
}

#[test]
fn whoever_is_killed_in_a_transfer_no_half_copy_is_ever_listed() {
    const ROUNDS: u32 = 8;
    let mut pair = Pair::new(&source("repository = \"standby\"\n"), 2000);
    pair.fill(0);
    let begun = Instant::now();
    pair.bench.ok(&["run"]);
    let mut kills = Kills { took: begun.elapsed(), hit: 0 };
    for round in 1..=ROUNDS {
        pair.fill(u64::from(round));
        let part = round.div_ceil(2) * 2;
        if round % 2 == 0 {
            kills.kill(pair.bench.begin(&["run"]), part);
            continue;
        }
        let mut run = pair.bench.begin(&["run"]);
        let (from, after) = (Instant::now(), kills.took * part / 8);
        until("the moment to kill s1", || {
            from.elapsed() >= after || run.try_wait().unwrap().is_some()
        });
        pair.kill();
        // Ended before the kill, or says that it failed: it never hangs.
        let _ = run.wait().unwrap();
        pair.start();
    }
    assert!(kills.hit > 0);
    let all = pair.list();
    assert!(!all.is_empty());
    for snapshot in &all {
        assert_eq!(snapshot["files"], 13, "{snapshot}");
        let id = snapshot["snapshot"].as_str().unwrap();
        pair.bench.ok(&["verify", "files", "--snapshot", id, "--percent", "100"]);
    }
    pair.bench.ok(&["run"]);
    assert_eq!(pair.half(), 0, "a new hold sweeps what a kill left");
    pair.there_ok(&["prune"]);
    pair.bench.ok(&["verify", "files", "--percent", "100"]);
}

#[test]
fn a_full_disk_over_there_fails_the_run_and_leaves_the_older_copy() {
    if !is_root() {
        return;
    }
    let mut pair = Pair::new(&source("repository = \"standby\"\n"), 500);
    pair.kill();
    let _mounted = Tmpfs::mount(&pair.bench.path("s1/copies"), "24m");
    pair.start();
    pair.bench.ok(&["init"]);
    fs::write(pair.bench.path("live/small"), tree::noise(1, 1_000_000)).unwrap();
    pair.bench.ok(&["run"]);
    fs::write(pair.bench.path("live/large"), tree::noise(2, 40_000_000)).unwrap();
    for _ in 0..2 {
        let ended = pair.bench.run(&["run"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains("No space left"), "{ended:?}");
    }
    assert_eq!(pair.list().len(), 1);
    until("half files to be removed", || pair.half() == 0);
    pair.bench.ok(&["verify", "files", "--percent", "100"]);
    fs::remove_file(pair.bench.path("live/large")).unwrap();
    pair.bench.ok(&["run"]);
}

#[test]
fn a_host_keeps_no_more_of_another_than_it_was_allowed() {
    let pair = Pair::new(&source("repository = \"standby\"\n"), 4);
    fs::write(pair.bench.path("live/small"), tree::noise(1, 1_000_000)).unwrap();
    pair.bench.ok(&["run"]);
    fs::write(pair.bench.path("live/large"), tree::noise(2, 6_000_000)).unwrap();
    let ended = pair.bench.run(&["run"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("more than 4 MiB") && ended.err.contains("max_mib"), "{ended:?}");
    assert_eq!(pair.list().len(), 1);
    fs::remove_file(pair.bench.path("live/large")).unwrap();
    pair.bench.ok(&["run"]);
}

type Client = BackupCopiesClient<Channel>;

async fn dial(pair: &Pair, host: &str) -> Client {
    let pki = pair.equip(host, &format!("pki-{host}"));
    let trust = Trust::load(pki).unwrap();
    let expected = Expected::role(RoleKind::Agent).named("s1");
    let link = Link::default();
    let channel = certs::connect(&trust, &pair.address, &expected, &link).await.unwrap();
    BackupCopiesClient::new(channel)
}

fn copies(host: &str) -> Option<v1::Copies> {
    Some(v1::Copies { host: host.into(), repository: "standby".into() })
}

/// Writes as a sender that may be wrong in every way.
async fn put(
    client: &mut Client,
    hold: u64,
    file: v1::CopyFile,
    bytes: u64,
    data: &[u8],
) -> Result<v1::CopyWritten, Status> {
    let begin = Body::Begin(v1::WriteBegin { hold, file: Some(file), bytes });
    let piece = Body::Piece(v1::CopyPiece { data: data.to_vec() });
    let messages = [begin, piece].map(|body| v1::WriteCopy { body: Some(body) });
    let mut answers = client.write(futures::stream::iter(messages)).await?.into_inner();
    answers.message().await.map(|answer| answer.unwrap())
}

/// Held until the stream is dropped.
async fn hold(
    client: &mut Client,
    host: &str,
) -> Result<(u64, tonic::Streaming<v1::CopiesHeld>), Status> {
    let mut stream = client.hold(v1::HoldCopies { copies: copies(host) }).await?.into_inner();
    let number = stream.message().await?.unwrap().hold;
    Ok((number, stream))
}

fn named(kind: CopyKind, name: &str) -> v1::CopyFile {
    v1::CopyFile { kind: v1::CopyKind::from(kind).into(), name: name.into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_lies_changes_nothing() {
    let pair = Pair::new(&source("repository = \"standby\"\n"), 500);
    pair.fill(1);
    pair.bench.ok(&["run"]);
    let before = tree::lines(&pair.copies());
    let mut p1 = dial(&pair, "p1").await;
    let unheld = put(&mut p1, 7, named(CopyKind::Pack, &"a".repeat(64)), 1, b"x").await;
    assert!(unheld.unwrap_err().message().contains("not held"));
    let (number, open) = hold(&mut p1, "p1").await.unwrap();
    let own = Command::new(AGENT)
        .args(["backup", "prune", "--config"])
        .arg(pair.keeper_file())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&own.stderr).into_owned();
    assert!(said.contains("is in use by pid"), "nobody prunes beside a sender: {said}");
    let digest = "5".repeat(64);
    for (file, bytes, code, words) in [
        (named(CopyKind::Pack, &digest), 3, Code::DataLoss, "other bytes than its name"),
        (named(CopyKind::Snapshot, &digest), 4, Code::DataLoss, "1 of 4 bytes did not come"),
        (named(CopyKind::Index, &digest), 2, Code::OutOfRange, "more bytes came"),
        (named(CopyKind::Pack, &digest), 1 << 40, Code::OutOfRange, "at most"),
        (named(CopyKind::Proof, &digest), 5000, Code::OutOfRange, "at most"),
        (named(CopyKind::Pack, "../../etc/passwd"), 3, Code::InvalidArgument, "no name of a file"),
        (named(CopyKind::Config, "../config"), 3, Code::InvalidArgument, "has no name"),
        (named(CopyKind::Config, ""), 3, Code::AlreadyExists, "not replaced"),
    ] {
        let refused = put(&mut p1, number, file, bytes, b"abc").await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
        assert!(refused.message().contains(words), "{refused:?}");
    }
    // The same file again is no fault: an answer may have been lost.
    let key = fs::read_dir(pair.copies().join("keys")).unwrap().next().unwrap().unwrap();
    let (name, bytes) = (key.file_name().into_string().unwrap(), fs::read(key.path()).unwrap());
    let file = named(CopyKind::Key, &name);
    let again = put(&mut p1, number, file, bytes.len() as u64, &bytes).await.unwrap();
    assert!(again.was_there);
    drop(open);
    let begun = Instant::now();
    let free = loop {
        let free = pair.there(&["verify", "files", "--host", "p1"]);
        if free.code == Some(0) || begun.elapsed() > Duration::from_secs(30) {
            break free;
        }
    };
    assert_eq!(free.code, Some(0), "the hold did not end: {free:?}");
    let late = put(&mut p1, number, named(CopyKind::Key, &name), 1, b"x").await.unwrap_err();
    assert!(late.message().contains("not held"), "{late:?}");
    // Proofs and our own lock aside, all is as it was.
    let plain = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| !line.starts_with("\"understudy")).collect()
    };
    assert_eq!(plain(tree::lines(&pair.copies())), plain(before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_gets_its_own_copies_and_a_reader_may_read() {
    let pair = Pair::new(&source("repository = \"standby\"\n"), 500);
    pair.fill(1);
    pair.bench.ok(&["run"]);
    let list = |host: &str| v1::ListCopies { copies: copies(host), kind: 3 };
    let mut x9 = dial(&pair, "x9").await;
    let refused = x9.list(list("p1")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("[peer.backups]"), "{refused:?}");
    assert!(x9.list(list("x9")).await.is_err(), "it was not told that it may");
    assert!(hold(&mut x9, "p1").await.is_err());
    let mut s2 = dial(&pair, "s2").await;
    let mut names = s2.list(list("p1")).await.unwrap().into_inner();
    let name = names.message().await.unwrap().unwrap().name;
    assert!(names.message().await.unwrap().is_none());
    let file = CopyName::new(CopyKind::Snapshot, &name).unwrap();
    let read = v1::ReadCopy { copies: copies("p1"), file: Some((&file).into()), range: None };
    assert!(s2.read(read).await.unwrap().into_inner().message().await.unwrap().is_some());
    assert!(hold(&mut s2, "p1").await.is_err(), "a reader only reads");
    let mut p1 = dial(&pair, "p1").await;
    let (number, _open) = hold(&mut p1, "p1").await.unwrap();
    let second = hold(&mut p1, "p1").await.err().unwrap();
    assert!(second.message().contains("is in use"), "{second:?}");
    let stolen = put(&mut s2, number, named(CopyKind::Pack, &"a".repeat(64)), 1, b"x").await;
    assert!(stolen.unwrap_err().message().contains("not held"));
}
