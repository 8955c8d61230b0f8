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
//!
//! While a lease is live or asked for the loop comes round every 100 ms at least,
//! and a longer gap is a stall (A5).

mod bars;
mod ending;
mod group;
mod inbound;
mod outbound;
mod peers;
mod promises;
mod stalls;
mod standby;
mod stops;
mod watchdog;
mod work;

use crate::{
    backups::Told,
    command::Marks,
    emergency::Stops,
    gate::Gate,
    guard::Allowed,
    isolation::{self, Standing},
    ledger::{Failure, Ledger, LedgerError},
    peer::{Answered, Asked, Desk, Others},
    probe::Probes,
    service::Services,
    session::{Caller, FromPeer},
    stall::{Stall, Stalled},
    task::Tasks,
    watchdog::Watchdog,
};
use certs::Trust;
use daemon::{clock::boottime_ms, notify_systemd, random::Random, shutdown::Shutdown};
use group::Group;
use model::{CommandId, GroupId, HostId, Mono, OrderId, OrderOutcome, ProbeName, StepReport};
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
/// Answers of other agents that wait: at most one each is under way.
const ANSWERS_MAX: usize = 32;

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
    /// The kernel gate.
    pub gate: Gate,
    /// How this host is isolated.
    pub isolation: watch::Receiver<Standing>,
    /// What somebody stopped in an emergency.
    pub stops: watch::Receiver<Stops>,
    /// How each source of backups stands.
    pub backups: watch::Receiver<Arc<[Told]>>,
    /// Isolates it when an operator orders so.
    pub isolate: isolation::Host,
    /// The machine's watchdog.
    pub watchdog: Watchdog,
    /// Where other agents ask, where they can.
    pub peer: Option<Desk>,
    /// The durable memory.
    pub ledger: Ledger,
    /// Tells when it fails.
    pub failure: Failure,
    /// What is done for operators, beside any plan.
    pub tasks: Tasks,
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
    GateChanged,
    Barred,
    Asked(Asked),
    Answered(Answered),
    Stalled(Stalled),
    Timer,
    End(Ended),
}

/// Where events come from.
struct Sources {
    heard: mpsc::Receiver<FromPeer>,
    services: watch::Receiver<u64>,
    verdicts: watch::Receiver<u64>,
    gate: watch::Receiver<u64>,
    isolation: watch::Receiver<Standing>,
    stops: watch::Receiver<Stops>,
    asked: Option<mpsc::Receiver<Asked>>,
    answered: mpsc::Receiver<Answered>,
    stalls: mpsc::Receiver<Stalled>,
    failure: Failure,
    shutdown: Shutdown,
}

