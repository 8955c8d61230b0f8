//! A world of one engine: its own journal, agents that live on a script, a
//! clock that moves only when told. Everything that leaves the engine is written down.

use crate::fellows::{Fellows, voters};
use failover::{
    Applied, ApprovalId, DeliveryResult, Effect, Engine, Event, FenceOrder, GroupSpec, HookResult,
    HookVerdict, Now, OnFeedSilent, OnServiceFailed, PlanKind, PlanRequest, Position, ProofLevel,
    Record, Request, RequestId, ServiceSpec, Settings, SiteSpec, State,
};
use model::{
    Action, Command, Epoch, GateState, GroupId, GroupStanding, Heartbeat, HostId, LeaseReply,
    LeaseRequest, Millis, Mono, Nonce, OrderId, Outcome, PeerAddress, ProbeName, Refusal,
    ServiceName, ServiceState, ServiceStatus, SiteId, StepReport, StopDeed, StopOrder, Term,
    VerifyEvidence, Wall,
};
use std::collections::{BTreeMap, VecDeque};

/// An agent as the core sees it.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    pub(crate) alive: bool,
    /// It lives, and nothing passes between it and the coordinators.
    pub(crate) cut: bool,
    pub(crate) boot: u64,
    pub(crate) sequence: u64,
    pub(crate) epoch: Epoch,
    pub(crate) promoted: bool,
    pub(crate) state: ServiceState,
    pub(crate) lease_until: Option<Mono>,
    pub(crate) gate: GateState,
    pub(crate) lease: Millis,
    /// Answers to the next commands of this word, instead of success.
    pub(crate) answers: BTreeMap<String, VecDeque<Outcome>>,
    /// What its probes say.
    pub(crate) readings: Vec<model::Reading>,
    /// Its sources of backups.
    pub(crate) backups: Vec<model::BackupStanding>,
    pub(crate) standby: model::StandbyMode,
    pub(crate) watchdog: model::WatchdogState,
    pub(crate) watchdog_timeout: Option<Millis>,
    /// Where it says that other agents reach it.
    pub(crate) peer: String,
    /// What its newest assignment says of failsafe (A6).
    pub(crate) peers: Option<Vec<PeerAddress>>,
    pub(crate) fencing: bool,
    pub(crate) promised_until: Option<Mono>,
    pub(crate) barred: String,
    pub(crate) stopped: bool,
    pub(crate) stop_order: Option<OrderId>,
    pub(crate) isolation: String,
    /// When it asked for its newest grant, and whether it lives by promises since.
    pub(crate) granted: Mono,
    pub(crate) failsafe: bool,
    pub(crate) failsafe_over: bool,
}

impl Agent {
    fn new(name: &str) -> Self {
        Self {
            watchdog: model::WatchdogState::Absent,
            watchdog_timeout: None,
            peer: format!("{name}:7443"),
            peers: None,
            fencing: false,
            promised_until: None,
            barred: String::new(),
            stopped: false,
            stop_order: None,
            isolation: String::new(),
            granted: Mono(0),
            failsafe: false,
            failsafe_over: false,
            alive: true,
            cut: false,
            boot: 1,
            sequence: 0,
            epoch: Epoch(0),
            promoted: false,
            state: ServiceState::Stopped,
            lease_until: None,
            gate: GateState::Absent,
            lease: Millis(500),
            answers: BTreeMap::new(),
            readings: Vec::new(),
            backups: Vec::new(),
            standby: model::StandbyMode::Stopped,
        }
    }

    /// An emergency stop or its release, each carried out once.
    fn take_stop(&mut self, order: &StopOrder) {
        if self.stop_order == Some(order.id) {
            return;
        }
        self.stop_order = Some(order.id);
        self.stopped = order.deed == StopDeed::Stop;
        self.barred.clear();
        if self.stopped {
            self.barred = format!("it is stopped in an emergency, by {}", order.by);
            (self.state, self.lease_until) = (ServiceState::Stopped, None);
        }
    }

    /// What is left of its promise at `now`.
    pub(crate) fn promised(&self, now: Mono) -> Option<Millis> {
        self.promised_until.map(|until| until.since(now)).filter(|left| left.0 > 0)
    }
}

