//! The process of a task, tied to the agent that started it: at its end, or when
//! the agent ends, it takes along the programs that it started.

use daemon::exit::Exit;
use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process_group, set_parent_process_death_signal,
};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};
use tokio::signal::unix::{SignalKind, signal};

/// Ties this process to its parent: a task must not outlive it, and neither may
/// what it started, but for our own helpers, which let containers go on. To be
/// called from the main thread of a process that is new.
///
/// # Errors
/// When the agent has gone already, or signals cannot be waited for.
pub fn tie(parent: i32) -> io::Result<()> {
    let (ready, waiting) = mpsc::channel();
    thread::spawn(move || watch(&ready));
    waiting.recv().map_err(io::Error::other)??;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // It may have died before the tie was made.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return Err(io::Error::other("the agent that ordered this is gone"));
    }
    Ok(())
}

fn watch(ready: &mpsc::Sender<io::Result<()>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let mut asked = signal(SignalKind::terminate())?;
            // The one who waits for this may be gone only with the process.
            let _ = ready.send(Ok(()));
            asked.recv().await;
            Ok(())
        })
    });
    match ended {
        Ok(()) => {
            end_programs();
            Exit::Failed.now()
        }
        Err(error) => drop(ready.send(Err(error))),
    }
}

/// Kills what this process started, each with its group.
fn end_programs() {
    let exe = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let own: Option<PathBuf> = fs::read_link("/proc/self/exe").ok();
    for pid in below(getpid().as_raw_nonzero().get(), &parents()) {
        if own.is_some() && exe(pid) == own {
            continue;
        }
        if let Some(pid) = Pid::from_raw(pid) {
            // Those that lead no group of their own go with the one who does.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Every process's parent.
fn parents() -> BTreeMap<i32, i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let of = |path: &Path| {
        let pid = path.file_name()?.to_str()?.parse().ok()?;
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        // The name in brackets may hold anything, brackets too (proc_pid_stat(5)).
        let parent = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(1)?;
        Some((pid, parent.parse().ok()?))
    };
    entries.filter_map(|entry| of(&entry.ok()?.path())).collect()
}

/// The children of a process, and theirs.
fn below(top: i32, parents: &BTreeMap<i32, i32>) -> Vec<i32> {
    let mut found = vec![top];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let new = parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid);
        let new: Vec<i32> = new.filter(|pid| !found.contains(pid)).collect();
        found.extend(new);
        at += 1;
    }
    found.remove(0);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_and_theirs_are_found_and_nobody_else() {
        let parents = [(2, 1), (3, 2), (4, 2), (5, 4), (6, 1), (1, 1)].into();
        assert_eq!(below(2, &parents), [3, 4, 5]);
        assert_eq!(below(5, &parents), Vec::<i32>::new());
        // A table that changed while it was read must not hold it up.
        assert_eq!(below(7, &[(7, 8), (8, 7)].into()), [8]);
        let own = getpid().as_raw_nonzero().get();
        assert!(self::parents().contains_key(&own), "this very process");
    }
}
