//! Running another program: bounded in time and output, and never leaving
//! anything of it behind.
//!
//! The program gets a process group of its own, and a clean environment. When it
//! has ended, or its deadline has passed, the whole group is ended with it; a
//! program that wants to leave something running calls setsid(2) itself.
//! What its exit code means is the caller's business.

mod output;
mod supervise;

pub use output::Output;

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use supervise::{Ending, Supervised};
use tokio::process::Child;

/// Bytes kept of each of stdout and stderr; the rest is read and counted.
pub const OUTPUT_MAX: usize = 16 * 1024;

/// From SIGTERM to SIGKILL, by default.
const GRACE: Duration = Duration::from_secs(2);

/// PATH where this process has none: systemd's default.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What of our own environment a program gets.
const PASSED_ON: [&str; 2] = ["PATH", "LANG"];

/// A file that is still being written answers ETXTBSY for that moment: so often
/// and so far apart a start is tried again.
const BUSY_TRIES: u32 = 10;
const BUSY_WAIT: Duration = Duration::from_millis(20);

/// A program to run, once or several times.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    directory: Option<PathBuf>,
    deadline: Duration,
    grace: Duration,
}

/// What is wrong with a program and its arguments as a file gives them; `None`
/// when they can be run.
#[must_use]
pub fn fault(words: &[String]) -> Option<String> {
    match words.first() {
        None => Some("it is empty".into()),
        Some(path) if !path.starts_with('/') => Some(format!("`{path}` is not an absolute path")),
        Some(_) if words.iter().any(|word| word.contains('\0')) => {
            Some("a word holds a NUL character".into())
        }
        Some(_) => None,
    }
}

/// How a run went.
#[derive(Debug)]
pub enum Run {
    /// It ended by itself, or by a signal that was not ours.
    Finished(Finished),
    /// It was ended at its deadline.
    TimedOut(TimedOut),
    /// It never ran.
    NotStarted(NotStarted),
}

/// A program that ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: Status,
    /// What it wrote to stdout.
    pub stdout: Output,
    /// What it wrote to stderr.
    pub stderr: Output,
    /// From start to end.
    pub took: Duration,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Status {
    /// It said so itself.
    #[error("exit code {0}")]
    Code(i32),
    /// A signal ended it.
    #[error("ended by signal {0}")]
    Signal(i32),
}

impl Finished {
    /// Exit code 0.
    #[must_use]
    pub const fn succeeded(&self) -> bool {
        matches!(self.status, Status::Code(0))
    }

    /// Whether some of its output was dropped.
    #[must_use]
    pub const fn truncated(&self) -> bool {
        self.stdout.dropped > 0 || self.stderr.dropped > 0
    }
}

/// A program that did not end in time.
#[derive(Debug)]
pub struct TimedOut {
    /// The deadline it had.
    pub deadline: Duration,
    /// It ignored SIGTERM, or left others in its group that did.
    pub killed: bool,
    /// What it wrote to stdout until then.
    pub stdout: Output,
    /// What it wrote to stderr until then.
    pub stderr: Output,
}

/// Why a program could not be started, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// There is no such file.
    #[error("{} does not exist; check the path", path.display())]
    NotFound {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there; what its `#!` line names is not.
    #[error(
        "{} exists, but the interpreter in its first line (or its loader) does not",
        path.display()
    )]
    NoInterpreter {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No permission to execute it.
    #[error("{} is not executable by this user; `chmod +x` it, and check its directories", path.display())]
    NotExecutable {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// ENOEXEC.
    #[error("{} is not a program; a script begins with a line such as `#!/bin/sh`", path.display())]
    NotAProgram {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The working directory is not there.
    #[error("the working directory {} for {} cannot be used: {source}", directory.display(), path.display())]
    Directory {
        /// The program.
        path: PathBuf,
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else.
    #[error("{} cannot be started: {source}", path.display())]
    Other {
        /// The program.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Program {
    /// A program by its path (absolute, by the callers' own rules), to be
    /// ended after `deadline`.
    pub fn new(path: impl Into<PathBuf>, deadline: Duration) -> Self {
        Self {
            path: path.into(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            directory: None,
            deadline,
            grace: GRACE,
        }
    }

    /// Its arguments, after those given before.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// One variable of its environment, besides PATH and LANG.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// What it reads from stdin; empty by default.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Where it runs; this process's own working directory by default.
    #[must_use]
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// From SIGTERM to SIGKILL at the deadline; 2 s by default.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Runs it. Returns at the latest a little after deadline plus grace, also when
    /// others hold its output open. Dropping the future kills the whole group.
    pub async fn run(&self) -> Run {
        let started = Instant::now();
        let child = match self.spawn().await {
            Ok(child) => child,
            Err(error) => return Run::NotStarted(self.not_started(error)),
        };
        match supervise::supervise(child, &self.stdin, self.deadline, self.grace).await {
            Ok(Supervised { ending: Ending::Itself(status), stdout, stderr }) => {
                Run::Finished(Finished { status, stdout, stderr, took: started.elapsed() })
            }
            Ok(Supervised { ending: Ending::Deadline { killed }, stdout, stderr }) => {
                Run::TimedOut(TimedOut { deadline: self.deadline, killed, stdout, stderr })
            }
            Err(source) => Run::NotStarted(NotStarted::Other { path: self.path.clone(), source }),
        }
    }

    async fn spawn(&self) -> io::Result<Child> {
        let mut command = tokio::process::Command::new(&self.path);
        command.args(&self.args).env_clear();
        command.env("PATH", PATH);
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for _ in 1..BUSY_TRIES {
            match command.spawn() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    tokio::time::sleep(BUSY_WAIT).await;
                }
                done => return done,
            }
        }
        command.spawn()
    }

    fn not_started(&self, source: io::Error) -> NotStarted {
        let path = self.path.clone();
        if let Some(directory) = self.directory.clone().filter(|directory| !directory.is_dir()) {
            return NotStarted::Directory { path, directory, source };
        }
        match source.kind() {
            io::ErrorKind::NotFound if is_there(&path) => {
                NotStarted::NoInterpreter { path, source }
            }
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                NotStarted::NotFound { path, source }
            }
            io::ErrorKind::PermissionDenied => NotStarted::NotExecutable { path, source },
            _ if rustix::io::Errno::from_io_error(&source) == Some(rustix::io::Errno::NOEXEC) => {
                NotStarted::NotAProgram { path, source }
            }
            _ => NotStarted::Other { path, source },
        }
    }
}

fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(false)
}

#[cfg(test)]
mod tests;
