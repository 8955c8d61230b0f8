//! A host in a temporary directory: its agent.toml, its repository, its program.

use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_understudy-agent");

/// How long anything here may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) dir: TempDir,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Bench {
    /// With a repository `local`, and these tables besides; `DIR` in them is the
    /// bench's directory.
    pub(crate) fn new(tables: &str) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        bench.configure(tables);
        bench.ok(&["init"]);
        bench
    }

    pub(crate) fn configure(&self, tables: &str) {
        let head = "host = \"p1\"\nstate_dir = \"DIR/state\"\n[[repository]]\nname = \"local\"\n\
                    path = \"DIR/repo\"\npassword_file = \"DIR/key\"\n";
        let text = format!("{head}{tables}").replace("DIR", self.dir.path().to_str().unwrap());
        fs::write(self.path("agent.toml"), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(AGENT);
        command.arg("backup").args(args).arg("--config").arg(self.path("agent.toml"));
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        ended(&self.command(args).output().unwrap())
    }

    /// What a call that must succeed says.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        ended.out
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }

    /// The snapshots, oldest first.
    pub(crate) fn list(&self) -> Vec<Value> {
        self.json(&["list"]).as_array().unwrap().clone()
    }

    pub(crate) fn begin(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub(crate) fn restic(&self, args: &[&str]) -> String {
        let output = Command::new("restic")
            .arg("--repo")
            .arg(self.path("repo"))
            .arg("--password-file")
            .arg(self.path("key"))
            .arg("--no-cache")
            .args(args)
            .output()
            .unwrap();
        let ended = ended(&output);
        assert_eq!(ended.code, Some(0), "restic {args:?}: {ended:?}");
        ended.out
    }

    /// A program of the operator's.
    pub(crate) fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

pub(crate) fn ended(output: &Output) -> Ended {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn required(what: &str, there: bool) -> bool {
    if !there {
        let required = std::env::var("UNDERSTUDY_REQUIRE_ALL").is_ok_and(|value| value == "1");
        assert!(!required, "UNDERSTUDY_REQUIRE_ALL=1, and there is no {what}");
        eprintln!("skipped: no {what}");
    }
    there
}

/// Whether the restic program is there to test with.
pub(crate) fn restic_is_there() -> bool {
    required("restic", Command::new("restic").arg("version").output().is_ok())
}

/// Whether this is root, who may give files away and mount.
pub(crate) fn is_root() -> bool {
    required("root", rustix::process::geteuid().is_root())
}

/// A small file system that goes away at the end.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    pub(crate) fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size}");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .status()
            .unwrap();
        assert!(done.success());
        Self(at.into())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
