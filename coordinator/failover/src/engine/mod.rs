//! The engine: an event in, effects out. This file only says what each event
//! leads to; the work is in the modules it calls.

mod appends;
mod assignments;
mod considered;
mod deliveries;
mod opening;
mod queries;
mod readiness;
mod requests;
mod rpo;

use crate::{
    alarm,
    effect::{Effect, Round},
    event::{Event, Now},
    fence::ProofLevel,
    lease::{self, Renewals},
    observers::Observers,
    policy::OBSERVER_LATE,
    record::{Position, Record},
    request::Refused,
    runner::{self, HookWord, Move, Runner, Scene},
    sight::{Sight, Standpoint},
    state::{Aim, Applied, Group, State},
    view::View,
};
use alloc::{collections::BTreeMap, collections::BTreeSet, string::String, vec::Vec};
use appends::{Appends, Purpose};
use considered::Considering;
use deliveries::Deliveries;
use model::{GroupId, Heartbeat, HostId, LeaseRefusal, Millis, Mono, Term};

/// Ticks are never further apart than this.
const TICK_MAX: Millis = Millis(50);
/// Nor closer: below this a tick costs more than it brings.
const TICK_MIN: Millis = Millis(10);
/// A host that no group names is forgotten after this long in silence.
const STRANGER_KEPT: Millis = Millis(3_600_000);

/// What the engine must know of its coordinator's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether a DNS hook is configured.
    pub dns_hook: bool,
    /// The notification channels' names.
    pub channels: Vec<String>,
    /// The fence hooks' names, each with the level that its word is worth (4 or 5).
    pub fence_hooks: Vec<(String, ProofLevel)>,
}

#[derive(Debug, Clone, Copy)]
struct Leading {
    term: Term,
    elected: Mono,
}

/// One coordinator's decision-maker.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    state: State,
    view: View,
    term: Term,
    leading: Option<Leading>,
    renewals: Renewals,
    runner: Runner,
    appends: Appends,
    deliveries: Deliveries,
    settled: BTreeMap<GroupId, Mono>,
    born: Mono,
    last_tick: Mono,
    /// Since when it has been watching without a stall of its own.
    steady: Mono,
    observers: Observers,
    considered: BTreeMap<GroupId, Considering>,
    readiness: BTreeMap<GroupId, readiness::Watched>,
}

impl Engine {
    /// An engine that knows nothing yet; it begins to watch at `now`.
    #[must_use]
    pub fn new(settings: Settings, now: Now) -> Self {
        Self {
            settings,
            state: State::default(),
            view: View::default(),
            term: Term(0),
            leading: None,
            renewals: Renewals::default(),
            runner: Runner::default(),
            appends: Appends::default(),
            deliveries: Deliveries::default(),
            settled: BTreeMap::new(),
            born: now.mono,
            last_tick: now.mono,
            steady: now.mono,
            observers: Observers::default(),
            considered: BTreeMap::new(),
            readiness: BTreeMap::new(),
        }
    }

    /// How often the driver should tick: half the shortest heartbeat, 10 to 50 ms.
    #[must_use]
    pub fn tick_every(&self) -> Millis {
        let shortest = self.state.groups.values().map(|g| g.spec.timing().heartbeat).min();
        let half = shortest.map_or(TICK_MAX, |heartbeat| Millis(heartbeat.0 / 2));
        half.clamp(TICK_MIN, TICK_MAX)
    }

