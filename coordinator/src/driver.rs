//! The driver: one loop that gives the engine events and carries out its
//! effects. It owns the engine; everybody else has a [`Handle`].
//!
//! Records that consensus has applied are taken before anything else, so that
//! an election is only told to the engine when everything before it is in.

mod effects;

use crate::{
    consensus::{self, Consensus},
    outbound::agents::Agents,
};
use certs::Trust;
use daemon::{clock, shutdown::Shutdown};
pub use effects::Hands;
use effects::World;
use failover::{Applied, Effect, Engine, Event, Now, Refused, Request, RequestId, Settings};
use model::{Mono, Term, Wall};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// Inputs that may wait: about a second's worth of heartbeats at the scale figure.
const INPUTS_MAX: usize = 10_000;
/// Results of effects that may wait: as many as appends and rounds may be under way.
const RESULTS_MAX: usize = 2000;
/// A tick that is this late goes before every input: renewals and timers must
/// not starve behind a crowd.
const TICK_LATE: Duration = Duration::from_millis(100);
/// How long a caller waits for its answer: the journal's own deadline and a bit.
const ANSWER: Duration = Duration::from_secs(5);

/// How often the members are looked at for a change: far more often than
/// anybody changes them, and before every decision of a new leader anyway.
const VOTERS_EVERY: Duration = Duration::from_millis(200);

type Query = Box<dyn FnOnce(&Engine, Now) + Send>;

/// What others put into the loop.
enum Input {
    Event(Event),
    Query(Query),
    Ask { request: Box<Request>, reply: oneshot::Sender<Result<Applied, Refused>> },
}

/// The driver is gone: the process is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this coordinator is shutting down")]
pub struct Gone;

/// The way into the loop. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    results: mpsc::Sender<Event>,
    changes: watch::Receiver<u64>,
    askers: Arc<AtomicU64>,
}

impl Handle {
    /// Puts an event in, waiting for room.
    pub async fn event(&self, event: Event) {
        // Fails only when the process is ending.
        let _ = self.inputs.send(Input::Event(event)).await;
    }

    /// Puts in what came of an effect. Results have a queue of their own, so
    /// that no crowd of agents can keep them waiting.
    pub async fn result(&self, event: Event) {
        // Fails only when the process is ending.
        let _ = self.results.send(event).await;
    }

    /// Puts an event in if there is room; heartbeats and renewals come again.
    #[must_use]
    pub fn offer(&self, event: Event) -> bool {
        self.inputs.try_send(Input::Event(event)).is_ok()
    }

    /// Asks the engine something, between two events.
    ///
    /// # Errors
    /// [`Gone`] when the process is ending.
    pub async fn query<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Engine, Now) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (answer, answered) = oneshot::channel();
        let query: Query = Box::new(move |engine, now| {
            let _ = answer.send(question(engine, now));
        });
        self.inputs.send(Input::Query(query)).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// Asks for a change and waits until it is in the journal.
    ///
    /// # Errors
    /// [`Refused`] in words.
    pub async fn ask(&self, request: Request) -> Result<Applied, Refused> {
        let gone = || Refused::Unknown(Gone.to_string());
        let (reply, answered) = oneshot::channel();
        let input = Input::Ask { request: Box::new(request), reply };
        self.inputs.try_send(input).map_err(|_| Refused::Busy)?;
        match tokio::time::timeout(ANSWER, answered).await {
            Ok(answer) => answer.map_err(|_| gone())?,
            Err(_) => Err(Refused::Unknown("no answer in time".into())),
        }
    }

    /// A number that changes whenever something was committed or the leadership changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// A number for a connection that will ask for leases.
    #[must_use]
    pub fn asker(&self) -> failover::Asker {
        failover::Asker(self.askers.fetch_add(1, Ordering::Relaxed))
    }
}

/// The time now, on both clocks.
#[must_use]
pub fn now() -> Now {
    Now { mono: Mono(clock::boottime_ms()), wall: Wall(clock::wall_ms()) }
}

/// What the loop woke up for.
enum Woken {
    Applied(consensus::Applied),
    Leadership,
    Result(Event),
    Input(Input),
    Tick,
    Stop,
}

/// The loop's own things.
pub struct Driver {
    engine: Engine,
    world: World,
    applied: mpsc::Receiver<consensus::Applied>,
    leadership: watch::Receiver<consensus::Leadership>,
    inputs: mpsc::Receiver<Input>,
    results: mpsc::Receiver<Event>,
    next_tick: Instant,
    changes: watch::Sender<u64>,
    waiting: BTreeMap<RequestId, oneshot::Sender<Result<Applied, Refused>>>,
    last_request: u64,
    leading: Option<Term>,
    voters: (String, Vec<String>),
    look_at_voters: Instant,
}

