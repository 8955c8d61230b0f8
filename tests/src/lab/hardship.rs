//! What a program has to bear without its machine being at fault: too little of
//! the processor, too little memory, a wall clock that is set.

use crate::node::Node;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where control groups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// A control group with a limit, for one program. Gone when dropped, and what was
/// in it is free again.
pub struct Squeeze {
    folder: PathBuf,
    /// Where the controller is of the first version, or everything of the second.
    root: PathBuf,
}

impl Squeeze {
    fn new(controller: &str) -> Result<Self> {
        let old = Path::new(CGROUPS).join(controller);
        let root = if old.is_dir() { old } else { CGROUPS.into() };
        let squeeze =
            Self { folder: root.join(format!("understudy-lab-{}", std::process::id())), root };
        fs::create_dir_all(&squeeze.folder)
            .with_context(|| format!("no cgroup {}", squeeze.folder.display()))?;
        Ok(squeeze)
    }

    fn is_old(&self) -> bool {
        self.root != Path::new(CGROUPS)
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let file = self.folder.join(file);
        fs::write(&file, value).with_context(|| format!("{value} into {}", file.display()))
    }

    fn number(&self, file: &str) -> Result<u64> {
        let text = fs::read_to_string(self.folder.join(file))?;
        text.trim().parse().with_context(|| format!("{file} says `{}`", text.trim()))
    }

    /// A thousandth of a processor for `pid`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn processor(pid: u32) -> Result<Self> {
        let squeeze = Self::new("cpu")?;
        // In microseconds: the least that the kernel takes, of the longest period.
        if squeeze.is_old() {
            squeeze.set("cpu.cfs_period_us", "1000000")?;
            squeeze.set("cpu.cfs_quota_us", "1000")?;
        } else {
            squeeze.set("cpu.max", "1000 1000000")?;
        }
        squeeze.set("cgroup.procs", &pid.to_string())?;
        Ok(squeeze)
    }

    /// A group of which the memory can be limited later. Memory belongs to the
    /// group in which it was asked for, so the program has to start in it: put
    /// [`Self::entry`] before its command.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn memory() -> Result<Self> {
        Self::new("memory")
    }

    /// What starts the command that follows it in this group.
    #[must_use]
    pub fn entry(&self) -> Vec<String> {
        let procs = self.folder.join("cgroup.procs");
        let script = format!("echo 0 > {} && exec \"$0\" \"$@\"", procs.display());
        ["sh", "-c", &script].map(str::to_owned).to_vec()
    }

    /// Takes all memory that can be taken: from now on every page that the program
    /// asks for costs it another one, its own code among them, or its life. What
    /// was taken may be more than was asked for: once more takes that too.
    ///
    /// # Errors
    /// When the kernel refuses every limit.
    pub fn tighten(&self) -> Result<()> {
        let (limit, usage) = if self.is_old() {
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
        } else {
            ("memory.max", "memory.current")
        };
        let held = self.number(usage)?;
        ensure!(held > 0, "nothing was ever started in {}", self.folder.display());
        // The smallest that the kernel takes: it refuses what it cannot free.
        let mut tenths = 1..=10;
        ensure!(
            tenths.any(|tenth| self.set(limit, &(held * tenth / 10).to_string()).is_ok()),
            "no limit below {held} bytes was taken"
        );
        // It may have freed more than it had to, and that would be room to breathe.
        let left = self.number(usage)?;
        if left > 0 {
            let _ = self.set(limit, &left.to_string());
        }
        Ok(())
    }

    /// How often a page could not be had at once.
    ///
    /// # Errors
    /// When the kernel does not count.
    pub fn shortages(&self) -> Result<u64> {
        if self.is_old() {
            return self.number("memory.failcnt");
        }
        let events = fs::read_to_string(self.folder.join("memory.events"))?;
        let max = events.lines().find_map(|line| line.strip_prefix("max "));
        Ok(max.context("memory.events has no `max`")?.trim().parse()?)
    }
}

impl Drop for Squeeze {
    fn drop(&mut self) {
        if self.folder.join("memory.limit_in_bytes").exists() {
            let _ = self.set("memory.limit_in_bytes", "-1");
        }
        let held = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for pid in held.lines() {
            let _ = fs::write(self.root.join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

/// The file in a node's folder that says how far its wall clock is off.
const CLOCK: &str = "wall-clock";

/// What gives the command that follows it a wall clock of its own, which
/// [`set_clock`] sets while it runs. All its other clocks stay the machine's.
///
/// # Errors
/// When `libfaketime` is not installed.
pub fn own_clock(node: &Node) -> Result<Vec<String>> {
    let library = fs::read_dir("/usr/lib")?
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists());
    let library = library.context("libfaketime is missing: `cargo xtask setup`")?;
    set_clock(node, 0)?;
    Ok(vec![
        "env".into(),
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", node.folder().join(CLOCK).display()),
        "FAKETIME_NO_CACHE=1".into(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
    ])
}

/// Sets a node's wall clock so many seconds off.
///
/// # Errors
/// When its file cannot be written.
pub fn set_clock(node: &Node, off_s: i64) -> Result<()> {
    // Renamed into place: a reader never sees half a number.
    let (file, new) = (node.folder().join(CLOCK), node.folder().join("wall-clock.new"));
    fs::write(&new, format!("{off_s:+}\n"))?;
    Ok(fs::rename(&new, &file)?)
}
