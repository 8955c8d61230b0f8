//! A Docker daemon on a machine of the lab: its own store, its own socket, its
//! own bridge, and its own rules in that machine's network.

use super::{
    config::{self, Driver, Options},
    machine::Machine,
};
use crate::{containers, process, wait};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A daemon with an empty store is up in half a second; the rest is for load.
const PATIENCE: Duration = Duration::from_secs(20);
/// The image that every daemon of the lab has.
const IMAGE: &str = "understudy-lab:trader";

/// A daemon's folder, and the daemon while it runs.
#[derive(Debug)]
pub struct Daemon {
    folder: PathBuf,
    /// The subnet of its bridge.
    bridge: String,
    /// The store's driver: the fast one, or the one that works everywhere.
    driver: &'static str,
    child: Option<Child>,
}

impl Daemon {
    /// A daemon that keeps its things in `folder`; `number` makes its bridge's subnet.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn new(folder: &Path, number: usize) -> Result<Self> {
        fs::create_dir_all(folder)?;
        // The machine's own configuration is not meant for this daemon.
        fs::write(folder.join("daemon.json"), "{}\n")?;
        let bridge = format!("172.30.{}.1/24", number + 1);
        Ok(Self { folder: folder.into(), bridge, driver: "overlay2", child: None })
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// Starts it; [`Self::ready`] waits for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, machine: &Machine) -> Result<()> {
        // What a killed daemon left: the id in it may be another's by now.
        for left in ["docker.pid", "exec/containerd/containerd.pid"] {
            let _ = fs::remove_file(self.folder.join(left));
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        let at = |name: &str| self.folder.join(name).display().to_string();
        let child = machine
            .command("dockerd")
            .args(["--config-file", &at("daemon.json"), "--data-root", &at("data")])
            .args(["--exec-root", &at("exec"), "--pidfile", &at("docker.pid")])
            .args(["--host", &format!("unix://{}", self.socket().display())])
            .args(["--bip", &self.bridge, "--iptables=true", "--live-restore"])
            .args(["--storage-driver", self.driver])
            .env(process::MARK, &self.folder)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("could not start dockerd")?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it answers; where its store's driver does not work here, it
    /// is started again with the one that always does.
    ///
    /// # Errors
    /// When it does not come up, with the end of its log.
    pub fn ready(&mut self, machine: &Machine) -> Result<()> {
        match self.answers() {
            Err(_) if self.driver == "overlay2" && self.ended() => {
                self.driver = "vfs";
                self.start(machine)?;
                self.answers()
            }
            other => other,
        }
        .with_context(|| self.last_words())
    }

    fn answers(&mut self) -> Result<()> {
        let socket = self.socket();
        let ended = wait::until("dockerd to answer", PATIENCE, || {
            if self.ended() {
                return Ok(true);
            }
            docker(&socket, &["version", "--format", "{{.Server.Version}}"]).map(|_| false)
        })?;
        ensure!(!ended, "dockerd has ended");
        Ok(())
    }

    fn ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Its process as we see it.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id).and_then(process::child_of)
    }

    /// Kills the daemon alone: its containers live on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill9(&mut self) -> Result<()> {
        process::signal(self.pid().context("dockerd does not run")?, Signal::SIGKILL)?;
        self.forget()
    }

    /// After the loss of power: what was in memory is gone.
    ///
    /// # Errors
    /// When its folder cannot be cleared.
    pub fn lost_power(&mut self) -> Result<()> {
        self.forget()?;
        for left in ["exec", "docker.sock"].map(|name| self.folder.join(name)) {
            let gone =
                if left.is_dir() { fs::remove_dir_all(&left) } else { fs::remove_file(&left) };
            match gone {
                Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
                    return Err(why).with_context(|| left.display().to_string());
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn forget(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }

    /// Loads the image from an archive.
    ///
    /// # Errors
    /// When Docker refuses.
    pub fn import(&self, archive: &Path) -> Result<()> {
        docker(&self.socket(), &["import", &archive.display().to_string(), IMAGE]).map(|_| ())
    }

    /// Makes a container of the image; it is not started.
    ///
    /// # Errors
    /// When Docker refuses.
    pub fn create(&self, name: &str, options: &[&str], command: &[&str]) -> Result<()> {
        let mut words = vec!["create", "--name", name];
        words.extend(options);
        words.push(IMAGE);
        words.extend(command);
        docker(&self.socket(), &words).map(|_| ())
    }

    /// One call of Docker's client.
    ///
    /// # Errors
    /// When Docker refuses.
    pub fn call(&self, words: &[&str]) -> Result<String> {
        docker(&self.socket(), words)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

/// Packs the trader with its libraries into an archive for [`Daemon::import`].
///
/// # Errors
/// When a file is missing or cannot be copied.
pub fn archive(folder: &Path, trader: &Path) -> Result<PathBuf> {
    containers::pack(folder, trader, &[])
}

/// Makes the trader's container on one site; it is not started.
///
/// # Errors
/// When Docker refuses.
pub fn create_trader(
    daemon: &Daemon,
    machine: &Machine,
    site: &str,
    options: &Options,
) -> Result<()> {
    let mut flags = Vec::new();
    let parent = cgroup_of(machine);
    if options.restart_always {
        flags.extend(["--restart", "always"]);
    }
    if options.driver == Driver::HostNetwork {
        flags.extend(["--network", "host", "--cgroup-parent", &parent]);
    }
    let arguments = config::trader_arguments(site)?;
    let mut words = vec!["/trader"];
    words.extend(arguments.iter().map(String::as_str));
    daemon.create("trader", &flags, &words)
}

/// Where a trader in the host's network lives: the gate knows it by that. Both
/// hosts have one kernel.
fn cgroup_of(machine: &Machine) -> String {
    format!("understudy-lab-{}-{}", std::process::id(), machine.name)
}

/// Removes that cgroup, which Docker leaves behind; nothing runs in it any more.
pub fn remove_cgroup(machine: &Machine) {
    for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        let folder = Path::new(root).join(cgroup_of(machine));
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // Its files cannot be removed, and go with it.
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(folder);
    }
}

fn docker(socket: &Path, words: &[&str]) -> Result<String> {
    let done = Command::new("docker")
        .arg("--host")
        .arg(format!("unix://{}", socket.display()))
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context("could not start `docker`")?;
    if !done.status.success() {
        bail!("`docker {}`: {}", words.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
