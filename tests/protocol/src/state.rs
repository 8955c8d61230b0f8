//! All of it together, and what each step does to it.

use crate::{
    agent::{Agent, Site, Source},
    coordinator::{FenceProof, Leader},
    defect::Rules,
    model::Protocol,
    step::{Step, Who},
    time::{HELD, Ticks, WAITED},
};

/// The group at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The agents of A and of B.
    pub agents: [Agent; 2],
    /// The newest leader; it knows what is committed.
    pub leader: Leader,
    /// The one before it, which does not know that it is not.
    pub former: Option<Leader>,
    /// How many elections there were.
    pub elections: u8,
    /// C1: a record that activates is in the log, and not committed yet.
    pub proposed: bool,
    /// Whether an agent's epoch ever went down: invariant 3 looks back.
    pub went_down: bool,
}

impl State {
    /// A is active, with a lease granted just now. Where the active asks for
    /// promises without end, B has just made one.
    pub(crate) fn first(protocol: &Protocol) -> Self {
        let mut a = Agent::new(1);
        let mut b = Agent::new(1);
        a.granted = HELD;
        if protocol.insistent {
            a.failsafe = HELD;
            b.bound = WAITED;
        }
        Self {
            agents: [a, b],
            leader: Leader::first(),
            former: None,
            elections: 0,
            proposed: false,
            went_down: false,
        }
    }

    /// One site's agent.
    #[must_use]
    pub const fn agent(&self, site: Site) -> &Agent {
        &self.agents[site as usize]
    }

    const fn agent_mut(&mut self, site: Site) -> &mut Agent {
        &mut self.agents[site as usize]
    }

    /// The committed epoch.
    #[must_use]
    pub const fn epoch(&self) -> u8 {
        self.leader.epoch
    }

    /// Takes one step.
    pub(crate) fn take(&mut self, step: Step, protocol: &Protocol) {
        let before = self.agents.map(|agent| agent.epoch);
        let rules = protocol.rules;
        match step {
            Step::Tick => self.tick(protocol),
            Step::Ask(site) => self.agent_mut(site).ask(site),
            Step::Grant(who, site, age) => self.grant(who, site, age, rules),
            Step::Promise(site, age) => self.promise(site, age, rules),
            Step::TakeGrant(site, age) => self.agent_mut(site).take(age, Source::Grant, rules),
            Step::TakePromise(site, age) => self.agent_mut(site).take(age, Source::Promise, rules),
            Step::Hear(site, epoch) => self.agent_mut(site).adopt(epoch),
            Step::Close(site) => self.agent_mut(site).close(),
            Step::Restart(site) => self.agent_mut(site).restart(rules),
            Step::Round => self.leader.round = Some(0),
            Step::Elect { keeps_record } => self.elect(keeps_record, rules),
            Step::Plan => self.leader.fencing = true,
            Step::Report => self.report(protocol.withholding),
            Step::Propose => {
                if let Some(proof) = self.leader.conclude(rules) {
                    self.propose(proof);
                }
            }
            Step::Commit => self.commit(),
        }
        let after = self.agents.map(|agent| agent.epoch);
        self.went_down |= before.iter().zip(after).any(|(before, after)| after < *before);
    }

    fn tick(&mut self, protocol: &Protocol) {
        for agent in &mut self.agents {
            agent.tick();
        }
        self.leader.tick(true);
        if let Some(former) = &mut self.former {
            former.tick(false);
        }
        if protocol.insistent {
            self.insist(protocol.rules);
        }
    }

    /// A renewal is granted, by the newest leader or by the former one.
    fn grant(&mut self, who: Who, site: Site, age: usize, rules: Rules) {
        let leader = match who {
            Who::Leader => Some(&mut self.leader),
            Who::Former => self.former.as_mut(),
        };
        let agent = &mut self.agents[site as usize];
        let Some(leader) = leader else { return };
        let Ok(ticks) = Ticks::try_from(age) else { return };
        if agent.asked[age].sent && leader.grants(agent.epoch, ticks, rules) {
            agent.asked[age].granted = true;
            if who == Who::Leader {
                leader.since = 0;
            }
        }
    }

    /// The other site's agent answers a request for a promise.
    fn promise(&mut self, site: Site, age: usize, rules: Rules) {
        let epoch = self.agent(site).epoch;
        if self.agent(site).asked[age].sent && self.agent_mut(site.other()).promise(epoch, rules) {
            self.agent_mut(site).asked[age].promised = true;
        }
    }

    /// The active asks for a promise in every tick, and no message is lost: what
    /// makes a failover wait for ever, unless promises are withheld.
    fn insist(&mut self, rules: Rules) {
        for site in Site::ALL {
            self.agent_mut(site).ask(site);
            self.promise(site, 0, rules);
            if self.agent(site).asked[0].promised {
                self.agent_mut(site).take(0, Source::Promise, rules);
            }
        }
    }

    /// The next leader is elected. A record that is not committed is in its log,
    /// or lost.
    fn elect(&mut self, keeps_record: bool, rules: Rules) {
        self.former = Some(self.leader.deposed());
        self.leader = self.leader.elected(rules);
        self.elections += 1;
        self.proposed = self.proposed && keeps_record;
    }

    /// C4: the target's agent tells the leader of the plan whether a promise of
    /// its own is outstanding; where that is the rule, it makes no more of them.
    const fn report(&mut self, withholding: bool) {
        let target = self.agent_mut(Site::active_in(self.epoch()).other());
        target.withholds = withholding;
        let free = target.bound == 0;
        self.leader.reported = self.leader.reported || free;
    }

    /// C3: the record that activates takes the proof by value.
    fn propose(&mut self, _proof: FenceProof) {
        self.proposed = true;
    }

    /// C1: from here on the other site is the active one.
    const fn commit(&mut self) {
        if self.proposed {
            self.proposed = false;
            self.leader.activated();
        }
    }
}
