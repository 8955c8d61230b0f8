//! The program's whole family: itself, its process group, and whatever left
//! that group. Found, killed, reaped.
//!
//! The holder is made the new parent of every orphan below it, so a
//! grandchild that left the group (`setsid`) is still found as a child.

use super::NO_WAIT;
use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitStatus, getpid, kill_process, kill_process_group, set_child_subreaper,
        wait,
    },
};
use std::{
    fs, io, thread,
    time::{Duration, Instant},
};

/// Between two rounds of killing: long enough for the kernel to hand a killed
/// process's children over, short against any lease.
const ROUND: Duration = Duration::from_millis(2);

/// Makes this process the parent of every orphan below it.
pub(super) fn adopt_orphans() -> io::Result<()> {
    set_child_subreaper(Some(getpid())).map_err(Into::into)
}

/// Collects every child that ended; the leader's status when it was among them.
pub(super) fn reap(leader: Pid) -> Option<WaitStatus> {
    let mut found = None;
    while let Ok(Some((pid, status))) = wait(NO_WAIT) {
        if pid == leader {
            found = Some(status);
        }
    }
    found
}

/// Kills the leader's group and every other descendant, until none is left.
///
/// # Errors
/// Some did not die within `limit` (an uninterruptible system call).
pub(super) fn kill(leader: Pid, limit: Duration) -> io::Result<()> {
    let started = Instant::now();
    loop {
        // First of all the group, in one call. An error says that it is gone.
        let _ = kill_process_group(leader, Signal::KILL);
        for child in children() {
            let _ = kill_process(child, Signal::KILL);
        }
        loop {
            match wait(NO_WAIT) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => return Ok(()),
            }
        }
        if started.elapsed() >= limit {
            let message = format!("processes {:?} do not die after SIGKILL", children());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        thread::sleep(ROUND);
    }
}

/// This process's own children, from /proc; none where it cannot be read.
fn children() -> Vec<Pid> {
    let own = getpid().as_raw_nonzero().get();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| parent(&stat))
                == Some(own)
        })
        .filter_map(Pid::from_raw)
        .collect()
}

/// The parent's pid in a line of /proc/PID/stat: the second field after the
/// name, which stands in parentheses and may itself hold spaces and parentheses.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent("12 (a b) c) S 7 12 12 0"), Some(7));
        assert_eq!(parent(""), None);
        assert_eq!(parent("12 (x"), None);
    }
}
