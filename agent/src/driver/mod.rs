//! The agent's one loop: events in, deeds out, and the order in which a safety
//! rule beats everything else.
//!
//! `wait` only names what happened; every decision is taken in the pure parts
//! (lease, guard, keeper, ledger's memory) and carried out here. Invariants:
//! the loop never waits for a disk, a service or a network (A4); what opens
//! waits until the ledger is durable, what closes does not; after a failed
//! write the agent closes everything and ends.
//!
//! Nothing of a lease is stored: an agent that starts stops whatever exclusive
//! service it finds running, and starts it again once a lease is live, if the
//! ledger says that this host was promoted under the highest epoch.

mod ending;
mod group;
mod inbound;
mod outbound;
mod peers;
mod work;

use crate::{
    command::Marks,
    guard::Allowed,
    keeper::Why,
    ledger::{Failure, Ledger, LedgerError},
    probe::Probes,
    service::Services,
    session::{Caller, FromPeer},
};
use certs::Trust;
use daemon::{clock::boottime_ms, notify_systemd, random::Random, shutdown::Shutdown};
use group::Group;
use model::{CommandId, GroupId, HostId, Mono, ProbeName, StepReport};
use outbound::Beat;
use peers::Peers;
use proto::v1;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::Arc,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep,
};
use work::Done;

/// What sessions have heard and the loop has not yet taken: a handful from each
/// coordinator; a session that finds it full waits, and its coordinator with it.
const HEARD_MAX: usize = 64;

/// Everything that the loop begins with.
pub struct Setup {
    /// This host.
    pub host: HostId,
    /// Where coordinators.json lies.
    pub state_dir: PathBuf,
    /// Where coordinators are.
    pub coordinators: Vec<String>,
    /// Whether agent.toml says so, and welcomes change nothing.
    pub coordinators_fixed: bool,
    /// Every group that agent.toml speaks of.
    pub groups: BTreeSet<GroupId>,
    /// Every service of agent.toml.
    pub services: Services,
    /// Every probe of agent.toml.
    pub probes: Probes,
    /// The durable memory.
    pub ledger: Ledger,
    /// Tells when it fails.
    pub failure: Failure,
    /// Credentials.
    pub trust: Trust,
    /// The wish to end.
    pub shutdown: Shutdown,
}

/// Why the loop ended. All exclusive services were told to stop before.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// It was asked to.
    #[error("asked to end")]
    Asked,
    /// What it should remember is not durable.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A task panicked: a state that should be impossible.
    #[error("a part of the agent failed, which is a defect: {0}")]
    Defect(String),
}

/// What happened.
enum Event {
    Heard(FromPeer),
    Done(Box<Done>),
    ServicesChanged,
    VerdictsChanged,
    Timer,
    End(Ended),
}

/// Where events come from.
struct Sources {
    heard: mpsc::Receiver<FromPeer>,
    services: watch::Receiver<u64>,
    verdicts: watch::Receiver<u64>,
    failure: Failure,
    shutdown: Shutdown,
}

struct Driver {
    host: HostId,
    boot: u64,
    random: Random,
    services: Arc<Services>,
    probes: Arc<Probes>,
    allowed: Vec<Allowed>,
    ledger: Ledger,
    groups: BTreeMap<GroupId, Group>,
    peers: Peers,
    tasks: JoinSet<Done>,
    heartbeat: watch::Sender<Arc<v1::Heartbeat>>,
    beat: Beat,
    reports: VecDeque<StepReport>,
    /// Commands whose outcome is not durable yet, and so not told to anybody
    /// (A7). Bounded as the ledger's queue is.
    unsettled: BTreeSet<CommandId>,
}

/// Now, by the clock of every deadline here (`CLOCK_BOOTTIME`).
fn now() -> Mono {
    Mono(boottime_ms())
}

/// Counts the messages of a group's feeds from now on.
fn marks(probes: &Probes, group: &GroupId) -> Marks {
    let mark = |name: &ProbeName| probes.mark(name).map(|mark| (name.clone(), mark));
    probes.feeds_of(group).filter_map(mark).collect()
}

