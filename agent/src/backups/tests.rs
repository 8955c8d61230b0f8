//! The thread with real files, and a program in the place of the agent's.

use super::*;
use daemon::config::Source;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};
use tempfile::TempDir;

struct Room {
    dir: TempDir,
}

impl Room {
    /// The program writes a line for each call, then does `body`.
    fn new(body: &str) -> Self {
        let room = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(room.path("live")).unwrap();
        let text = format!("#!/bin/sh\necho \"$*\" >> {}\n{body}\n", room.path("calls").display());
        fs::write(room.path("program"), text).unwrap();
        fs::set_permissions(room.path("program"), fs::Permissions::from_mode(0o755)).unwrap();
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, more: &str) -> Backups {
        let text = format!(
            "host = 'p1'\nstate_dir = 'DIR/state'\n[[repository]]\nname = 'r'\npath = 'DIR/repo'\n\
             password_file = 'DIR/key'\n[[backup]]\nname = 'etc'\nkind = 'paths'\n\
             root = 'DIR/live'\n{more}\n"
        );
        let text = text.replace("DIR", self.dir.path().to_str().unwrap());
        let config = Config::of(&Source::new("agent.toml", text)).unwrap();
        Backups::with(&config.backup, &self.path("agent.toml"), &self.path("program")).unwrap()
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn until(&self, what: &str, is: impl Fn(&[String]) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is(&self.calls()) {
            assert!(Instant::now() < end, "waited in vain for {what}: {:?}", self.calls());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A change of the files leads to one more run, or more.
    fn leads_to_a_run(&self, what: &str, change: impl FnOnce(&Path)) {
        // Quiet first: what came before must not be taken for it.
        let mut before = self.calls().len();
        let mut quiet = Instant::now();
        while quiet.elapsed() < Duration::from_millis(1500) {
            if self.calls().len() != before {
                (before, quiet) = (self.calls().len(), Instant::now());
            }
            thread::sleep(Duration::from_millis(5));
        }
        change(&self.path("live"));
        self.until(what, |calls| calls.len() > before);
    }
}

#[test]
fn every_kind_of_change_is_a_reason_to_copy() {
    let room = Room::new("");
    let live = room.path("live");
    fs::create_dir(live.join("sub")).unwrap();
    let _backups = room.start("on_change = true\nexclude = ['cache']");
    room.until("the first copy", |calls| !calls.is_empty());
    let call = &room.calls()[0];
    assert!(call.starts_with("backup run etc --json --of-agent "), "{call}");
    assert!(call.ends_with("/agent.toml"), "{call}");
    room.leads_to_a_run("a new file", |live| fs::write(live.join("a"), "1").unwrap());
    room.leads_to_a_run("an editor's way", |live| {
        fs::write(live.join(".a.tmp"), "2").unwrap();
        fs::rename(live.join(".a.tmp"), live.join("a")).unwrap();
    });
    room.leads_to_a_run("a directory", |live| fs::create_dir(live.join("new")).unwrap());
    room.leads_to_a_run("a file in it", |live| fs::write(live.join("new/b"), "1").unwrap());
    room.leads_to_a_run("a mode", |live| {
        fs::set_permissions(live.join("new/b"), fs::Permissions::from_mode(0o600)).unwrap();
    });
    room.leads_to_a_run("a removal", |live| fs::remove_file(live.join("a")).unwrap());
    room.leads_to_a_run("the root replaced", |live| {
        fs::create_dir(live.with_extension("new")).unwrap();
        fs::rename(live, live.with_extension("old")).unwrap();
        fs::rename(live.with_extension("new"), live).unwrap();
    });
    room.leads_to_a_run("a file in the new root", |live| fs::write(live.join("c"), "1").unwrap());
}

#[test]
fn one_file_of_a_directory_is_watched_through_renames() {
    let room = Room::new("");
    fs::write(room.path("live/a.toml"), "1").unwrap();
    let _backups = room.start("on_change = true\npaths = ['a.toml']");
    room.until("the first copy", |calls| !calls.is_empty());
    for number in 0..2 {
        room.leads_to_a_run("the file replaced", |live| {
            fs::write(live.join("beside"), number.to_string()).unwrap();
            fs::rename(live.join("beside"), live.join("a.toml")).unwrap();
        });
    }
    let before = room.calls().len();
    fs::write(room.path("live/other"), "not ours").unwrap();
    room.leads_to_a_run("the file written", |live| fs::write(live.join("a.toml"), "3").unwrap());
    assert_eq!(room.calls().len(), before + 1, "its neighbour is none of ours");
}

#[tokio::test]
async fn a_queue_that_runs_over_counts_as_a_change_of_everything() {
    let room = Room::new("");
    let source = |name: &str| {
        let root = room.path(name);
        fs::create_dir_all(&root).unwrap();
        (name.to_owned(), PathsSource { root, paths: Vec::new(), exclude: Vec::new() })
    };
    let mut watch = Watch::start([source("one"), source("two")].into()).unwrap();
    let max = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let max: usize = max.trim().parse().unwrap();
    // Two that follow each other on one name would be one.
    for number in 0..=max / 2 {
        let path = room.path("one").join((number % 2).to_string());
        fs::write(&path, "").unwrap();
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(watch.changed().await.unwrap().len(), 2, "what was lost is not known");
    fs::write(room.path("two/after"), "1").unwrap();
    assert_eq!(watch.changed().await.unwrap(), BTreeSet::from(["two".to_owned()]));
}

#[test]
fn what_was_taken_is_durable_and_proofs_wait_for_their_turn() {
    let room = Room::new("");
    let tables = "schedule = { every = '1h' }\ncheck = ['/bin/true']\n\
                  verify = [{ every = '1d', level = 3 }]";
    let backups = room.start(tables);
    room.until("the first copy", |calls| calls.len() == 1);
    drop(backups);
    let text = fs::read_to_string(room.path("state/backup/schedule.json")).unwrap();
    assert!(text.contains("run:etc") && text.contains("verify:etc:0"), "{text}");
    // As if the agent had been down for two days.
    let ago = Timestamp::now() - Duration::from_secs(48 * 3600);
    let old = format!(r#"{{"run:etc":"{ago}","verify:etc:0":"{ago}"}}"#);
    fs::write(room.path("state/backup/schedule.json"), old).unwrap();
    let backups = room.start(tables);
    room.until("each once", |calls| calls.len() == 3);
    drop(backups);
    let calls = room.calls();
    assert!(calls[1..].iter().any(|call| call.starts_with("backup run etc")), "{calls:?}");
    let verify = calls[1..].iter().find(|call| call.starts_with("backup verify etc")).unwrap();
    assert!(verify.contains("--level 3"), "{verify}");
}

#[test]
fn what_runs_ends_with_the_thread() {
    let room = Room::new("sleep 300");
    let backups = room.start("schedule = { every = '1h' }");
    room.until("it runs", |calls| calls.len() == 1);
    let begun = Instant::now();
    drop(backups);
    // Five minutes, if it waited for what runs.
    assert!(begun.elapsed() < Duration::from_secs(60));
    let gone = || {
        let marker = format!("{}", room.dir.path().display());
        let own = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&marker)
        });
        own.count() == 0
    };
    let end = Instant::now() + Duration::from_secs(10);
    while !gone() {
        assert!(Instant::now() < end, "a process is left");
        thread::sleep(Duration::from_millis(5));
    }
}
