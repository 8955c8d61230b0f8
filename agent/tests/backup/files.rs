//! Files of the host: all of it comes back, in place or elsewhere, by name, by
//! time, and only when it was proven.

use crate::{
    bench::{Bench, Tmpfs, is_root},
    tree,
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

const FILES: &str = "[[backup]]\nname = \"files\"\nkind = \"paths\"\nroot = \"DIR/live\"\n";

fn bench(more: &str) -> Bench {
    let bench = Bench::new(&format!("{FILES}{more}"));
    fs::create_dir(bench.path("live")).unwrap();
    bench
}

#[test]
fn everything_odd_about_files_comes_back_elsewhere_and_in_place() {
    let root = is_root();
    let bench = bench("");
    let live = bench.path("live");
    tree::odd(&live, root);
    let before = tree::lines(&live);
    bench.ok(&["run"]);
    let copy = bench.path("copy");
    bench.ok(&["restore", "files", "--to", copy.to_str().unwrap()]);
    assert_eq!(tree::lines(&copy), before);
    assert!(fs::metadata(copy.join("sparse")).unwrap().blocks() < 1024, "a hole stays a hole");
    fs::remove_dir_all(live.join("deep")).unwrap();
    fs::write(live.join("stale"), "made after the backup").unwrap();
    let damaged = tree::lines(&live);
    let said = bench.json(&["restore", "files"]);
    assert_eq!(tree::lines(&live), before, "also what was not there before is gone");
    let safety = std::path::PathBuf::from(said["safety_copy"].as_str().unwrap()).join("new");
    assert_eq!(tree::lines(&safety), damaged, "what was there is kept");
    for _ in 0..2 {
        bench.ok(&["restore", "files"]);
    }
    let kept = fs::read_dir(bench.dir.path()).unwrap().filter_map(Result::ok);
    let kept = kept.filter(|entry| entry.file_name().to_string_lossy().starts_with(".understudy"));
    assert_eq!(kept.count(), 2, "the two newest safety copies stay, and nothing else of ours");
}

#[test]
fn names_below_a_root_are_swapped_and_their_neighbours_left_alone() {
    let bench = bench("paths = [\"a\", \"sub/b\"]\nexclude = [\"a/cache\"]\n");
    let live = bench.path("live");
    fs::create_dir_all(live.join("a/cache")).unwrap();
    fs::create_dir(live.join("sub")).unwrap();
    for name in ["a/one", "a/cache/big", "sub/b", "sub/other", "neighbour"] {
        fs::write(live.join(name), "old").unwrap();
    }
    bench.ok(&["run"]);
    for name in ["a/one", "sub/b", "sub/other", "neighbour"] {
        fs::write(live.join(name), "new").unwrap();
    }
    fs::write(live.join("a/two"), "new").unwrap();
    let plan = bench.json(&["restore", "files", "--dry-run"]);
    assert_eq!(plan["done"], false);
    assert!(plan["plan"]["notes"].to_string().contains("a/cache"), "{plan}");
    assert_eq!(fs::read_to_string(live.join("a/one")).unwrap(), "new", "a dry run changes nothing");
    bench.ok(&["restore", "files"]);
    let read = |name: &str| fs::read_to_string(live.join(name)).unwrap_or("none".into());
    assert_eq!(
        ["a/one", "sub/b", "a/two", "a/cache/big"].map(read),
        ["old", "old", "none", "none"]
    );
    assert_eq!(["sub/other", "neighbour"].map(read), ["new", "new"]);
    // The names of the configuration have changed since: that is told, not guessed.
    bench.configure(&format!("{FILES}paths = [\"a\"]\n"));
    let ended = bench.run(&["restore", "files"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.err.contains("--to and choose by hand"), "{ended:?}");
}

#[test]
fn a_name_that_is_missing_is_a_failed_backup() {
    let bench = bench("paths = [\"there\", \"not-there\"]\n");
    fs::write(bench.path("live/there"), "x").unwrap();
    let ended = bench.run(&["run"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("not-there is not there") && bench.list().is_empty(), "{ended:?}");
}

#[test]
fn the_newest_verified_one_not_newer_is_taken() {
    let bench = bench("");
    let live = bench.path("live");
    let mut taken = Vec::new();
    for word in ["one", "two", "three"] {
        fs::write(live.join("word"), word).unwrap();
        bench.ok(&["run"]);
        taken.push(jiff::Timestamp::now().to_string());
    }
    // As if the second had never been verified.
    let ids = fs::read_dir(bench.path("repo/understudy/verified")).unwrap();
    let second = bench.list()[1]["snapshot"].as_str().unwrap().to_owned();
    for path in ids.map(|entry| entry.unwrap().path()) {
        if path.file_name().unwrap().to_str().unwrap().starts_with(&second) {
            fs::remove_file(path).unwrap();
        }
    }
    assert!(bench.list()[1]["verified_level"].is_null());
    let back = |args: &[&str]| {
        bench.ok(&[&["restore", "files"], args].concat());
        fs::read_to_string(live.join("word")).unwrap()
    };
    assert_eq!(back(&["--at", &taken[1]]), "one");
    assert_eq!(back(&["--at", &taken[1], "--unverified"]), "two");
    assert_eq!(back(&[]), "three");
    let ended = bench.run(&["restore", "files", "--snapshot", &second]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.err.contains("never verified") && ended.err.contains("backup verify"));
    let ended = bench.run(&["restore", "files", "--at", "1h ago"]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{ended:?}");
    bench.ok(&["verify", "files", "--snapshot", &second, "--level", "1"]);
    assert_eq!(back(&["--snapshot", &second]), "two");
    let ended = bench.run(&["restore", "files", "--host", "s1"]);
    assert!(ended.err.contains("--host p1"), "{ended:?}");
}

#[test]
fn half_a_dump_is_a_failed_backup_and_no_snapshot() {
    let bench = Bench::new(
        "[[backup]]\nname = \"dump\"\nkind = \"command\"\nfile = \"d.sql\"\n\
         command = [\"DIR/dump\"]\ncheck = [\"/bin/grep\", \"-q\", \"the end\", \"d.sql\"]\n",
    );
    bench.script("dump", "seq 1000000; echo the end");
    bench.ok(&["run"]);
    bench.ok(&["verify", "--level", "3"]);
    for (body, word) in [
        ("seq 1000000; echo disk full >&2; exit 1", "disk full"),
        ("seq 1000000; kill -KILL $$", "signal"),
        ("exit 0", "wrote nothing"),
        ("seq 10; echo half of it is locked >&2", "stderr_ok"),
    ] {
        bench.script("dump", body);
        let ended = bench.run(&["run", "dump"]);
        assert_eq!(ended.code, Some(1), "{body}: {ended:?}");
        assert!(
            ended.err.contains("no snapshot was made") && ended.err.contains(word),
            "{ended:?}"
        );
        assert_eq!(bench.list().len(), 1, "{body}");
    }
    bench.ok(&["restore", "dump", "--to", bench.path("back").to_str().unwrap()]);
    let text = fs::read_to_string(bench.path("back/d.sql")).unwrap();
    assert!(text.starts_with("1\n2\n") && text.ends_with("1000000\nthe end\n"));
}

#[test]
fn a_check_that_is_not_content_takes_the_proof_back() {
    let bench = bench("check = [\"DIR/check\"]\n");
    fs::write(bench.path("live/word"), "good").unwrap();
    bench.script("check", "grep -q good word || { echo no good word; exit 7; }");
    bench.ok(&["run"]);
    bench.ok(&["verify", "files", "--level", "3"]);
    assert_eq!(bench.list()[0]["verified_level"], 3);
    bench.ok(&["verify", "files", "--level", "1"]);
    assert_eq!(bench.list()[0]["verified_level"], 3, "a higher proof stays");
    bench.script("check", "echo it does not load; exit 7");
    let ended = bench.run(&["verify", "files", "--level", "3"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("exit code 7: it does not load"), "{ended:?}");
    assert!(bench.list()[0]["verified_level"].is_null());
    assert!(!bench.path("state/backup/scratch-files").exists(), "no scratch stays");
    bench.configure(FILES);
    let ended = bench.run(&["verify", "files", "--level", "3"]);
    assert!(ended.err.contains("no `check`") && ended.err.contains("check = ["), "{ended:?}");
}

#[test]
fn retention_says_which_rule_keeps_what_and_leaves_the_proven_one() {
    let bench = bench("keep = { last = 1 }\n");
    for number in 0..4 {
        fs::write(bench.path("live/noise"), tree::noise(number, 400_000)).unwrap();
        bench.ok(&["run"]);
    }
    let all = bench.list();
    // Only the second was ever proven.
    let verified = bench.path("repo/understudy/verified");
    for entry in fs::read_dir(&verified).unwrap() {
        let path = entry.unwrap().path();
        if !path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(all[1]["snapshot"].as_str().unwrap())
        {
            fs::remove_file(path).unwrap();
        }
    }
    let planned = bench.json(&["prune", "--dry-run"]);
    let kept =
        planned[0]["fates"].as_array().unwrap().iter().map(|fate| fate["kept_by"].to_string());
    let kept: Vec<String> = kept.collect();
    assert_eq!(kept, ["[]", "[\"newest verified\"]", "[]", "[\"last\",\"newest\"]"]);
    assert_eq!(bench.list().len(), 4, "a dry run removes nothing");
    bench.ok(&["prune"]);
    let left: Vec<_> = bench.list().iter().map(|of| of["snapshot"].clone()).collect();
    assert_eq!(left, [all[1]["snapshot"].clone(), all[3]["snapshot"].clone()]);
    bench.ok(&["verify", "files", "--percent", "100"]);
    bench.ok(&["prune"]);
    let left: Vec<_> = bench.list().iter().map(|of| of["snapshot"].clone()).collect();
    assert_eq!(left, [all[3]["snapshot"].clone()], "a newer proof frees the older copy");
}

#[test]
fn a_plan_finds_the_missing_room_before_anything_is_written() {
    if !is_root() {
        return;
    }
    let bench = bench("");
    fs::write(bench.path("live/noise"), tree::noise(1, 20_000_000)).unwrap();
    bench.ok(&["run"]);
    let small = bench.path("small");
    let _mounted = Tmpfs::mount(&small, "16m");
    let to = small.join("copy");
    let ended = bench.run(&["restore", "files", "--to", to.to_str().unwrap()]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.err.contains("MiB free") && ended.err.contains("needed"), "{ended:?}");
    assert_eq!(fs::read_dir(&small).unwrap().count(), 0);
}

#[test]
fn many_small_files_come_back() {
    // 10,000; `cargo xtask bench backup` does it with 100,000.
    const DIRECTORIES: usize = 50;
    const EACH: usize = 200;
    let bench = bench("");
    for directory in 0..DIRECTORIES {
        let at = bench.path("live").join(format!("d{directory}"));
        fs::create_dir(&at).unwrap();
        for file in 0..EACH {
            fs::write(at.join(format!("f{file}")), format!("{directory} {file}")).unwrap();
        }
    }
    let before = tree::lines(&bench.path("live"));
    let done = bench.json(&["run"]);
    assert_eq!(done["done"][0]["files"], DIRECTORIES * EACH + 1, "and the manifest");
    let copy = bench.path("copy");
    bench.ok(&["restore", "files", "--to", copy.to_str().unwrap()]);
    assert_eq!(tree::lines(&copy), before);
}

#[test]
fn the_key_is_made_once_closed_and_never_told() {
    let bench = bench("");
    let key = fs::read_to_string(bench.path("key")).unwrap();
    assert_eq!(fs::metadata(bench.path("key")).unwrap().mode() & 0o777, 0o600);
    let again = bench.run(&["init"]);
    assert!(again.out.contains("was there"), "{again:?}");
    assert_eq!(fs::read_to_string(bench.path("key")).unwrap(), key);
    let mut said = String::new();
    fs::write(bench.path("live/word"), "x").unwrap();
    for args in [&["run"][..], &["list"], &["verify", "files"], &["prune"]] {
        let output = bench.command(args).env("UNDERSTUDY_LOG", "trace").output().unwrap();
        said.push_str(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    }
    assert!(said.len() > 100 && !said.contains(key.trim()), "{said}");
    fs::set_permissions(bench.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let ended = bench.run(&["run"]);
    assert!(ended.err.contains("chmod 600"), "{ended:?}");
    fs::remove_file(bench.path("key")).unwrap();
    let ended = bench.run(&["list"]);
    assert!(ended.err.contains("copy it back from where you keep it"), "{ended:?}");
    fs::write(bench.path("key"), "another\n").unwrap();
    fs::set_permissions(bench.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let ended = bench.run(&["list"]);
    assert!(ended.err.contains("does not open the repository"), "{ended:?}");
}

#[test]
fn a_bad_configuration_is_told_with_its_place_and_changes_nothing() {
    let bench = bench("");
    bench.configure(&format!("{FILES}quiesce = \"stop\"\n"));
    let ended = bench.run(&["run"]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.err.contains("agent.toml:7:1: backup[0]") && ended.err.contains("quiesce"),
        "{ended:?}"
    );
    let ended = Bench::new(FILES).run(&["run", "fils"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("it has: files"), "{ended:?}");
}
