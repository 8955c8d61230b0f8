//! What is started: a holder with the program as its argument.
//!
//! Everything here may block for as long as a file system hangs, so it is
//! called where nothing else waits (A4).

use crate::service::{ProcessConfig, StartError};
use model::ServiceName;
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::{Child, Command};

/// What the service manager gave to the agent alone.
const AGENTS_OWN: [&str; 7] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "CREDENTIALS_DIRECTORY",
];

/// What a run is made from.
pub(super) struct Program {
    pub(super) service: ServiceName,
    pub(super) config: ProcessConfig,
    pub(super) holder: PathBuf,
    pub(super) log: PathBuf,
    /// Where the kernel gate looks for it.
    pub(super) cgroup: Option<PathBuf>,
}

impl Program {
    /// Starts a holder, which starts the program once it was told a deadline,
    /// and nothing if its stdin ends before. Blocks.
    pub(super) fn spawn(&self) -> Result<Child, StartError> {
        self.executable()?;
        self.command().spawn().map_err(|error| StartError::Holder {
            service: self.service.clone(),
            reason: format!("{} does not run: {error}", self.holder.display()),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.holder);
        command
            .arg0("understudy-agent")
            .args(["hold", "--boottime-deadline-from-stdin", "--log"])
            .arg(&self.log);
        if let Some(cgroup) = &self.cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        command
            .arg("--")
            .args(&self.config.command)
            .envs(&self.config.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Away from a terminal's Ctrl-C: the agent's end is what ends it.
            .process_group(0);
        for name in AGENTS_OWN {
            if !self.config.env.contains_key(name) {
                command.env_remove(name);
            }
        }
        if let Some(dir) = &self.config.working_dir {
            command.current_dir(dir);
        }
        command
    }

    /// A clear word before a holder is even started.
    fn executable(&self) -> Result<(), StartError> {
        let Some(program) = self.config.command.first() else { return Ok(()) };
        let refused = |reason: String| StartError::Program {
            service: self.service.clone(),
            program: program.clone(),
            reason,
        };
        let about = Path::new(program).metadata().map_err(|error| refused(error.to_string()))?;
        if !about.is_file() || about.permissions().mode() & 0o111 == 0 {
            return Err(refused("it is not an executable file".into()));
        }
        match &self.config.working_dir {
            Some(dir) if !dir.is_dir() => {
                Err(refused(format!("its working_dir {} is not a directory", dir.display())))
            }
            Some(_) | None => Ok(()),
        }
    }
}