    /// Handles one event.
    pub fn step(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Tick => self.tick(now, &mut out),
            Event::Elected { term } => self.elected(term, now, &mut out),
            Event::Deposed { term } => self.deposed(term, &mut out),
            Event::Committed { position, record } => {
                self.committed(position, &record, now, &mut out)
            }
            Event::Restored { state } => {
                self.state = *state;
                out.push(Effect::TrustChanged);
            }
            Event::Appended { ticket, result } => self.appended(ticket, result, &mut out),
            Event::RoundEnded { round, confirmed } => {
                self.round_ended(round, confirmed, now, &mut out)
            }
            Event::Heartbeat(heartbeat) => {
                let host = heartbeat.host.clone();
                let known = self.view.host(&host).map_or("", |seen| &seen.heartbeat.peer);
                let moved = known != heartbeat.peer;
                let freed = self.freed(&heartbeat);
                let news = self.view.observe(*heartbeat, now.mono);
                if news {
                    self.settled.extend(freed.into_iter().map(|group| (group, now.mono)));
                }
                if news && self.leading.is_some() {
                    let alarms = alarm::inspect(&self.state, &self.view, &host, self.term);
                    out.extend(alarms.into_iter().map(Effect::Raise));
                    if moved {
                        self.readdressed(&host, &mut out);
                    }
                }
                return out;
            }
            Event::SessionOpened { host } => self.assign(&host, &mut out),
            Event::Renewal { asker, request } => {
                self.renewal(asker, request, &mut out);
                return out;
            }
            Event::Report(report) => self.runner.report(&self.state, &report, now.mono),
            Event::HookEnded { plan, step, attempt, result } => {
                self.runner.hook_ended(plan, step, attempt, result);
            }
            Event::DeliveryEnded { notification, channel, attempt, result } => {
                self.deliveries.ended(notification, channel, attempt, result);
            }
            Event::Request { id, request } => self.request(id, *request, now, &mut out),
            Event::Observed(observation) => {
                self.observers.observed(observation, now.mono);
                return out;
            }
            Event::Voters { own, voters } => self.observers.learn(own, voters),
            Event::FenceEnded { plan, step, attempt, hook, host, epoch, verdict, detail } => {
                let word = HookWord { plan, step, attempt, hook, host, epoch, verdict, detail };
                self.runner.fence_ended(&self.state, word);
            }
        }
        self.advance(now, &mut out);
        out
    }

    /// Groups of which a host says that nobody stops them there any more: what stood
    /// still meanwhile counts against nobody.
    fn freed(&self, heartbeat: &Heartbeat) -> Vec<GroupId> {
        let before = self.view.host(&heartbeat.host).map(|seen| seen.heartbeat.groups.as_slice());
        let stopped = before.unwrap_or_default().iter().filter(|group| group.stopped);
        let now_stopped = |name: &GroupId| {
            heartbeat.groups.iter().any(|group| group.group == *name && group.stopped)
        };
        stopped.map(|group| group.group.clone()).filter(|name| !now_stopped(name)).collect()
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Effect>) {
        let gap = now.mono.since(self.last_tick);
        self.last_tick = now.mono;
        // A stall of our own: what we could not hear meanwhile counts against
        // nobody (C5).
        if gap > OBSERVER_LATE {
            self.view.forgive(gap, now.mono);
            self.steady = now.mono;
        }
        let named: BTreeSet<&HostId> = self.state.named_hosts().collect();
        self.view.prune(&named, now.mono, STRANGER_KEPT);
        if let Some(leading) = self.leading {
            out.extend(self.renewals.begin(leading.term));
        }
    }

    fn elected(&mut self, term: Term, now: Now, out: &mut Vec<Effect>) {
        self.term = self.term.max(term);
        self.leading = Some(Leading { term, elected: now.mono });
        self.renewals.reset();
        self.runner.reset();
        self.deliveries.reset();
        self.considered.clear();
        self.readiness.clear();
        self.appends.reset(out);
        self.assign_all(out);
    }

    fn deposed(&mut self, term: Term, out: &mut Vec<Effect>) {
        self.term = self.term.max(term);
        if self.leading.take().is_some() {
            self.renewals.reset();
            self.runner.reset();
            self.deliveries.reset();
            self.appends.reset(out);
        }
    }

    fn committed(&mut self, position: Position, record: &Record, now: Now, out: &mut Vec<Effect>) {
        let applied = self.state.apply(position, record);
        match &applied {
            Applied::Ignored(_) => {}
            Applied::Done
            | Applied::PlanOpened(_)
            | Applied::ApprovalAsked(_)
            | Applied::HostOrdered(_) => {
                self.consequences(position, record, now, out);
            }
        }
        if self.leading.is_some() {
            self.appends.committed(position, applied, out);
        }
    }

    /// What else changes when a record was taken in.
    fn consequences(
        &mut self,
        position: Position,
        record: &Record,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        match record {
            Record::GroupApplied { .. } => self.assign_all(out),
            // From here on agents promise nothing for the old epoch (A6, C4).
            Record::PlanOpened { draft, .. } => self.assign_group(&draft.group, out),
            Record::Activated { group, .. } => self.assign_group(group, out),
            Record::HostOrdered { host, .. } => self.assign(host, out),
            Record::StopOrdered { group, site, host, .. } => {
                let aim = Aim { group: group.as_ref(), site: site.as_ref(), host: host.as_ref() };
                // What stood still because of a stop is given its time to come back.
                let groups = self.state.aimed(aim).into_keys();
                self.settled.extend(groups.map(|group| (group, now.mono)));
                self.assign_all(out);
            }
            Record::PlanClosed { plan, .. } => {
                self.runner.forget(*plan);
                if let Some(closed) = self.state.plans.get(plan) {
                    self.settled.insert(closed.group.clone(), now.mono);
                    self.assign_group(&closed.group, out);
                }
            }
            Record::DeliveryStarted { notification, channel, attempt, .. } => {
                if let Some(leading) = self.leading.filter(|l| l.term == position.term) {
                    let found = self.state.outbox.get(notification);
                    out.extend(
                        found.map(|n| self.deliveries.send(leading.term, n, channel, *attempt)),
                    );
                }
            }
            Record::CertificateRevoked { .. } => out.push(Effect::TrustChanged),
            Record::AutomationHeld { .. }
            | Record::AutomationResumed { .. }
            | Record::StepStarted { .. }
            | Record::StepFinished { .. }
            | Record::Fenced { .. }
            | Record::DeliveryFinished { .. }
            | Record::TokenCreated { .. }
            | Record::TokenRedeemed { .. }
            | Record::CertificateNoted { .. }
            | Record::Considered { .. }
            | Record::TaskOrdered { .. }
            | Record::TaskEnded { .. }
            | Record::ApprovalAsked { .. }
            | Record::ReadinessChanged { .. }
            | Record::RpoExceeded { .. } => {}
        }
    }

    fn renewal(
        &mut self,
        asker: crate::Asker,
        request: model::LeaseRequest,
        out: &mut Vec<Effect>,
    ) {
        let Some(leading) = self.leading else {
            out.push(lease::refuse(asker, &request, self.term, LeaseRefusal::NotLeader));
            return;
        };
        let at_once = self.renewals.idle();
        out.extend(self.renewals.ask(asker, request, leading.term));
        if at_once {
            out.extend(self.renewals.begin(leading.term));
        }
    }

    fn round_ended(&mut self, round: Round, confirmed: bool, now: Now, out: &mut Vec<Effect>) {
        if let Some(leading) = self.leading {
            let clock = (leading.term, now.mono);
            out.extend(self.renewals.end(round, confirmed, &self.state, clock));
            out.extend(self.renewals.begin(leading.term));
        }
    }

    fn propose(
        &mut self,
        purpose: Purpose,
        record: Record,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let leading = self.leading.ok_or(Refused::NotLeader)?;
        let effect = self.appends.propose(purpose, record, leading.term)?;
        out.push(effect);
        Ok(())
    }

    fn appended(
        &mut self,
        ticket: crate::Ticket,
        result: Result<Position, crate::AppendFailure>,
        out: &mut Vec<Effect>,
    ) {
        self.appends.answered(ticket, result, self.state.position, out);
    }

    /// What the leader does of its own accord: one record a group at a time.
    fn advance(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(leading) = self.leading else { return };
        let idle: Vec<GroupId> =
            self.state.groups.keys().filter(|group| !self.appends.busy(group)).cloned().collect();
        for name in idle {
            let record = match self.state.running_plan(&name) {
                Some(plan) => {
                    let scene = Scene {
                        state: &self.state,
                        view: &self.view,
                        renewals: &self.renewals,
                        term: leading.term,
                        elected: leading.elected,
                        now,
                        hooks: &self.settings.fence_hooks,
                    };
                    match self.runner.advance(&scene, plan) {
                        Move::Commit(record) => Some(*record),
                        Move::Act(effects) => {
                            out.extend(effects);
                            None
                        }
                    }
                }
                None => self.undisturbed(&name, now, out),
            };
            if let Some(record) = record {
                // A full queue is tried again at the next tick.
                let _full = self.propose(Purpose::Group(name), record, out);
            }
        }
        self.watch_rpo(now, out);
        self.watch_readiness(now, out);
        self.pump_outbox(now, out);
    }

    fn sight(&self, group: &Group, now: Now) -> Sight {
        let settled = self.settled.get(&group.spec.name).copied();
        let elected = self.leading.map_or(self.born, |leading| leading.elected);
        let from = Standpoint {
            mono: now.mono,
            wall: now.wall,
            since: self.born,
            elected,
            settled,
            steady: self.steady,
            view: &self.view,
            observers: &self.observers,
        };
        let mut sight = Sight::take(&self.state, group, from);
        sight.fence_hooks = runner::usable(group, &self.settings.fence_hooks);
        sight
    }
}
