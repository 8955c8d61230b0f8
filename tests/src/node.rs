//! One node of a cluster: a program, its folder, its log, and its process.

use crate::{process, wait};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::{
    fs::{self, OpenOptions},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

/// How long a program may take to end after SIGTERM: an agent may first stop
/// its services, five seconds each by default.
const TERM_PATIENCE: Duration = Duration::from_secs(15);

/// What kind of node it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of the pair.
    Coordinator,
    /// The third voter.
    Witness,
    /// On a protected host.
    Agent,
}

impl Kind {
    /// The role as `coordctl token create --role` names it.
    #[must_use]
    pub const fn role(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Witness => "witness",
            Self::Agent => "agent",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Coordinator | Self::Witness => "understudy-coordinator",
            Self::Agent => "understudy-agent",
        }
    }

    const fn config_file(self) -> &'static str {
        match self {
            Self::Coordinator | Self::Witness => "coordinator.toml",
            Self::Agent => "agent.toml",
        }
    }
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its name: `c1`, `w1`, `p1`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    folder: PathBuf,
    program: PathBuf,
    /// Whether it is to outlive us and our terminal.
    detached: bool,
    /// What is put before its commands, to run them on a machine of the lab.
    entry: Vec<String>,
    child: Option<Child>,
}

impl Node {
    /// A node named `name` in `cluster/name`, with its configuration written.
    ///
    /// # Errors
    /// When the folder or the file cannot be made.
    pub fn new(
        name: &str,
        kind: Kind,
        cluster: &Path,
        programs: &Path,
        config: &str,
    ) -> Result<Self> {
        let folder = cluster.join(name);
        fs::create_dir_all(&folder)?;
        let node = Self {
            name: name.into(),
            kind,
            folder,
            program: programs.join(kind.program()),
            detached: false,
            entry: Vec::new(),
            child: None,
        };
        fs::write(node.config(), config)
            .with_context(|| format!("could not write {}", node.config().display()))?;
        Ok(node)
    }

    /// Lets it outlive us and our terminal.
    pub fn detach(&mut self) {
        self.detached = true;
    }

    /// Lets its program run behind `entry`, a command that forks and runs what
    /// follows it: `nsenter` into a machine of the lab.
    pub fn enter(&mut self, entry: Vec<String>) {
        self.entry = entry;
    }

    /// Its folder: configuration, state, log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join(self.kind.config_file())
    }

    /// Where its output goes, all starts in one file.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Where the trading service on this host writes what it sent.
    #[must_use]
    pub fn ticks(&self) -> PathBuf {
        self.folder.join("ticks")
    }

    /// Its process as we see it, when it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let started = self.child.as_ref().map(Child::id)?;
        if self.entry.is_empty() { Some(started) } else { process::child_of(started) }
    }

    /// A call of its program with `verb`, its configuration and its mark.
    #[must_use]
    pub fn command(&self, verb: &str) -> Command {
        self.call(&[verb])
    }

    /// A call of its program with these words, its configuration and its mark.
    #[must_use]
    pub fn call(&self, verbs: &[&str]) -> Command {
        let mut words = self.entry.iter();
        let mut command = match words.next() {
            None => Command::new(&self.program),
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(&self.program);
                command
            }
        };
        command
            .args(verbs)
            .arg("--config")
            .arg(self.config())
            .env(process::MARK, &self.folder)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Enrols it with `token`.
    ///
    /// # Errors
    /// When the program refuses, with its words.
    pub fn enrol(&self, token: &str) -> Result<()> {
        let done = self.command("enroll").arg("--token").arg(token).output()?;
        ensure!(
            done.status.success(),
            "{} could not enrol ({}): {}{}",
            self.name,
            done.status,
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(())
    }

    /// Loads an agent's kernel gate, closed, as its unit does at boot.
    ///
    /// # Errors
    /// When the program refuses, with its words.
    pub fn load_gate(&self) -> Result<()> {
        let done = self.call(&["gate", "load"]).output()?;
        ensure!(
            done.status.success(),
            "{} has no gate: {}",
            self.name,
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(())
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it runs already, or cannot be started.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = self.command("run");
        if self.detached {
            command.process_group(0);
        }
        let child = command
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("could not start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Fails when it has ended by itself, with the end of its log.
    ///
    /// # Errors
    /// When it does not run.
    pub fn alive(&mut self) -> Result<()> {
        let ended = match &mut self.child {
            Some(child) => child.try_wait()?,
            None => anyhow::bail!("{} was not started", self.name),
        };
        match ended {
            Some(status) => {
                anyhow::bail!("{} ended with {status}:\n{}", self.name, self.last_words(10))
            }
            None => Ok(()),
        }
    }

    /// The program alone, with SIGKILL; services that it started live on.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill9(&mut self) -> Result<()> {
        if !self.entry.is_empty()
            && let Some(pid) = self.pid()
        {
            process::signal(pid, Signal::SIGKILL)?;
            // What entered the machine stops together with what it started.
            self.wake_entry()?;
            self.child.take().context("not running")?.wait()?;
        } else if let Some(mut child) = self.child.take() {
            child.kill().with_context(|| format!("could not kill {}", self.name))?;
            child.wait()?;
        }
        Ok(())
    }

    /// The whole host, as a loss of power would: the program and everything it started.
    ///
    /// # Errors
    /// When something of it cannot be killed.
    pub fn power_off(&mut self) -> Result<()> {
        self.kill9()?;
        process::sweep(&self.folder)
    }

    /// Asks it to end with SIGTERM and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let name = self.name.clone();
        let pid = self.pid().with_context(|| format!("{name} does not run"))?;
        let mut child = self.child.take().with_context(|| format!("{name} does not run"))?;
        process::signal(pid, Signal::SIGTERM)?;
        wait::until(&format!("{name} to end"), TERM_PATIENCE, || {
            child.try_wait()?.context("still running")
        })
    }

    /// Stops its clockwork with SIGSTOP; it keeps its connections and its memory.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        process::signal(self.pid().context("not running")?, Signal::SIGSTOP)
    }

    /// Lets it go on after [`Node::freeze`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        process::signal(self.pid().context("not running")?, Signal::SIGCONT)?;
        self.wake_entry()
    }

    /// `nsenter` stops itself when its child is stopped, and would not see its end.
    fn wake_entry(&self) -> Result<()> {
        match &self.child {
            Some(child) if !self.entry.is_empty() => process::signal(child.id(), Signal::SIGCONT),
            Some(_) | None => Ok(()),
        }
    }

    /// What it has logged.
    #[must_use]
    pub fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The last `lines` lines of its log.
    #[must_use]
    pub fn last_words(&self, lines: usize) -> String {
        let text = self.log_text();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}
