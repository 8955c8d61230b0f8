//! Containers that wait while something is read or replaced, and go on in every
//! case, also when this process is killed.
//!
//! A small process of its own holds the names and a pipe. It lets the containers
//! go when the pipe closes: at the end of the work, or at the kernel's closing
//! of it when the worker dies. There is no other way that they are let go.

use super::docker::{Docker, Found};
use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

/// The hidden verb of the small process.
pub(crate) const VERB: &str = "thaw";

/// What was done to the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// They are frozen.
    Pause,
    /// They are stopped.
    Stop,
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Stop => "stop",
        }
    }
}

/// Containers that wait. Dropping it lets them go too.
#[derive(Debug)]
pub(crate) struct Frozen {
    keeper: Child,
    names: Vec<String>,
}

impl Frozen {
    /// Starts the small process first, then freezes or stops, newest first.
    pub(crate) fn freeze(
        docker: &Docker,
        socket: &Path,
        action: Action,
        containers: &[Found],
    ) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
        let keeper = Command::new(&program)
            .args(["backup", VERB, action.word(), "--socket"])
            .arg(socket)
            .args(containers.iter().map(|container| container.id.as_str()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // A Ctrl-C is for the worker; this one goes on until it has ended.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let names = containers.iter().map(|container| container.name.clone()).collect();
        let frozen = Self { keeper, names };
        for container in containers.iter().rev() {
            let done = match action {
                Action::Pause => docker.pause(&container.id),
                Action::Stop => docker.stop(&container.id),
            };
            if let Err(error) = done {
                let name = &container.name;
                let words = format!(
                    "container `{name}` could not be brought to {}: {error}",
                    action.word()
                );
                return Err(match frozen.release() {
                    Ok(()) => words,
                    Err(more) => format!("{words}; {more}"),
                });
            }
        }
        tracing::info!(containers = ?frozen.names, how = action.word(), "containers wait");
        Ok(frozen)
    }

    /// Lets them go on, and says so when one did not.
    pub(crate) fn release(mut self) -> Result<(), String> {
        self.let_go()
    }

    fn let_go(&mut self) -> Result<(), String> {
        if self.keeper.stdin.take().is_none() {
            return Ok(());
        }
        let names = self.names.join(", ");
        match self.keeper.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!(
                "not every one of these containers goes on ({status}): {names}; look at `docker ps --all`"
            )),
            Err(error) => {
                Err(format!("whether these containers go on is not known: {names}: {error}"))
            }
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(words) = self.let_go() {
            tracing::error!("{words}");
        }
    }
}

/// The small process: waits for the end of stdin, then lets the containers go,
/// oldest first.
///
/// # Errors
/// What could not be let go, in words.
pub(crate) fn thaw(action: Action, socket: &Path, containers: &[String]) -> Result<(), String> {
    let _deaf = deaf().map_err(|error| format!("signals: {error}"))?;
    let mut end = Vec::new();
    // An error is an end too.
    let _ = io::stdin().lock().read_to_end(&mut end);
    let docker = Docker::connect(socket).map_err(|error| error.to_string())?;
    let mut left = Vec::new();
    for id in containers {
        if let Err(words) = go_on(&docker, action, id) {
            left.push(words);
        }
    }
    if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
}

/// A service manager that stops the backup asks all its processes to end; this
/// one ends when its work is done. A signal that has a handler ends nobody.
fn deaf() -> io::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let inside = runtime.enter();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        drop(signal(kind)?);
    }
    drop(inside);
    Ok(runtime)
}

fn go_on(docker: &Docker, action: Action, id: &str) -> Result<(), String> {
    let state = docker.state(id).map_err(|error| error.to_string())?;
    let done = match (action, state) {
        // Removed or stopped by somebody else, who meant it.
        (_, None) | (Action::Pause, Some((_, false))) | (Action::Stop, Some((true, _))) => Ok(()),
        (Action::Pause, Some((_, true))) => docker.unpause(id),
        (Action::Stop, Some((false, _))) => docker.start(id),
    };
    done.map_err(|error| format!("{id}: {error}"))
}
