//! One machine of the lab: a network, a process tree, a mount table and clocks
//! of its own. It ends when it is dropped, and when we end in whatever way.
//!
//! Its clocks since boot differ from every other machine's, so that whoever
//! compares two hosts' clocks is found out. The wall clock is the kernel's only
//! one: steps of it are left to the simulation.

use crate::{process, wait};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How long the kernel may take for namespaces on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A machine.
#[derive(Debug)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Holds the other end of its init's standard input.
    keeper: Child,
    /// Its init, as we see it.
    init: u32,
}

/// Whether machines can be made here, or why not.
///
/// # Errors
/// In words, with what to do.
pub fn available() -> Result<()> {
    ensure!(nix::unistd::getuid().is_root(), "the lab needs root: it makes namespaces");
    for (program, package) in [
        ("ip", "iproute2"),
        ("nft", "nftables"),
        ("nsenter", "util-linux"),
        ("unshare", "util-linux"),
        ("dockerd", "docker.io"),
        ("docker", "docker.io"),
    ] {
        let found = Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // `ip` knows no `--version` and still is there.
        found.with_context(|| {
            format!("`{program}` is missing: package {package} (`cargo xtask setup`)")
        })?;
    }
    Ok(())
}

impl Machine {
    /// Switches one on. `programs` is where our own programs are; its clocks
    /// since boot are ahead of ours by `up_s` seconds.
    ///
    /// # Errors
    /// When the kernel or `unshare` refuses.
    pub fn start(name: &str, up_s: u64, programs: &Path, mark: &Path) -> Result<Self> {
        let ahead = up_s.to_string();
        let keeper = Command::new("unshare")
            .args(["--net", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child"])
            .args(["--time", "--boottime", &ahead, "--monotonic", &ahead, "--"])
            .arg(programs.join("machine"))
            .env(process::MARK, mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // It complains when it is interrupted, which is how a machine ends.
            .stderr(Stdio::null())
            .spawn()
            .context("could not start `unshare` (package util-linux)")?;
        let started = keeper.id();
        let init = wait::until(&format!("the machine {name}"), PATIENCE, || {
            let init = process::child_of(started).context("no init yet")?;
            let words = fs::read_to_string(format!("/proc/{init}/cmdline"))?;
            ensure!(words.contains("machine") && !words.contains("unshare"), "it is {words}");
            Ok(init)
        })?;
        let machine = Self { name: name.into(), keeper, init };
        machine.run("ip", &["link", "set", "lo", "up"])?;
        Ok(machine)
    }

    /// Its init's id, by which its namespaces are found.
    #[must_use]
    pub const fn init(&self) -> u32 {
        self.init
    }

    /// The command that puts what follows it on this machine; it forks.
    #[must_use]
    pub fn entry(&self) -> Vec<String> {
        let target = self.init.to_string();
        ["nsenter", "--target", &target, "--net", "--pid", "--mount", "--time", "--"]
            .map(str::to_owned)
            .to_vec()
    }

    /// The command that gives what follows it this machine's network, and no
    /// more; it does not fork.
    #[must_use]
    pub fn network(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--net=/proc/{}/ns/net", self.init), "--".into()]
    }

    /// `program` as a command on this machine.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(&self.entry()[1..]).arg(program.as_ref()).stdin(Stdio::null());
        command
    }

    /// Runs `program` there to its end and returns what it printed.
    ///
    /// # Errors
    /// When it cannot be started or does not end with 0: its words.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let done = self.command(program).args(arguments).output()?;
        ensure!(
            done.status.success(),
            "`{program} {}` on {}: {}",
            arguments.join(" "),
            self.name,
            String::from_utf8_lossy(&done.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Gives it control groups of the second version, whatever this machine has:
    /// by these the gate knows a container in the host's network.
    ///
    /// # Errors
    /// When the kernel has none.
    pub fn second_cgroups(&self) -> Result<()> {
        // Where there is nothing mounted yet, there is nothing to unmount.
        let script = "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup";
        self.run("sh", &["-c", script]).map(|_| ())
    }

    /// A path of its own mount table, as we reach it.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        let below = path.strip_prefix("/").unwrap_or(path);
        PathBuf::from(format!("/proc/{}/root", self.init)).join(below)
    }

    /// The loss of power: the kernel ends every process of it at once.
    ///
    /// # Errors
    /// When the kernel refuses or it does not end.
    pub fn power_off(&mut self) -> Result<()> {
        process::signal(self.init, Signal::SIGKILL)?;
        wait::until(&format!("the end of {}", self.name), PATIENCE, || {
            self.keeper.try_wait()?.context("it is still there").map(|_| ())
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Closing its standard input would end it too.
        let _ = self.power_off();
    }
}
