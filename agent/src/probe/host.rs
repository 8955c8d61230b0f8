//! This host's processors, memory and load, from /proc.
//!
//! Reads three small files and keeps one number between findings: no library
//! that lists every process, because the agent has to stay small.

use super::{Finding, HostConfig, Slot, count};
use model::Verdict;
use std::{fs, io, sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

pub(super) struct Host {
    config: HostConfig,
    before: Option<Ticks>,
}

/// Processor time since the start, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
    cores: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    total_kib: u64,
    available_kib: u64,
}

impl Host {
    pub(super) const fn new(config: HostConfig) -> Self {
        Self { config, before: None }
    }

    pub(super) async fn run(mut self, slot: Arc<Slot>, every: Duration) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            slot.publish(self.find());
        }
    }

    fn find(&mut self) -> Finding {
        let read = |path: &str| {
            fs::read_to_string(path)
                .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
        };
        let texts = read("/proc/stat")
            .and_then(|stat| Ok((stat, read("/proc/meminfo")?, read("/proc/loadavg")?)));
        match texts {
            Ok((stat, memory, load)) => self.judge(&stat, &memory, &load),
            Err(error) => Finding::new(Verdict::Unknown, format!("cannot read {error}")),
        }
    }

    fn judge(&mut self, stat: &str, memory: &str, load: &str) -> Finding {
        let parsed = (ticks(stat), meminfo(memory), loadavg(load));
        let (Some(now), Some(memory), Some(load)) = parsed else {
            return Finding::new(Verdict::Unknown, "/proc does not look as it should");
        };
        let available = share(memory.available_kib, memory.total_kib);
        let per_core = load / float(now.cores.max(1));
        let busy = self.before.map(|before| {
            share(now.busy.saturating_sub(before.busy), now.all.saturating_sub(before.all))
        });
        self.before = Some(now);
        let verdicts = [
            self.config.available_memory.of_scarce(available),
            self.config.load_per_core.of_load(per_core),
            busy.map_or(Verdict::Ok, |busy| self.config.cpu.of_load(busy)),
        ];
        let verdict = verdicts.into_iter().max().unwrap_or(Verdict::Unknown);
        let cpu = busy.map(|busy| format!("CPU {busy:.0} %, ")).unwrap_or_default();
        let available_mib = memory.available_kib >> 10;
        let summary = format!(
            "{cpu}{available:.0} % of memory available ({available_mib} MiB), \
             load {per_core:.2} per core"
        );
        let mut finding = Finding::new(verdict, summary)
            .measure("available_memory_bytes", count(memory.available_kib.saturating_mul(1024)))
            .measure("total_memory_bytes", count(memory.total_kib.saturating_mul(1024)))
            .measure("available_memory_percent", whole(available))
            .measure("load_per_core_milli", whole(per_core * 1000.0))
            .measure("cores", count(now.cores));
        if let Some(busy) = busy {
            finding = finding.measure("cpu_percent", whole(busy));
        }
        finding
    }
}

#[expect(clippy::cast_precision_loss, reason = "for a percentage")]
const fn float(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_possible_truncation, reason = "a cast saturates")]
const fn whole(number: f64) -> i64 {
    number as i64
}

/// In percent; nothing of nothing is nothing.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (float(part) * 100.0 / float(whole)).min(100.0) }
}

/// The first line sums all cores: user nice system idle iowait irq softirq
/// steal; guest time is within user. Waiting for a disk is not being busy.
fn ticks(stat: &str) -> Option<Ticks> {
    let sum = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> =
        sum.split_ascii_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let all = fields.iter().fold(0, |sum: u64, field| sum.saturating_add(*field));
    let idle = fields.get(3)?.saturating_add(*fields.get(4)?);
    let core = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let cores = u64::try_from(stat.lines().filter(core).count()).ok()?;
    Some(Ticks { busy: all.saturating_sub(idle), all, cores })
}

fn meminfo(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim_end_matches("kB").trim().parse().ok()
    };
    Some(Memory { total_kib: field("MemTotal:")?, available_kib: field("MemAvailable:")? })
}

fn loadavg(text: &str) -> Option<f64> {
    let load: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    load.is_finite().then_some(load)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Levels;

    const STAT: &str = "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 50 0 50 350 50 0 0 0 0 0\n\
                        cpu1 50 0 50 350 50 0 0 0 0 0\nintr 1 2\n";
    const LATER: &str = "cpu  190 0 100 710 100 0 0 0 50 0\ncpu0 1 1 1 1 1\ncpu1 1 1 1 1 1\n";
    const MEMORY: &str = "MemTotal:       1000000 kB\nMemFree: 1 kB\nMemAvailable:   40000 kB\n";

    fn host() -> Host {
        let levels = |warn, critical| Levels { warn: Some(warn), critical: Some(critical) };
        Host::new(HostConfig {
            available_memory: levels(10.0, 3.0),
            load_per_core: levels(2.0, 8.0),
            cpu: Levels { warn: Some(90.0), critical: None },
        })
    }

    #[test]
    fn the_worst_of_memory_load_and_cpu_counts() {
        let mut host = host();
        let first = host.judge(STAT, MEMORY, "1.00 2 3 1/2 3");
        assert_eq!(first.verdict, Verdict::Warn);
        assert_eq!(first.measures["available_memory_percent"], 4);
        assert_eq!(first.measures["load_per_core_milli"], 500);
        assert_eq!(first.measures["cores"], 2);
        assert!(!first.measures.contains_key("cpu_percent"));
        let later = host.judge(LATER, MEMORY, "16.0 2 3");
        assert_eq!((later.verdict, later.measures["cpu_percent"]), (Verdict::Critical, 90));
        assert!(later.summary.contains("CPU 90 %, 4 % of memory available (39 MiB)"), "{later:?}");
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        for (stat, memory, load) in
            [("", MEMORY, "1 2 3"), (STAT, "MemTotal: x kB", "1"), (STAT, MEMORY, "nan")]
        {
            assert_eq!(host().judge(stat, memory, load).verdict, Verdict::Unknown);
        }
    }

    #[test]
    fn this_host_can_be_read() {
        let finding = host().find();
        assert_ne!(finding.verdict, Verdict::Unknown, "{finding:?}");
        assert!(finding.measures["total_memory_bytes"] > 0 && finding.measures["cores"] > 0);
    }
}
