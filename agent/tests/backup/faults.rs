//! Kills at any moment, a full disk, a flipped bit: never half a snapshot, never
//! half a restore.

use crate::{
    bench::{Bench, Tmpfs, is_root},
    tree,
};
use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
    path::PathBuf,
    process::Child,
    time::{Duration, Instant},
};

const FILES: &str = "[[backup]]\nname = \"files\"\nkind = \"paths\"\nroot = \"DIR/live\"\n";

/// Kills spread over how long a call takes, which is learnt on the way.
pub(crate) struct Kills {
    pub(crate) took: Duration,
    pub(crate) hit: u32,
}

impl Kills {
    /// Kills a call after `part` of eight of its time, unless it ends before.
    pub(crate) fn kill(&mut self, mut begun: Child, part: u32) {
        let from = Instant::now();
        let after = self.took * part / 8;
        while from.elapsed() < after {
            if begun.try_wait().unwrap().is_some() {
                self.took = from.elapsed();
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        begun.kill().unwrap();
        begun.wait().unwrap();
        self.hit += 1;
    }
}

fn bench() -> Bench {
    let bench = Bench::new(FILES);
    fs::create_dir(bench.path("live")).unwrap();
    bench
}

fn fill(bench: &Bench, seed: u64) {
    for file in 0..20 {
        let bytes = tree::noise(seed * 100 + file, 300_000);
        fs::write(bench.path("live").join(format!("f{file}")), bytes).unwrap();
    }
}

/// How long a call takes here and now, to spread the kills over.
fn timed(bench: &Bench, args: &[&str]) -> Duration {
    let begun = Instant::now();
    bench.ok(args);
    begun.elapsed()
}

#[test]
fn a_backup_killed_at_any_moment_leaves_whole_snapshots_only() {
    const ROUNDS: u32 = 10;
    let bench = bench();
    fill(&bench, 0);
    let mut kills = Kills { took: timed(&bench, &["run"]), hit: 0 };
    for round in 1..=ROUNDS {
        fill(&bench, u64::from(round));
        kills.kill(bench.begin(&["run"]), round % 8);
    }
    assert!(kills.hit >= ROUNDS / 4, "{} kills hit", kills.hit);
    let all = bench.list();
    assert!(!all.is_empty());
    for snapshot in &all {
        assert_eq!(snapshot["files"], 21, "{snapshot}");
        let id = snapshot["snapshot"].as_str().unwrap();
        bench.ok(&["verify", "files", "--snapshot", id, "--percent", "100"]);
    }
    bench.ok(&["run"]);
    bench.ok(&["prune"]);
    bench.ok(&["verify", "files", "--percent", "100"]);
}

#[test]
fn a_restore_killed_at_any_moment_leaves_the_old_state_or_the_new() {
    const ROUNDS: u32 = 10;
    let bench = bench();
    let live = bench.path("live");
    fill(&bench, 1);
    bench.ok(&["run"]);
    let copied = tree::lines(&live);
    let mut kills = Kills { took: timed(&bench, &["restore", "files"]), hit: 0 };
    for round in 1..=ROUNDS {
        fill(&bench, 2);
        fs::write(live.join("stale"), "old state").unwrap();
        let old = tree::lines(&live);
        kills.kill(bench.begin(&["restore", "files"]), round % 8);
        let now = tree::lines(&live);
        assert!(now == old || now == copied, "round {round}: neither the old state nor the new");
    }
    assert!(kills.hit >= ROUNDS / 4, "{} kills hit", kills.hit);
    bench.ok(&["restore", "files"]);
    assert_eq!(tree::lines(&live), copied);
    assert!(!bench.path(".understudy-restore-files").exists(), "what kills left is gone");
}

#[test]
fn a_prune_killed_at_any_moment_loses_nothing_that_is_kept() {
    const ROUNDS: u32 = 4;
    let bench = bench();
    bench.configure(&format!("{FILES}keep = {{ last = 2 }}\n"));
    let mut kills = Kills { took: timed(&bench, &["prune"]), hit: 0 };
    for round in 1..=ROUNDS {
        fill(&bench, u64::from(round));
        bench.ok(&["run"]);
        kills.kill(bench.begin(&["prune"]), 2 * round % 8);
        bench.ok(&["verify", "files", "--percent", "100"]);
    }
    bench.ok(&["prune"]);
    assert_eq!(bench.list().len(), 2);
    for snapshot in bench.list() {
        let id = snapshot["snapshot"].as_str().unwrap().to_owned();
        bench.ok(&["verify", "files", "--snapshot", &id, "--percent", "100"]);
    }
}

#[test]
fn a_full_disk_is_a_failed_backup_and_the_older_copy_stays_good() {
    if !is_root() {
        return;
    }
    let bench = Bench { dir: tempfile::tempdir().unwrap() };
    bench.configure(FILES);
    let _mounted = Tmpfs::mount(&bench.path("repo"), "24m");
    fs::create_dir(bench.path("live")).unwrap();
    bench.ok(&["init"]);
    fs::write(bench.path("live/small"), tree::noise(1, 1_000_000)).unwrap();
    bench.ok(&["run"]);
    fs::write(bench.path("live/large"), tree::noise(2, 40_000_000)).unwrap();
    for _ in 0..2 {
        let ended = bench.run(&["run"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains("No space left"), "{ended:?}");
    }
    assert_eq!(bench.list().len(), 1);
    // A second writer may have been in the middle of its own: the next command sweeps.
    bench.ok(&["verify", "files", "--percent", "100"]);
    let ours = fs::read_dir(bench.path("repo/understudy")).unwrap().filter_map(Result::ok);
    let half = ours.filter(|entry| entry.file_name().to_string_lossy().ends_with("tmp")).count();
    assert_eq!(half, 0, "half packs are removed");
    fs::remove_file(bench.path("live/large")).unwrap();
    bench.ok(&["run"]);
}

#[test]
fn a_disk_that_fills_up_during_a_restore_leaves_what_is_there() {
    if !is_root() {
        return;
    }
    let bench = bench();
    fs::write(bench.path("live/noise"), tree::noise(1, 90_000_000)).unwrap();
    bench.ok(&["run"]);
    // The room is there when the plan looks, and somebody else takes it.
    let small = bench.path("small");
    let _mounted = Tmpfs::mount(&small, "256m");
    let to = small.join("copy");
    let mut begun = bench.command(&["restore", "files", "--to", to.to_str().unwrap()]);
    let mut begun = begun.stderr(std::process::Stdio::piped()).spawn().unwrap();
    crate::bench::until("the restore to write", || {
        small.join(".understudy-restore-files/new").exists()
    });
    // Fails too, unless the restore has cleared up before its end.
    let _ = fs::write(small.join("somebody"), vec![1; 256 << 20]);
    let mut said = String::new();
    begun.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(begun.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("nothing was changed") && said.contains("No space left"), "{said}");
    assert!(!to.exists() && !small.join(".understudy-restore-files").exists());
}

/// The largest pack.
fn pack(bench: &Bench) -> PathBuf {
    let folders = fs::read_dir(bench.path("repo/data")).unwrap().map(|of| of.unwrap().path());
    let packs =
        folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|of| of.unwrap().path()));
    packs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn a_flipped_bit_is_found_by_level_2_and_the_copy_is_refused() {
    let bench = bench();
    fill(&bench, 1);
    bench.ok(&["run"]);
    bench.ok(&["verify", "files", "--percent", "100"]);
    let path = pack(&bench);
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    fs::set_permissions(&path, permissions).unwrap();
    let mut file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let middle = fs::metadata(&path).unwrap().len() / 2;
    let mut byte = [0];
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
    drop(file);
    bench.ok(&["verify", "files", "--level", "1"]);
    let ended = bench.run(&["verify", "files", "--percent", "100"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("is damaged") && ended.err.contains("pack"), "{ended:?}");
    assert!(bench.list()[0]["verified_level"].is_null());
    let live = tree::lines(&bench.path("live"));
    let ended = bench.run(&["restore", "files"]);
    assert_ne!(ended.code, Some(0), "{ended:?}");
    let ended = bench.run(&["restore", "files", "--unverified"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("nothing was changed"), "{ended:?}");
    assert_eq!(tree::lines(&bench.path("live")), live);
}

#[test]
fn one_command_at_a_time_works_on_a_repository() {
    let bench =
        Bench::new("[[backup]]\nname = \"slow\"\nkind = \"command\"\ncommand = [\"DIR/dump\"]\n");
    bench.script("dump", "touch \"$(dirname \"$0\")/begun\"; while echo half; do sleep 0.1; done");
    let mut slow = bench.begin(&["run"]);
    crate::bench::until("the dump to begin", || bench.path("begun").exists());
    let ended = bench.run(&["prune"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("is in use by pid"), "{ended:?}");
    assert!(bench.list().is_empty(), "looking needs no lock");
    slow.kill().unwrap();
    slow.wait().unwrap();
    assert!(bench.list().is_empty());
}
