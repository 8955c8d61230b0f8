//! The venue's log: when each site's service sent a tick. It is the evidence
//! that at no instant two sites traded.

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use std::{
    fs,
    io::Write,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// Two ticks of one site with at most this much between them belong to one
/// stretch of sending: four times the publisher's pace of 50 ms.
pub const STRETCH_GAP_MS: u64 = 200;

/// What one site's service wrote: its starts, and its ticks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal {
    /// Milliseconds on `CLOCK_BOOTTIME` at which the service was started.
    pub starts: Vec<u64>,
    /// The same of each tick sent.
    pub ticks: Vec<u64>,
}

/// Milliseconds on `CLOCK_BOOTTIME`: the clock that all hosts of a cluster on
/// one machine share.
///
/// # Errors
/// When the kernel has no such clock.
pub fn boot_ms() -> Result<u64> {
    Ok(boot_us()? / 1000)
}

/// The same clock in microseconds.
///
/// # Errors
/// When the kernel has no such clock.
pub fn boot_us() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).context("CLOCK_BOOTTIME is not there")?;
    let us = now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000;
    u64::try_from(us).context("CLOCK_BOOTTIME is negative")
}

/// Milliseconds since 1970 on the wall clock; 0 when it stands before that.
#[must_use]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Appends one line: what happened ("start" or "tick"), both clocks, and a detail.
///
/// # Errors
/// When the file cannot be written.
pub fn append(file: &mut fs::File, what: &str, detail: &str) -> Result<()> {
    let line = format!("{what} {} {} {detail}\n", boot_ms()?, wall_ms());
    file.write_all(line.as_bytes()).context("could not append to the journal")
}

impl Journal {
    /// Reads one; a file that is not there yet is an empty journal, and a last
    /// line that was cut off by a kill is left out.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or a whole line is malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(why) => {
                return Err(why).with_context(|| format!("could not read {}", path.display()));
            }
        };
        let mut journal = Self::default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            let mut words = line.split(' ');
            let what = words.next().unwrap_or_default();
            let at: u64 = words
                .next()
                .and_then(|word| word.parse().ok())
                .with_context(|| format!("{}: malformed line {line:?}", path.display()))?;
            match what {
                "start" => journal.starts.push(at),
                "tick" => journal.ticks.push(at),
                _ => anyhow::bail!("{}: unknown line {line:?}", path.display()),
            }
        }
        Ok(journal)
    }

    /// How many ticks were sent after `boot_ms`.
    #[must_use]
    pub fn ticks_since(&self, boot_ms: u64) -> usize {
        self.ticks.iter().filter(|at| **at > boot_ms).count()
    }

    /// The stretches in which it was sending, first and last tick of each.
    fn stretches(&self) -> Vec<(u64, u64)> {
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        for at in &self.ticks {
            match stretches.last_mut() {
                Some((_, last)) if at.saturating_sub(*last) <= STRETCH_GAP_MS => *last = *at,
                _ => stretches.push((*at, *at)),
            }
        }
        stretches
    }
}

/// How long both sites were sending at once, in milliseconds. A single tick
/// inside the other's stretch counts as one.
#[must_use]
pub fn dual_active_ms(one: &Journal, other: &Journal) -> u64 {
    let mut overlap = 0;
    for (from, to) in one.stretches() {
        for (other_from, other_to) in other.stretches() {
            let (first, last) = (from.max(other_from), to.min(other_to));
            if first <= last {
                overlap += (last - first).max(1);
            }
        }
    }
    overlap
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(ticks: &[u64]) -> Journal {
        Journal { starts: Vec::new(), ticks: ticks.to_vec() }
    }

    #[test]
    fn overlap_is_counted_within_stretches_only() {
        let primary = ticks(&[1000, 1050, 1100, 5000, 5050]);
        assert_eq!(dual_active_ms(&primary, &ticks(&[2000, 2050, 2100])), 0);
        assert_eq!(dual_active_ms(&primary, &ticks(&[1080, 1130, 1180])), 20);
        assert_eq!(dual_active_ms(&primary, &ticks(&[1060])), 1, "one order is one too many");
        assert_eq!(dual_active_ms(&primary, &ticks(&[900, 1100])), 100);
        assert_eq!(dual_active_ms(&primary, &ticks(&[])), 0);
    }

    #[test]
    fn a_line_cut_off_by_a_kill_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        assert_eq!(Journal::read(&path).unwrap(), Journal::default());
        let mut file = fs::File::create(&path).unwrap();
        append(&mut file, "start", "1").unwrap();
        append(&mut file, "tick", "EURUSD").unwrap();
        file.write_all(b"tick 12").unwrap();
        let read = Journal::read(&path).unwrap();
        assert_eq!((read.starts.len(), read.ticks.len()), (1, 1));
    }
}
