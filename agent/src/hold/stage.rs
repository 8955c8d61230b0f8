//! Between the holder and the program: a copy of this binary that ties its
//! life to the holder's and then becomes the program.
//!
//! The tie (the parent-death signal) has to be made in the child itself;
//! doing it in a stage needs no unsafe code between fork and exec. It is kept
//! through exec, except into a set-user-ID program.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, PipeWriter, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Command, ExitCode, Stdio},
};

/// The argument that makes this process a stage; the holder's pid follows it.
const FLAG: &str = "--exec";

/// What shells say for a program that cannot be executed.
const CANNOT_EXECUTE: u8 = 127;

/// The holder's pid, when the arguments ask for a stage.
pub(super) fn parent(args: &[OsString]) -> Option<i32> {
    match args {
        [flag, pid, dashes, _, ..] if flag == FLAG && dashes == "--" => pid.to_str()?.parse().ok(),
        _ => None,
    }
}

/// Starts a stage in a process group of its own. Must be called from the
/// holder's main thread: the tie is to the thread.
pub(super) fn spawn(program: &[OsString], report: UnixStream, log: PipeWriter) -> io::Result<Pid> {
    // Through /proc, so that it is this very binary even after an upgrade replaced the file.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("understudy-hold")
        .args(["hold", FLAG, &std::process::id().to_string(), "--"])
        .args(program)
        .stdin(Stdio::from(OwnedFd::from(report)))
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let child = command.spawn()?;
    Ok(Pid::from_child(&child))
}

/// Becomes the program. Returns only when it cannot, having told the holder why.
pub(super) fn become_program(holder: i32, args: Vec<OsString>) -> ExitCode {
    // A copy that closes itself when the program takes over: its end is the news.
    let report = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let Ok(mut report) = report else { return ExitCode::from(CANNOT_EXECUTE) };
    let mut program = args.into_iter().skip(3);
    let Some(path) = program.next() else { return ExitCode::from(CANNOT_EXECUTE) };
    let name = path.to_string_lossy().into_owned();
    let error = prepare(holder).err().unwrap_or_else(|| Command::new(path).args(program).exec());
    // In one piece, because the holder reads one.
    let _ = report.write_all(format!("cannot execute {name}: {error}").as_bytes());
    ExitCode::from(CANNOT_EXECUTE)
}

fn prepare(holder: i32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The holder may have died before the tie was made.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(holder) {
        return Err(io::Error::other("the holder is gone"));
    }
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(())
}
