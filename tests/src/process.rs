//! Processes as the kernel shows them: signals by id, and a sweep of what one
//! folder's programs left behind.
//!
//! A process belongs to a folder when it was started with the folder in its
//! environment ([`MARK`]), or is one of our programs and names the folder in
//! its arguments. Nothing else is ever signalled.

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs, os::unix::ffi::OsStrExt, path::Path, time::Duration};

use crate::wait;

/// The environment variable that every started program gets: its node's folder.
pub const MARK: &str = "UNDERSTUDY_TEST_FOLDER";

/// Names of programs of ours that services and holders run as.
const OURS: [&str; 4] =
    ["understudy-coordinator", "understudy-agent", "tick-publisher", "understudy-demo"];

/// Sends `signal` to `pid`; a process that has gone is no fault.
///
/// # Errors
/// When the kernel refuses.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).context("a process id beyond the kernel's range")?;
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(why) => Err(why).with_context(|| format!("could not send {signal} to {pid}")),
    }
}

/// The first child of `pid`, when it has one.
#[must_use]
pub fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// The process with the program `name` in the process tree whose init is `init`,
/// zombies left out.
#[must_use]
pub fn in_tree(init: u32, name: &str) -> Option<u32> {
    let tree = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = tree(init)?;
    all().find(|pid| {
        let named = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // A container has a process tree of its own, and its lineage leads to
        // the machine's init; what we started there ourselves has another one.
        // A zombie has no program any more.
        named.trim_end() == name
            && fs::read_link(format!("/proc/{pid}/exe")).is_ok()
            && (tree(*pid).as_ref() == Some(&own) || lineage(*pid).any(|above| above == init))
    })
}

/// The parent of `pid`, when it has one.
#[must_use]
pub fn parent_of(pid: u32) -> Option<u32> {
    lineage(pid).nth(1)
}

/// `pid` and its parents, up to the machine's own init.
fn lineage(pid: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(pid), |pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(1)?.parse().ok().filter(|parent| *parent > 0)
    })
}

/// The processes that belong to `folder` or to one below it, but for ourselves.
#[must_use]
pub fn of_folder(folder: &Path) -> Vec<u32> {
    all().filter(|pid| *pid != std::process::id() && belongs(*pid, folder)).collect()
}

fn all() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The publishers that have `word` among their arguments.
#[must_use]
pub fn with_argument(word: &str) -> Vec<u32> {
    all().filter(|pid| named(*pid, &["tick-publisher"], Path::new(word))).collect()
}

/// Kills every process of `folder` with SIGKILL and returns when none is left.
///
/// # Errors
/// When some are still there after five seconds, or a signal is refused.
pub fn sweep(folder: &Path) -> Result<()> {
    wait::until("killed processes to be gone", Duration::from_secs(5), || {
        let left = of_folder(folder);
        for pid in &left {
            signal(*pid, Signal::SIGKILL)?;
        }
        ensure!(left.is_empty(), "still there: {left:?}");
        Ok(())
    })
}

/// Resident memory of `pid` in bytes.
///
/// # Errors
/// When the process has gone.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} has gone"))?;
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .context("the kernel tells no VmRSS")?
        .trim()
        .parse()?;
    Ok(kib * 1024)
}

/// Processor time that `pid` has used, in clock ticks of 10 ms (user and system).
///
/// # Errors
/// When the process has gone.
pub fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} has gone"))?;
    // The name may hold spaces; the fields that count follow its bracket.
    let (_, fields) = stat.rsplit_once(')').context("an unknown form of /proc/PID/stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // proc(5): utime and stime are fields 14 and 15; the first here is field 3.
    let user: u64 = fields.get(11).context("no utime")?.parse()?;
    let system: u64 = fields.get(12).context("no stime")?.parse()?;
    Ok(user + system)
}

fn belongs(pid: u32, folder: &Path) -> bool {
    // A zombie has ended and only waits for its parent.
    let dead = fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(')').map(|(_, rest)| rest.trim().starts_with('Z')))
        .unwrap_or(true);
    !dead && (marked(pid, folder) || named(pid, &OURS, folder))
}

fn marked(pid: u32, folder: &Path) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let start = [MARK.as_bytes(), b"="].concat();
    environment
        .split(|byte| *byte == 0)
        .filter_map(|pair| pair.strip_prefix(start.as_slice()))
        .any(|value| within(value, folder))
}

fn named(pid: u32, programs: &[&str], folder: &Path) -> bool {
    let Ok(words) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut words = words.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    programs.iter().any(|ours| ours.as_bytes() == name) && words.any(|word| within(word, folder))
}

fn within(path: &[u8], folder: &Path) -> bool {
    path.strip_prefix(folder.as_os_str().as_bytes())
        .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_sweep_takes_what_carries_the_mark_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let start = |mark: &Path| {
            Command::new("sleep").arg("60").env(MARK, mark).stdin(Stdio::null()).spawn().unwrap()
        };
        let mut ours = start(&folder.path().join("p1"));
        let neighbour = format!("{}-other", folder.path().display());
        let mut other = start(Path::new(&neighbour));
        sweep(folder.path()).unwrap();
        assert!(!ours.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none(), "a process of another folder was killed");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn the_kernel_tells_memory_and_time() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        cpu_ticks(std::process::id()).unwrap();
    }
}