impl Driver {
    /// A driver and the way into it.
    #[must_use]
    pub fn new(
        settings: Settings,
        consensus: Consensus,
        applied: mpsc::Receiver<consensus::Applied>,
        agents: Agents,
        trust: Trust,
        hands: Hands,
    ) -> (Self, Handle) {
        let (sender, inputs) = mpsc::channel(INPUTS_MAX);
        let (result_sender, results) = mpsc::channel(RESULTS_MAX);
        let (changes, changed) = watch::channel(0);
        let askers = Arc::new(AtomicU64::new(1));
        let handle = Handle { inputs: sender, results: result_sender, changes: changed, askers };
        let leadership = consensus.leadership();
        let world = World::new(consensus, agents, trust, hands, handle.clone());
        let driver = Self {
            engine: Engine::new(settings, now()),
            world,
            applied,
            leadership,
            inputs,
            results,
            next_tick: Instant::now(),
            changes,
            waiting: BTreeMap::new(),
            last_request: 0,
            leading: None,
            voters: Default::default(),
            look_at_voters: Instant::now(),
        };
        (driver, handle)
    }

    /// Runs until `shutdown`.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let late = Instant::now() >= self.next_tick + TICK_LATE;
            // The arms only name what happened; order is by importance. Inputs go
            // before ticks, so that what was heard counts before silence does.
            let woken = tokio::select! {
                biased;
                Some(applied) = self.applied.recv() => Woken::Applied(applied),
                Ok(()) = self.leadership.changed() => Woken::Leadership,
                Some(event) = self.results.recv() => Woken::Result(event),
                () = std::future::ready(()), if late => Woken::Tick,
                Some(input) = self.inputs.recv() => Woken::Input(input),
                () = tokio::time::sleep_until(self.next_tick) => Woken::Tick,
                () = shutdown.requested() => Woken::Stop,
            };
            match woken {
                Woken::Applied(applied) => self.take(applied),
                Woken::Leadership => self.follow_leadership(),
                Woken::Result(event) | Woken::Input(Input::Event(event)) => self.step(event),
                Woken::Input(Input::Query(query)) => query(&self.engine, now()),
                Woken::Input(Input::Ask { request, reply }) => self.ask(request, reply),
                Woken::Tick => {
                    self.next_tick = Instant::now() + self.engine.tick_every().to_duration();
                    if Instant::now() >= self.look_at_voters {
                        self.tell_voters();
                    }
                    self.step(Event::Tick);
                }
                Woken::Stop => break,
            }
        }
        // Consensus may still commit until it is closed; it must not find nobody there.
        while let Some(applied) = self.applied.recv().await {
            self.take(applied);
        }
    }

    fn take(&mut self, applied: consensus::Applied) {
        match applied {
            consensus::Applied::Record { position, record } => {
                self.step(Event::Committed { position, record: Box::new(record) });
            }
            consensus::Applied::Snapshot(state, _) => self.step(Event::Restored { state }),
        }
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Tells the engine who votes, when that has changed (C5).
    fn tell_voters(&mut self) {
        self.look_at_voters = Instant::now() + VOTERS_EVERY;
        let told = self.world.voters();
        if told != self.voters {
            self.voters.clone_from(&told);
            let (own, voters) = told;
            self.step(Event::Voters { own, voters });
        }
    }

    fn follow_leadership(&mut self) {
        let seen = self.leadership.borrow_and_update().clone();
        let leads = seen.ready.then_some(seen.term);
        if leads == self.leading {
            return;
        }
        if self.leading.is_some() {
            tracing::info!(term = %seen.term, "no longer leading");
            self.leading = None;
            self.world.deposed();
            self.step(Event::Deposed { term: seen.term });
        }
        if let Some(term) = leads {
            tracing::info!(%term, "leading");
            self.leading = Some(term);
            // Before the first decision: whose sight counts.
            self.tell_voters();
            self.step(Event::Elected { term });
        }
        self.changed();
    }

    fn ask(&mut self, request: Box<Request>, reply: oneshot::Sender<Result<Applied, Refused>>) {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        // Those whose callers have given up are cleared away here.
        self.waiting.retain(|_, waiting| !waiting.is_closed());
        self.waiting.insert(id, reply);
        self.step(Event::Request { id, request });
    }

    fn step(&mut self, event: Event) {
        for effect in self.engine.step(event, now()) {
            match effect {
                Effect::Reply { id, result } => {
                    if let Some(reply) = self.waiting.remove(&id) {
                        // The caller may have gone meanwhile.
                        let _ = reply.send(result);
                    }
                }
                other => self.world.carry_out(other, &self.engine),
            }
        }
    }
}
