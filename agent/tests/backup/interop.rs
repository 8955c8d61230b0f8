//! The restic program and ours on one repository, both ways.

use crate::{
    bench::{Bench, is_root, restic_is_there},
    tree,
};
use std::{fs, process::Command};

const FILES: &str = "[[backup]]\nname = \"files\"\nkind = \"paths\"\nroot = \"DIR/live\"\n";

#[test]
fn restic_reads_checks_restores_and_forgets_what_we_write() {
    if !restic_is_there() {
        return;
    }
    let dump = "[[backup]]\nname = \"dump\"\nkind = \"command\"\nfile = \"d.sql\"\n\
                command = [\"/bin/sh\", \"-c\", \"seq 100000\"]\n";
    let bench = Bench::new(&format!("{FILES}{dump}"));
    fs::create_dir(bench.path("live")).unwrap();
    tree::odd(&bench.path("live"), is_root());
    // Debian's restic 0.14 does not know how later ones store such a target.
    fs::remove_file(bench.path("live/odd link")).unwrap();
    let before = tree::lines(&bench.path("live"));
    bench.ok(&["run"]);
    bench.restic(&["check", "--read-data"]);
    let target = bench.path("target");
    bench.restic(&[
        "restore",
        "latest",
        "--tag",
        "source=files",
        "--target",
        target.to_str().unwrap(),
    ]);
    assert_eq!(tree::lines(&target.join("files")), before);
    bench.restic(&[
        "restore",
        "latest",
        "--tag",
        "source=dump",
        "--target",
        target.to_str().unwrap(),
    ]);
    let dumped = fs::read_to_string(target.join("dump/d.sql")).unwrap();
    assert!(dumped.ends_with("100000\n") && dumped.lines().count() == 100_000);
    let manifest = fs::read_to_string(target.join("files.manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["root"], bench.path("live").to_str().unwrap());
    fs::write(bench.path("live/plain"), "changed").unwrap();
    bench.ok(&["run"]);
    bench.restic(&["forget", "--keep-last", "1", "--prune"]);
    bench.restic(&["check", "--read-data"]);
    assert_eq!(bench.list().len(), 2, "the newest of each");
    bench.ok(&["verify", "files", "--percent", "100"]);
    bench.ok(&["restore", "files"]);
    assert_eq!(fs::read_to_string(bench.path("live/plain")).unwrap(), "changed");
}

#[test]
fn we_use_what_restic_made_and_leave_its_snapshots_alone() {
    if !restic_is_there() {
        return;
    }
    let bench = Bench::new(&format!("{FILES}keep = {{ last = 1 }}\n"));
    fs::create_dir(bench.path("live")).unwrap();
    fs::write(bench.path("live/noise"), tree::noise(1, 1_000_000)).unwrap();
    // The same key, another program's repository.
    fs::remove_dir_all(bench.path("repo")).unwrap();
    bench.restic(&["init"]);
    bench.restic(&["backup", bench.path("live").to_str().unwrap()]);
    assert_eq!(bench.list()[0]["source"], serde_json::Value::Null);
    let ended = bench.run(&["restore", "files"]);
    assert!(ended.err.contains("there is no snapshot of `files`"), "{ended:?}");
    for seed in 2..5 {
        fs::write(bench.path("live/more"), tree::noise(seed, 500_000)).unwrap();
        bench.ok(&["run"]);
    }
    assert_eq!(bench.list().len(), 4);
    bench.ok(&["prune"]);
    let left = bench.list();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0]["source"].is_null(), "the other's is the oldest and stays");
    bench.restic(&["check", "--read-data"]);
    let target = bench.path("target");
    bench.restic(&[
        "restore",
        "latest",
        "--tag",
        "source=files",
        "--target",
        target.to_str().unwrap(),
    ]);
    assert_eq!(fs::read(target.join("files/more")).unwrap(), tree::noise(4, 500_000));
    bench.ok(&["verify", "files", "--percent", "100"]);
}

#[test]
fn nothing_is_done_beside_a_restic_that_works() {
    if !restic_is_there() {
        return;
    }
    let bench = Bench::new(FILES);
    fs::create_dir(bench.path("live")).unwrap();
    bench.ok(&["run"]);
    fs::write(bench.path("repo/locks").join("a".repeat(64)), "held").unwrap();
    for args in [&["run"][..], &["prune"], &["verify", "files"]] {
        let ended = bench.run(args);
        assert_eq!(ended.code, Some(1), "{args:?}");
        assert!(ended.err.contains("restic unlock"), "{ended:?}");
    }
    let lock = bench.path("repo/locks").join("a".repeat(64));
    let old = Command::new("touch").args(["-d", "1 hour ago"]).arg(&lock).status().unwrap();
    assert!(old.success());
    bench.ok(&["run"]);
}
