//! Running the system's own programs: within a limit, and without a pipe that
//! could fill up. `nft` loads our table's text; `ss` ends connections.

use rustix::fs::{MemfdFlags, memfd_create};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Seek, Write},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a program may take: `nft` needs some 20 ms, `ss` 3 ms, and much
/// longer only on a machine that hardly runs.
const LIMIT: Duration = Duration::from_secs(5);

/// Between two looks whether it ended.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Where they are on every distribution, though not on every path.
const PLACES: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// As much of a program's words as is kept.
const WORDS_MAX: u64 = 2_000;

/// Why a program did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// Not there.
    #[error("{0} is not installed: there is no program `{1}`")]
    Missing(&'static str, &'static str),
    /// It could not be run.
    #[error("it could not be run: {0}")]
    Run(#[from] io::Error),
    /// It said no.
    #[error("`{0}` refused: {1}")]
    Refused(&'static str, String),
    /// It was ended.
    #[error("`{0}` did not end within {limit} s", limit = LIMIT.as_secs())]
    Late(&'static str),
}

/// Loads a table's text in one step: all of it or nothing. Blocks up to [`LIMIT`].
pub(crate) fn load(text: &str) -> Result<(), ProgramError> {
    run("nftables", "nft", &["-f", "-"], text)
}

/// Ends the TCP connections of this network namespace that `filter` names, in
/// the words of `ss`; also those whose process is gone. Blocks up to [`LIMIT`].
pub(crate) fn end_connections(filter: &str) -> Result<(), ProgramError> {
    let mut args = vec!["--kill", "--tcp", "--numeric", "--no-header"];
    for state in ["established", "fin-wait-1", "fin-wait-2", "close-wait", "last-ack", "closing"] {
        args.extend(["state", state]);
    }
    args.push(filter);
    run("iproute2", "ss", &args, "")
}

/// Runs it with `text` as its input.
fn run(
    package: &'static str,
    program: &'static str,
    args: &[&str],
    text: &str,
) -> Result<(), ProgramError> {
    let mut input = memory()?;
    input.write_all(text.as_bytes())?;
    input.rewind()?;
    let mut words = memory()?;
    let mut paths = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin"));
    paths.push(":");
    paths.push(PLACES);
    let child = Command::new(program)
        .args(args)
        .env("PATH", paths)
        .env("LC_ALL", "C")
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(words.try_clone()?)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ProgramError::Missing(package, program),
            _ => ProgramError::Run(error),
        })?;
    let Some(status) = ended(child)? else { return Err(ProgramError::Late(program)) };
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    words.rewind()?;
    words.take(WORDS_MAX).read_to_string(&mut said)?;
    let first = said.lines().next().unwrap_or("no word");
    Err(ProgramError::Refused(program, format!("{first} ({status})")))
}

/// A file in memory: it takes all that is written and never makes anybody wait.
fn memory() -> io::Result<File> {
    Ok(File::from(memfd_create("understudy-gate", MemfdFlags::CLOEXEC)?))
}

/// How it ended; `None` when it had to be killed.
fn ended(mut child: Child) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    }
}