/// Runs the agent until it is asked to end or cannot go on.
pub async fn run(setup: Setup) -> Ended {
    let (mut driver, mut sources) = Driver::new(setup);
    notify_systemd::ready("watching");
    let ended = loop {
        let event = driver.wait(&mut sources).await;
        let step = match event {
            Event::Heard((peer, heard)) => driver.on_heard(peer, heard),
            Event::Done(done) => driver.on_done(*done),
            Event::ServicesChanged => {
                driver.enforce(now());
                driver.beat.want();
                Ok(())
            }
            Event::VerdictsChanged => {
                driver.beat.want();
                Ok(())
            }
            Event::Timer => Ok(()),
            Event::End(ended) => break ended,
        };
        if let Err(error) = step.and_then(|()| driver.go_on(now())) {
            break Ended::Ledger(error);
        }
    };
    driver.end(&ended).await;
    ended
}

impl Driver {
    fn new(setup: Setup) -> (Self, Sources) {
        let mut random = Random::from_os();
        let boot = random.next_u64();
        let (host, now) = (setup.host, now());
        let (services, probes) = (Arc::new(setup.services), Arc::new(setup.probes));
        let (heard_in, heard) = mpsc::channel(HEARD_MAX);
        let (heartbeat, newest) = watch::channel(Arc::default());
        let caller = Caller {
            host: host.clone(),
            boot,
            trust: setup.trust,
            heartbeat: newest,
            heard: heard_in,
        };
        let peers =
            Peers::new(caller, &setup.state_dir, setup.coordinators, setup.coordinators_fixed);
        let sources = Sources {
            heard,
            services: services.changed(),
            verdicts: probes.changed(),
            failure: setup.failure,
            shutdown: setup.shutdown,
        };
        let allowed: Vec<Allowed> = services
            .iter()
            .map(|service| {
                let config = service.config();
                let (service, group) = (config.name.clone(), config.group.clone());
                Allowed { service, group, exclusive: config.exclusive }
            })
            .collect();
        let groups = setup.groups.into_iter().map(|name| {
            let seen = setup.ledger.memory().epoch(&name);
            let mut group = Group::new(name.clone(), host.clone(), seen, now);
            // A1: closed until a lease is live, whatever was running.
            group.keeper.close(now, Why::Over);
            group.marks = marks(&probes, &name);
            (name, group)
        });
        let driver = Self {
            groups: groups.collect(),
            host,
            boot,
            random,
            services,
            probes,
            allowed,
            ledger: setup.ledger,
            peers,
            tasks: JoinSet::new(),
            heartbeat,
            beat: Beat::new(now),
            reports: VecDeque::new(),
            unsettled: BTreeSet::new(),
        };
        (driver, sources)
    }

    async fn wait(&mut self, sources: &mut Sources) -> Event {
        let pause = self.wake().since(now()).to_duration();
        tokio::select! {
            biased;
            () = sources.shutdown.requested() => Event::End(Ended::Asked),
            Ok(error) = &mut sources.failure => Event::End(Ended::Ledger(error)),
            () = sleep(pause) => Event::Timer,
            Some(done) = self.tasks.join_next() => match done {
                Ok(done) => Event::Done(Box::new(done)),
                Err(error) => Event::End(Ended::Defect(error.to_string())),
            },
            Some(heard) = sources.heard.recv() => Event::Heard(heard),
            Ok(()) = sources.services.changed() => Event::ServicesChanged,
            Ok(()) = sources.verdicts.changed() => Event::VerdictsChanged,
        }
    }

    /// The next moment at which something is due.
    fn wake(&self) -> Mono {
        let memory = self.ledger.memory();
        let groups = self.groups.values().filter_map(|group| group.wake(memory));
        groups.chain([self.beat.due()]).min().unwrap_or_default()
    }

    /// What is due now, the closing first.
    fn go_on(&mut self, now: Mono) -> Result<(), LedgerError> {
        for group in self.groups.values_mut() {
            if group.lapse(now) {
                self.beat.want();
            }
        }
        self.work(now)?;
        self.ask_for_leases(now);
        self.heartbeat(now);
        self.beat.watchdog(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
