//! What this process may take from the host: the least of everything, so that
//! the agent beside it does not feel it.

use rustix::process::{
    Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal,
    setpriority_process, setrlimit,
};
use std::{fs, io};

/// The weakest claim to the processor. A process without an I/O priority of its
/// own gets one from this, the weakest of the best-effort class.
const NICE: i32 = 19;
/// The most memory that it may write to: past it a backup fails, and the host goes on.
const MEMORY_MAX: u64 = 2 << 30;
/// Threads that compress and encrypt: one core stays free on the smallest hosts.
const THREADS_MAX: usize = 2;
/// Whom the kernel kills first when memory runs out: 0 is everybody, 1000 always.
const OOM_SCORE: &str = "800";

/// Takes the limits on, for good.
pub(crate) fn take() -> io::Result<()> {
    setpriority_process(None, NICE)?;
    let hard = getrlimit(Resource::Data).maximum;
    let most = hard.map_or(MEMORY_MAX, |hard| hard.min(MEMORY_MAX));
    setrlimit(Resource::Data, Rlimit { current: Some(most), maximum: hard })?;
    // Some containers have no such file; then it is as before.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Fails where there are threads already, and then they are ours.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(cores.min(THREADS_MAX)).build_global();
    Ok(())
}

/// Ends this process when the thread that started it does; `agent` is that one's
/// process. Whether that was still there.
///
/// # Errors
/// The kernel refused.
pub fn end_with(agent: u32) -> io::Result<bool> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get());
    Ok(parent.is_some_and(|pid| u32::try_from(pid).is_ok_and(|pid| pid == agent)))
}

/// Takes back what a child inherits and must not have: the small process that
/// lets containers go on is the last that memory may be taken from.
pub(crate) fn lift() {
    let _ = fs::write("/proc/self/oom_score_adj", "0");
}

/// The most memory that this process has had in use, in MiB.
pub(crate) fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