/// The world.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) journal: Vec<(Position, Record)>,
    pub(crate) agents: BTreeMap<HostId, Agent>,
    pub(crate) mono: Mono,
    pub(crate) term: Term,
    pub(crate) transcript: Vec<String>,
    pub(crate) hook: VecDeque<HookResult>,
    pub(crate) refusals: VecDeque<DeliveryResult>,
    pub(crate) quorum: bool,
    pub(crate) commits: bool,
    stuck: Vec<failover::Ticket>,
    pub(crate) alarms: u64,
    pub(crate) hook_calls: u64,
    pub(crate) delivered: BTreeMap<u64, u64>,
    pub(crate) replies: Vec<(RequestId, Result<Applied, failover::Refused>)>,
    settings: Settings,
    next: u64,
    pub(crate) fellows: Fellows,
    /// Nothing passes between the agents.
    pub(crate) apart: bool,
    /// The words of the next fence hooks that are called; without one, none comes.
    pub(crate) fence_words: VecDeque<HookVerdict>,
    pub(crate) fence_calls: Vec<FenceOrder>,
}

pub(crate) fn group() -> GroupId {
    GroupId::new("fx").unwrap()
}
pub(crate) fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}
pub(crate) fn site(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

/// The policy of most scenarios: two sites, one bridge, T = 500 ms.
pub(crate) fn spec() -> GroupSpec {
    let place = |name: &str, host_name: &str, address: &str| SiteSpec {
        name: site(name),
        hosts: vec![host(host_name)],
        addresses: vec![address.to_string()],
    };
    GroupSpec {
        name: group(),
        lease: Millis(500),
        automatic_failover_needs: ProofLevel::Lapsed,
        automatic: true,
        dwell: Millis(500),
        cool_down: Millis::from_secs(600),
        on_service_failed: OnServiceFailed::Failover,
        primary: site("primary"),
        sites: vec![place("primary", "p1", "192.0.2.1"), place("standby", "s1", "192.0.2.2")],
        services: vec![ServiceSpec {
            name: ServiceName::new("bridge").unwrap(),
            exclusive: true,
            after: vec![],
            start_timeout: Millis(5000),
            hosts: BTreeMap::new(),
        }],
        feeds: vec![ProbeName::new("ticks").unwrap()],
        on_feed_silent: OnFeedSilent::Hold,
        max_data_lag: None,
        failsafe: false,
        fence: vec![],
        two_operators: false,
        minimums: failover::Minimums::default(),
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_hooks(&[])
    }

    /// A world whose coordinator has these fence hooks.
    pub(crate) fn with_hooks(hooks: &[(&str, ProofLevel)]) -> Self {
        let fence_hooks = hooks.iter().map(|(name, level)| ((*name).into(), *level)).collect();
        let settings = Settings { dns_hook: true, channels: vec!["log".into()], fence_hooks };
        let now = Now { mono: Mono(1000), wall: Wall(1_000_000) };
        let mut agents = BTreeMap::new();
        agents.insert(host("p1"), Agent::new("p1"));
        agents.insert(host("s1"), Agent::new("s1"));
        Self {
            engine: Engine::new(settings.clone(), now),
            journal: Vec::new(),
            agents,
            mono: now.mono,
            term: Term(0),
            transcript: Vec::new(),
            hook: VecDeque::new(),
            refusals: VecDeque::new(),
            quorum: true,
            commits: true,
            stuck: Vec::new(),
            alarms: 0,
            hook_calls: 0,
            delivered: BTreeMap::new(),
            apart: false,
            fence_words: VecDeque::new(),
            fence_calls: Vec::new(),
            replies: Vec::new(),
            settings,
            next: 0,
            fellows: Fellows::new(now.mono),
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: self.mono, wall: Wall(999_000 + self.mono.0) }
    }

    pub(crate) fn say(&mut self, line: impl Into<String>) {
        let line = format!("{:>6} {}", self.mono.0 - 1000, line.into());
        self.transcript.push(line);
    }

    pub(crate) fn agent(&mut self, name: &str) -> &mut Agent {
        self.agents.get_mut(&host(name)).unwrap()
    }

    pub(crate) fn step(&mut self, event: Event) {
        let now = self.now();
        let mut queue: VecDeque<Effect> = self.engine.step(event, now).into();
        let mut limit = 10_000;
        while let Some(effect) = queue.pop_front() {
            limit -= 1;
            assert!(limit > 0, "the engine never comes to rest:\n{}", self.transcript.join("\n"));
            for event in self.carry_out(effect) {
                queue.extend(self.engine.step(event, now));
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Vec<Event> {
        match effect {
            Effect::Append { ticket, record, .. } => {
                if !self.commits {
                    self.stuck.push(ticket);
                    return vec![];
                }
                let position = Position { index: self.journal.len() as u64 + 1, term: self.term };
                self.journal.push((position, (*record).clone()));
                self.say(format!("commit {}", short(&record)));
                vec![
                    Event::Committed { position, record },
                    Event::Appended { ticket, result: Ok(position) },
                ]
            }
            Effect::ConfirmQuorum { round, .. } => {
                vec![Event::RoundEnded { round, confirmed: self.quorum }]
            }
            Effect::Lease { reply, .. } => {
                self.take_reply(reply);
                vec![]
            }
            Effect::Dispatch(command) => self.obey(&command),
            Effect::SwitchDns { order, .. } => self.call_hook(&order),
            Effect::Deliver { delivery, .. } => self.deliver(*delivery),
            Effect::Reply { id, result } => {
                self.say(match &result {
                    Ok(applied) => format!("reply {applied:?}"),
                    Err(refused) => format!("refused {refused}"),
                });
                self.replies.push((id, result));
                vec![]
            }
            Effect::Raise(alarm) => {
                self.alarms += 1;
                self.say(format!("ALARM {alarm}"));
                vec![]
            }
            Effect::Assign { host, groups, stops, .. } => {
                if let Some(agent) = self.agents.get_mut(&host).filter(|a| a.alive && !a.cut) {
                    for assigned in groups {
                        agent.lease = assigned.lease;
                        agent.fencing = assigned.fencing;
                        agent.peers = assigned.failsafe;
                        if assigned.epoch > agent.epoch {
                            agent.epoch = assigned.epoch;
                            agent.promoted = false;
                            agent.lease_until = None;
                            agent.state = ServiceState::Stopped;
                        }
                    }
                    stops.iter().for_each(|order| agent.take_stop(order));
                }
                vec![]
            }
            Effect::TrustChanged => vec![],
            Effect::CallFence { order, .. } => self.call_fence(&order),
        }
    }

    fn call_fence(&mut self, order: &FenceOrder) -> Vec<Event> {
        self.say(format!("fence hook {} for {} attempt {}", order.hook, order.host, order.attempt));
        let word = self.fence_words.pop_front();
        self.fence_calls.push(order.clone());
        word.map(|verdict| hook_word(order, verdict)).into_iter().collect()
    }

    fn call_hook(&mut self, order: &failover::DnsOrder) -> Vec<Event> {
        self.hook_calls += 1;
        self.say(format!("hook {} attempt {}", order.addresses.join(","), order.attempt));
        let good = HookResult { switched: true, detail: "switched".into() };
        let result = self.hook.pop_front().unwrap_or(good);
        let (plan, step, attempt) = (order.plan, order.step, order.attempt);
        vec![Event::HookEnded { plan, step, attempt, result }]
    }

    fn deliver(&mut self, delivery: failover::Delivery) -> Vec<Event> {
        *self.delivered.entry(delivery.notification.0).or_default() += 1;
        let (channel, title) = (&delivery.channel, &delivery.title);
        self.say(format!("notify {channel} {}: {title}", delivery.notification));
        let result = self.refusals.pop_front().unwrap_or(DeliveryResult::Accepted);
        let (notification, channel, attempt) =
            (delivery.notification, delivery.channel, delivery.attempt);
        vec![Event::DeliveryEnded { notification, channel, attempt, result }]
    }

    fn take_reply(&mut self, reply: LeaseReply) {
        match reply {
            LeaseReply::Granted(grant) => {
                // The nonce carries host and t_send in this world.
                let name = if grant.nonce.0.is_multiple_of(2) { "p1" } else { "s1" };
                let sent = Mono(grant.nonce.0 / 2);
                let agent = self.agent(name);
                if agent.epoch == grant.epoch && agent.promoted {
                    agent.lease_until = Some(sent + grant.lease - grant.gate_margin);
                    agent.granted = sent;
                    (agent.failsafe, agent.failsafe_over) = (false, false);
                }
            }
            LeaseReply::Refused { .. } => {}
        }
    }

    fn obey(&mut self, command: &Command) -> Vec<Event> {
        let word = command.action.word();
        let alive = self.agents.get(&command.host).is_some_and(|agent| agent.alive && !agent.cut);
        let mark = if alive { "" } else { " (nobody there)" };
        self.say(format!("ask {} {word} {}{mark}", command.host, command.id));
        if !alive {
            return vec![];
        }
        let now = self.mono;
        let Some(agent) = self.agents.get_mut(&command.host) else { return vec![] };
        let promised = agent.promised(now).map(|left| Outcome::Refused(Refusal::Promised { left }));
        let activates = match &command.action {
            Action::Promote { .. } | Action::StartService { .. } => true,
            Action::Fence | Action::Verify { .. } => false,
        };
        let promised = promised.filter(|_| activates);
        let scripted = agent.answers.get_mut(word).and_then(VecDeque::pop_front);
        let failed = matches!(scripted, Some(Outcome::Failed { .. } | Outcome::Refused(_)));
        let failed = failed || promised.is_some();
        let outcome = promised.or(scripted).unwrap_or_else(|| match &command.action {
            Action::Fence => Outcome::Fenced {
                stopped: vec![ServiceName::new("bridge").unwrap()],
                gate_closed: false,
            },
            Action::Promote { .. } => Outcome::Done { detail: "lease live".into() },
            Action::StartService { service } => Outcome::Done { detail: format!("{service} runs") },
            Action::Verify { .. } => Outcome::Verified(VerifyEvidence {
                fresh_feeds: 1,
                messages: 7,
                first_message_after: Some(Millis(40)),
            }),
        });
        if !failed {
            match &command.action {
                Action::Fence => {
                    agent.state = ServiceState::Stopped;
                    agent.promoted = false;
                    agent.lease_until = None;
                }
                Action::Promote { .. } => {
                    agent.epoch = command.epoch;
                    agent.promoted = true;
                }
                Action::StartService { .. } => agent.state = ServiceState::Running,
                Action::Verify { .. } => {}
            }
        }
        let report = StepReport {
            host: command.host.clone(),
            id: command.id.clone(),
            group: command.group.clone(),
            epoch: command.epoch,
            outcome,
        };
        vec![Event::Report(Box::new(report))]
    }

    /// Time passes in steps of 25 ms: ticks, heartbeats every 50 ms, renewals, lapses.
    pub(crate) fn pass(&mut self, span: u64) {
        let end = self.mono.0 + span;
        while self.mono.0 < end {
            self.mono += Millis(25);
            if self.mono.0.is_multiple_of(50) {
                for name in self.agents.keys().cloned().collect::<Vec<_>>() {
                    self.heartbeat(name.as_str());
                }
                self.observe();
                self.ask_for_promises();
            }
            if self.mono.0.is_multiple_of(2000) {
                self.give_up();
            }
            self.step(Event::Tick);
            self.lapse();
            self.check();
        }
    }

    pub(crate) fn heartbeat(&mut self, name: &str) {
        let now = self.mono;
        let agent = self.agent(name);
        if !agent.alive || agent.cut {
            return;
        }
        agent.sequence += 1;
        let heartbeat = Heartbeat {
            host: host(name),
            boot: agent.boot,
            sequence: agent.sequence,
            term: Term(0),
            watchdog: agent.watchdog,
            watchdog_timeout: agent.watchdog_timeout,
            peer: agent.peer.clone(),
            isolation: agent.isolation.clone(),
            order: None,
            groups: vec![GroupStanding {
                group: group(),
                epoch: agent.epoch,
                lease_left: agent.lease_until.map(|until| until.since(now)).filter(|l| l.0 > 0),
                gate: agent.gate,
                gate_detail: String::new(),
                failsafe: agent.failsafe,
                promised: agent.promised(now),
                barred: agent.barred.clone(),
                stopped: agent.stopped,
                stop_order: agent.stop_order,
            }],
            services: vec![ServiceStatus {
                service: ServiceName::new("bridge").unwrap(),
                group: group(),
                exclusive: true,
                standby: agent.standby,
                state: agent.state,
                detail: "pid 7".into(),
            }],
            readings: agent.readings.clone(),
            backups: agent.backups.clone(),
        };
        let (promoted, epoch) = (agent.promoted, agent.epoch);
        self.fellows.heard(&host(name), now);
        self.step(Event::Heartbeat(Box::new(heartbeat)));
        if promoted {
            let nonce = Nonce(now.0 * 2 + u64::from(name == "s1"));
            let request =
                LeaseRequest { group: group(), host: host(name), epoch, nonce, derived: None };
            self.next += 1;
            self.step(Event::Renewal { asker: failover::Asker(self.next), request });
        }
    }

    /// The journal's deadline: appends that could not be committed end unknown.
    fn give_up(&mut self) {
        for ticket in std::mem::take(&mut self.stuck) {
            let result = Err(failover::AppendFailure::Unknown("no quorum".into()));
            self.step(Event::Appended { ticket, result });
        }
    }

    fn lapse(&mut self) {
        let now = self.mono;
        let mut lapsed = Vec::new();
        for (name, agent) in &mut self.agents {
            if agent.lease_until.is_some_and(|until| until <= now) {
                agent.lease_until = None;
                agent.state = ServiceState::Stopped;
                lapsed.push(name.clone());
            }
        }
        for name in lapsed {
            self.say(format!("{name} lets its lease lapse"));
        }
    }

    /// Invariant 1 in this small world: never two live leases.
    fn check(&self) {
        let live = self.agents.values().filter(|a| a.lease_until.is_some()).count();
        assert!(live <= 1, "two live leases:\n{}", self.transcript.join("\n"));
    }

    pub(crate) fn elect(&mut self, term: u64) {
        self.term = Term(term);
        self.say(format!("elected in term {term}"));
        self.step(voters(&["c1", "c2", "w"]));
        self.step(Event::Elected { term: Term(term) });
    }

    /// A new coordinator with the same journal takes over; its view is warm when `warm`.
    pub(crate) fn new_leader(&mut self, term: u64) {
        self.say("the leader is gone");
        self.engine = Engine::new(self.settings.clone(), self.now());
        self.stuck.clear();
        let journal = self.journal.clone();
        for (position, record) in journal {
            let record = Box::new(record);
            let now = self.now();
            self.engine.step(Event::Committed { position, record }, now);
        }
        self.elect(term);
    }

    pub(crate) fn write(&mut self, record: Record) {
        self.next += 1;
        let id = RequestId(self.next);
        self.step(Event::Request { id, request: Box::new(Request::Write(Box::new(record))) });
    }

    pub(crate) fn apply(&mut self, spec: GroupSpec) {
        let at = self.now().wall;
        self.write(Record::GroupApplied { spec: Box::new(spec), by: "ann".into(), at });
    }

    pub(crate) fn ask(&mut self, kind: PlanKind, to: Option<&str>, accept: Option<ProofLevel>) {
        let request = format!("r{}", self.next + 1);
        self.ask_again(&request, kind, to, accept);
    }

    /// The same under a request number of the test's own.
    pub(crate) fn ask_again(
        &mut self,
        request: &str,
        kind: PlanKind,
        to: Option<&str>,
        accept: Option<ProofLevel>,
    ) {
        self.next += 1;
        let asked = PlanRequest {
            group: group(),
            kind,
            to: to.map(site),
            accept_proof: accept,
            reason: if accept.is_some() { "it is off".into() } else { String::new() },
            by: "ann".into(),
            request: request.into(),
        };
        let id = RequestId(self.next);
        self.step(Event::Request { id, request: Box::new(Request::Plan(asked)) });
    }

    pub(crate) fn approve(&mut self, approval: u64, by: &str) {
        self.next += 1;
        let id = RequestId(self.next);
        let request = Request::Approve { approval: ApprovalId(approval), by: by.into() };
        self.step(Event::Request { id, request: Box::new(request) });
    }

    /// The newest answer to an operator.
    pub(crate) fn answer(&self) -> Result<Applied, String> {
        let (_, answer) = self.replies.last().unwrap();
        answer.clone().map_err(|refused| refused.to_string())
    }

    pub(crate) fn state(&self) -> &State {
        self.engine.state()
    }

    /// A started group, served by its primary.
    pub(crate) fn running() -> Self {
        Self::new().started(spec())
    }

    /// The same with another policy.
    pub(crate) fn started(self, spec: GroupSpec) -> Self {
        let mut world = self;
        world.elect(1);
        world.pass(200);
        world.apply(spec);
        world.pass(500);
        assert_eq!(world.state().groups[&group()].active, Some(site("primary")));
        world
    }

    /// Replaying the journal gives the live state (invariant 6).
    pub(crate) fn assert_replay(&self) {
        let mut again = State::default();
        for (position, record) in &self.journal {
            again.apply(*position, record);
        }
        assert_eq!(again, *self.state());
        let text = serde_json::to_string(&again).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), again);
    }
}

/// What a well-behaved hook says.
pub(crate) fn hook_word(order: &FenceOrder, verdict: HookVerdict) -> Event {
    Event::FenceEnded {
        plan: order.plan,
        step: order.step,
        attempt: order.attempt,
        hook: order.hook.clone(),
        host: order.host.clone(),
        epoch: order.epoch,
        verdict,
        detail: "server is off".into(),
    }
}

fn short(record: &Record) -> String {
    match record {
        Record::GroupApplied { spec, .. } => format!("group-applied {}", spec.name),
        Record::PlanOpened { draft, cause, .. } => {
            format!("plan-opened {} to {}: {cause}", draft.kind, draft.to)
        }
        Record::StepStarted { plan, step, attempt, .. } => {
            format!("step-started {plan}.{step}/{attempt}")
        }
        Record::StepFinished { plan, step, attempt, result, .. } => {
            format!("step-finished {plan}.{step}/{attempt} {result:?}")
        }
        Record::Fenced { plan, proof, .. } => {
            format!("fenced {plan} level {}: {}", proof.level().number(), proof.words())
        }
        Record::Activated { site, epoch, .. } => format!("activated {site} epoch {epoch}"),
        Record::PlanClosed { plan, held, .. } => match held {
            None => format!("plan-closed {plan}"),
            Some(why) => format!("plan-held {plan}: {why}"),
        },
        Record::DeliveryStarted { notification, attempt, .. } => {
            format!("delivery-started {notification}/{attempt}")
        }
        Record::DeliveryFinished { notification, attempt, failure, .. } => {
            format!("delivery-finished {notification}/{attempt} {failure:?}")
        }
        Record::AutomationHeld { .. } => "held".into(),
        Record::AutomationResumed { .. } => "resumed".into(),
        Record::ReadinessChanged { why, .. } => format!("readiness: {why:?}"),
        Record::StopOrdered { deed, .. } => format!("emergency stop: {deed:?}"),
        Record::HostOrdered { host, deed, .. } => format!("{} ordered for {host}", deed.word()),
        Record::TaskOrdered { host, task, .. } => format!("`{task}` ordered for {host}"),
        Record::TaskEnded { request, exit, .. } => format!("task {request} ended: {exit}"),
        Record::TokenCreated { token, .. } => format!("token-created {token}"),
        Record::TokenRedeemed { token, .. } => format!("token-redeemed {token}"),
        Record::CertificateNoted { serial, .. } => format!("noted {serial}"),
        Record::CertificateRevoked { serial, .. } => format!("revoked {serial}"),
        Record::Considered { decision, .. } => format!("considered: {decision}"),
        Record::ApprovalAsked { asked, .. } => format!("approval-asked {}", asked.kind),
        Record::RpoExceeded { host, source, .. } => format!("rpo-exceeded {source} of {host}"),
    }
}
