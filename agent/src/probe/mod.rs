//! What is looked at on this host: each probe a runner of its own, each
//! finding judged (rise, fall, unknown) into the reading that heartbeats carry.
//!
//! Leaves to others what a verdict leads to. Invariants: [`Probes::readings`]
//! never waits; a probe that hangs holds up nothing but itself and says
//! unknown; nothing here writes to what it looks at; memory is bounded
//! whatever arrives. Contents of messages are counted and thrown away: they
//! never leave this module.

mod config;
mod container;
mod disk;
mod host;
mod recovery;
mod tcp;
mod watermark;
mod zeromq;

pub use config::{
    CurveConfig, DiskConfig, Endpoint, HostConfig, KindConfig, Levels, ProbeConfig,
    ProbeConfigError, TcpConfig, WatermarkConfig, ZeromqConfig,
};
pub use zeromq::{FeedMark, FeedProgress, FeedSnapshot};

use crate::{
    service::{Changed, ServiceConfig, Services},
    verdict::{Judge, Rules},
};
use certs::Trust;
use daemon::clock::boottime_ms;
use model::{GroupId, Millis, Mono, ProbeKind, ProbeName, Reading, ServiceName, Verdict};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::{sync::watch, task::AbortHandle};
use zeromq::Feed;

/// Why the probes could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum ProbesError {
    /// A container probe of nothing.
    #[error("probe `{probe}`: agent.toml has no service `{service}`")]
    NoService {
        /// The probe.
        probe: ProbeName,
        /// The service that it names.
        service: ServiceName,
    },
    /// A container probe of a service that is no container.
    #[error(
        "probe `{probe}`: service `{service}` is not a container (its driver is not \"docker\"); \
         its state is in every heartbeat anyway"
    )]
    NotAContainer {
        /// The probe.
        probe: ProbeName,
        /// The service that it names.
        service: ServiceName,
    },
    /// The service belongs to another group.
    #[error("probe `{probe}` is of group `{group}`, but its service `{service}` is of `{owner}`")]
    OtherGroup {
        /// The probe.
        probe: ProbeName,
        /// The probe's group.
        group: GroupId,
        /// The service that it names.
        service: ServiceName,
        /// The service's group.
        owner: GroupId,
    },
    /// The system gave no thread.
    #[error("probe `{probe}`: no thread for it: {source}")]
    Thread {
        /// The probe.
        probe: ProbeName,
        /// What the system said.
        source: io::Error,
    },
}

/// One finding, before it is judged.
#[derive(Debug, Clone)]
struct Finding {
    verdict: Verdict,
    summary: String,
    measures: BTreeMap<String, i64>,
}

impl Finding {
    fn new(verdict: Verdict, summary: impl Into<String>) -> Self {
        Self { verdict, summary: summary.into(), measures: BTreeMap::new() }
    }

    fn measure(mut self, name: &str, value: i64) -> Self {
        self.measures.insert(name.into(), value);
        self
    }
}

/// A number for a measure, saturating.
fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Where a runner leaves its newest finding.
struct Slot {
    name: ProbeName,
    kind: ProbeKind,
    newest: Mutex<Newest>,
    changed: Changed,
}

struct Newest {
    judge: Judge,
    finding: Finding,
    at: Mono,
}

impl Slot {
    fn new(name: ProbeName, kind: ProbeKind, rules: Rules, changed: Changed) -> Self {
        let newest = Newest {
            judge: Judge::new(rules),
            finding: Finding::new(Verdict::Unknown, "not looked at yet"),
            at: Mono(boottime_ms()),
        };
        let newest = Mutex::new(newest);
        Self { name, kind, newest, changed }
    }

    fn publish(&self, finding: Finding) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let before = newest.judge.verdict();
        let after = newest.judge.observe(finding.verdict);
        newest.finding = finding;
        newest.at = Mono(boottime_ms());
        drop(newest);
        if before != after {
            self.changed.tell();
        }
    }

    fn verdict(&self) -> Verdict {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).judge.verdict()
    }

    fn reading(&self, now: Mono) -> Reading {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        Reading {
            probe: self.name.clone(),
            kind: self.kind,
            verdict: newest.judge.verdict(),
            summary: newest.finding.summary.clone(),
            measures: newest.finding.measures.clone(),
            age: now.since(newest.at),
        }
    }
}

/// Whether a group's services should run here, and since when.
#[derive(Debug)]
struct Expectation {
    expected: AtomicBool,
    since_ms: AtomicU64,
}

impl Expectation {
    fn new(expected: bool) -> Self {
        Self { expected: expected.into(), since_ms: boottime_ms().into() }
    }

    fn set(&self, expected: bool) {
        if self.expected.load(Ordering::Acquire) != expected {
            self.since_ms.store(boottime_ms(), Ordering::Release);
            self.expected.store(expected, Ordering::Release);
        }
    }

    /// Since when the group is expected here; `None` when it is not.
    fn since(&self) -> Option<Mono> {
        let expected = self.expected.load(Ordering::Acquire);
        expected.then(|| Mono(self.since_ms.load(Ordering::Acquire)))
    }
}