struct Driver {
    host: HostId,
    boot: u64,
    random: Random,
    services: Arc<Services>,
    probes: Arc<Probes>,
    backups: watch::Receiver<Arc<[Told]>>,
    allowed: Vec<Allowed>,
    ledger: Ledger,
    groups: BTreeMap<GroupId, Group>,
    peers: Peers,
    others: Others,
    /// Whom to connect with may have changed.
    others_changed: bool,
    /// What other agents dial; empty where they cannot.
    address: String,
    gate: Gate,
    /// How this host is isolated, in words.
    isolation: String,
    isolated: bool,
    isolate: isolation::Host,
    /// Calls to coordinators up to this number began before the isolation.
    redialled: usize,
    /// What came of the newest order, and which was taken up last.
    order: Option<OrderOutcome>,
    ordered: Option<OrderId>,
    /// Emergency stops through the coordinators.
    stops: stops::StopOrders,
    watchdog: watchdog::Fed,
    stall: Stall,
    tasks: JoinSet<Done>,
    heartbeat: watch::Sender<Arc<v1::Heartbeat>>,
    beat: Beat,
    reports: VecDeque<StepReport>,
    /// Commands whose outcome is not durable yet, and so not told to anybody
    /// (A7). Bounded as the ledger's queue is.
    unsettled: BTreeSet<CommandId>,
    /// Promises that wait for the disk before they are told.
    untold: usize,
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

/// What agent.toml allows.
fn allowed(services: &Services) -> Vec<Allowed> {
    let allowed = services.iter().map(|service| {
        let config = service.config();
        let (service, group) = (config.name.clone(), config.group.clone());
        Allowed { service, group, exclusive: config.exclusive }
    });
    allowed.collect()
}

/// Runs the agent until it is asked to end or cannot go on.
pub async fn run(setup: Setup) -> Ended {
    let (mut driver, mut sources) = Driver::new(setup);
    driver.on_bars(&mut sources);
    notify_systemd::ready("watching");
    let ended = loop {
        let event = driver.wait(&mut sources).await;
        driver.come_round();
        let step = match event {
            Event::Heard((peer, heard)) => driver.on_heard(peer, heard),
            Event::Done(done) => driver.on_done(*done),
            Event::ServicesChanged | Event::GateChanged => {
                driver.enforce(now());
                driver.beat.want();
                Ok(())
            }
            Event::Barred => {
                driver.on_bars(&mut sources);
                Ok(())
            }
            Event::Asked(asked) => driver.on_asked(asked),
            Event::Answered(answered) => {
                driver.on_answered(&answered);
                Ok(())
            }
            Event::Stalled(stalled) => {
                driver.on_stalled(stalled, now());
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
        let (answers, answered) = mpsc::channel(ANSWERS_MAX);
        let others = Others::new(setup.trust.clone(), answers);
        let (address, asked) = setup.peer.map(|desk| (desk.address, desk.asked)).unzip();
        let (trust, tasks, own) = (setup.trust, setup.tasks, host.clone());
        let caller = Caller { host: own, boot, trust, tasks, heartbeat: newest, heard: heard_in };
        let peers =
            Peers::new(caller, &setup.state_dir, setup.coordinators, setup.coordinators_fixed);
        let sources = Sources {
            heard,
            services: services.changed(),
            verdicts: probes.changed(),
            gate: setup.gate.changed(),
            isolation: setup.isolation,
            stops: setup.stops,
            asked,
            answered,
            stalls: stalls::watch_hardware(),
            failure: setup.failure,
            shutdown: setup.shutdown,
        };
        let mut groups = BTreeMap::new();
        for name in setup.groups {
            let (memory, gate) = (setup.ledger.memory(), setup.gate.clone());
            let mut group = Group::new(name.clone(), host.clone(), memory, gate, now);
            group.marks = marks(&probes, &name);
            groups.insert(name, group);
        }
        let driver = Self {
            groups,
            host,
            boot,
            random,
            allowed: allowed(&services),
            services,
            probes,
            backups: setup.backups,
            ledger: setup.ledger,
            peers,
            others,
            others_changed: true,
            address: address.unwrap_or_default(),
            gate: setup.gate,
            isolation: String::new(),
            isolated: false,
            isolate: setup.isolate,
            redialled: 0,
            order: None,
            ordered: None,
            stops: stops::StopOrders::new(setup.state_dir),
            watchdog: watchdog::Fed::new(setup.watchdog),
            stall: Stall::default(),
            tasks: JoinSet::new(),
            heartbeat,
            beat: Beat::new(now),
            reports: VecDeque::new(),
            unsettled: BTreeSet::new(),
            untold: 0,
        };
        (driver, sources)
    }

    async fn wait(&mut self, sources: &mut Sources) -> Event {
        let now = now();
        let pause = self.wake(now).since(now).to_duration();
        tokio::select! {
            biased;
            () = sources.shutdown.requested() => Event::End(Ended::Asked),
            Ok(error) = &mut sources.failure => Event::End(Ended::Ledger(error)),
            () = sleep(pause) => Event::Timer,
            Some(done) = self.tasks.join_next() => match done {
                Ok(done) => Event::Done(Box::new(done)),
                Err(error) => Event::End(Ended::Defect(error.to_string())),
            },
            Some(stalled) = sources.stalls.recv() => Event::Stalled(stalled),
            Some(heard) = sources.heard.recv() => Event::Heard(heard),
            Some(asked) = asked(&mut sources.asked) => Event::Asked(asked),
            Some(answered) = sources.answered.recv() => Event::Answered(answered),
            Ok(()) = sources.stops.changed() => Event::Barred,
            Ok(()) = sources.isolation.changed() => Event::Barred,
            Ok(()) = sources.gate.changed() => Event::GateChanged,
            Ok(()) = sources.services.changed() => Event::ServicesChanged,
            Ok(()) = sources.verdicts.changed() => Event::VerdictsChanged,
        }
    }

    /// The next moment at which something is due.
    fn wake(&self, now: Mono) -> Mono {
        let memory = self.ledger.memory();
        let groups = self.groups.values().filter_map(|group| group.wake(memory, now));
        groups.chain([self.beat.due()]).chain(self.stall.due()).min().unwrap_or_default()
    }

    /// What is due now, the closing first.
    fn go_on(&mut self, now: Mono) -> Result<(), LedgerError> {
        for group in self.groups.values_mut() {
            if group.lapse(now) {
                self.beat.want();
            }
        }
        self.stand_by(now);
        self.work(now)?;
        self.ask_for_leases(now);
        self.call_others();
        self.ask_for_promises(now);
        self.heartbeat(now);
        self.beat.watchdog(now);
        self.feed(now);
        self.rest();
        Ok(())
    }
}

/// A question of another agent's; never where none can ask.
async fn asked(desk: &mut Option<mpsc::Receiver<Asked>>) -> Option<Asked> {
    match desk {
        Some(desk) => desk.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