/// Every probe of agent.toml, running. Dropping it ends them.
pub struct Probes {
    slots: Vec<Arc<Slot>>,
    feeds: BTreeMap<ProbeName, (GroupId, Arc<Feed>)>,
    expectations: BTreeMap<GroupId, Arc<Expectation>>,
    changed: Changed,
    tasks: Vec<AbortHandle>,
    ending: Arc<AtomicBool>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Probes {
    /// Begins every probe. Must be called within the async runtime.
    ///
    /// No group is expected here until [`Self::expect`] says so; a probe
    /// without a group is always expected.
    ///
    /// # Errors
    /// [`ProbesError`]: a probe names a service that cannot be looked at.
    pub fn spawn(configs: &[ProbeConfig], services: &Services) -> Result<Self, ProbesError> {
        let mut probes = Self {
            slots: Vec::new(),
            feeds: BTreeMap::new(),
            expectations: BTreeMap::new(),
            changed: Changed::new(),
            tasks: Vec::new(),
            ending: Arc::default(),
        };
        for config in configs {
            probes.begin(config, services)?;
        }
        Ok(probes)
    }

    fn begin(&mut self, config: &ProbeConfig, services: &Services) -> Result<(), ProbesError> {
        let probe = config.name.clone();
        let (kind, rules) = (config.kind(), config.rules());
        let slot = Arc::new(Slot::new(probe.clone(), kind, rules, self.changed.clone()));
        self.slots.push(Arc::clone(&slot));
        let no_thread = |source| ProbesError::Thread { probe: probe.clone(), source };
        let interval = config.interval;
        let task = match &config.kind {
            KindConfig::Container { service: name } => {
                let service = container::find(config, name, services)?;
                let group = service.config().group.clone();
                let expected = self.expectation(&group);
                let watch = container::Container::new(service, expected, config.timeout);
                tokio::spawn(watch.run(slot, services.changed(), interval))
            }
            KindConfig::Disk(disk) => {
                let watch = disk::Disk::new(disk.clone(), config.timeout, &probe);
                tokio::spawn(watch.map_err(no_thread)?.run(slot, interval))
            }
            KindConfig::Host(host) => {
                tokio::spawn(host::Host::new(host.clone()).run(slot, interval))
            }
            KindConfig::Watermark(watermark) => {
                let watch = watermark::Watermark::new(watermark.clone(), config.timeout);
                tokio::spawn(watch.run(slot, interval))
            }
            KindConfig::Tcp(tcp) => {
                let watch = tcp::Tcp::new(tcp.clone(), config.timeout);
                tokio::spawn(watch.run(slot, interval))
            }
            KindConfig::Zeromq(zeromq) => {
                let Some(group) = config.group.clone() else { return Ok(()) };
                let feed = Arc::new(Feed::new(slot));
                let expected = self.expectation(&group);
                let ending = Arc::clone(&self.ending);
                zeromq::spawn(config, zeromq, &feed, expected, ending).map_err(no_thread)?;
                self.feeds.insert(probe, (group, feed));
                return Ok(());
            }
        };
        self.tasks.push(task.abort_handle());
        Ok(())
    }

    /// Looks, beside agent.toml, at what a recovery needs of this host.
    pub fn watch_recovery(&mut self, services: &[ServiceConfig], trust: Trust) {
        let slots: Vec<Arc<Slot>> = recovery::names()
            .into_iter()
            .map(|name| {
                let changed = self.changed.clone();
                Arc::new(Slot::new(name, recovery::KIND, recovery::RULES, changed))
            })
            .collect();
        self.slots.extend(slots.iter().cloned());
        let watch = recovery::Recovery::new(services, trust);
        self.tasks.push(tokio::spawn(watch.run(slots)).abort_handle());
    }

    fn expectation(&mut self, group: &GroupId) -> Arc<Expectation> {
        let entry = self.expectations.entry(group.clone());
        Arc::clone(entry.or_insert_with(|| Arc::new(Expectation::new(false))))
    }

    /// Every probe's newest reading, with its age at `now`.
    #[must_use]
    pub fn readings(&self, now: Mono) -> Vec<Reading> {
        self.slots.iter().map(|slot| slot.reading(now)).collect()
    }

    /// Counts up whenever a verdict changed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Says whether this group's services should run here: a feed that is not
    /// expected may be silent, and a container that is not may be stopped.
    pub fn expect(&self, group: &GroupId, expected: bool) {
        if let Some(expectation) = self.expectations.get(group) {
            expectation.set(expected);
        }
    }

    /// The names of a group's feeds.
    pub fn feeds_of<'a>(&'a self, group: &'a GroupId) -> impl Iterator<Item = &'a ProbeName> {
        self.feeds.iter().filter(move |(_, (owner, _))| owner == group).map(|(name, _)| name)
    }

    /// How a feed is; `None` when there is no such feed.
    #[must_use]
    pub fn feed(&self, name: &ProbeName) -> Option<FeedSnapshot> {
        self.feeds.get(name).map(|(_, feed)| feed.snapshot())
    }

    /// From now on counts a feed's messages apart, for what was brought since
    /// a promotion; `None` when there is no such feed.
    #[must_use]
    pub fn mark(&self, name: &ProbeName) -> Option<FeedMark> {
        self.feeds.get(name).map(|(_, feed)| feed.mark())
    }
}

/// A length of time in whole milliseconds, saturating.
fn millis(span: std::time::Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
