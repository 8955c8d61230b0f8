//! The phases of a run: everything well, faults, calm, and the end.

use super::World;
use crate::{
    clock::{MS, SECOND, Us},
    history::{Counts, VoterEnd},
    network::Network,
    stage::{NODES, VOTERS, place},
    voter::Voter,
};
use failover::{IncidentState, Record, Request, State};

/// How long a start may take: elections, a policy, a first activation.
const START_MAX: Us = 60 * SECOND;
/// The bound of invariant 5. The longest way that is still honest: five tries
/// of a fence that is refused, three promotions of ten seconds and their
/// graces, two starts, two verifications of a minute, and elections between.
const CALM_MAX: Us = 400 * SECOND;
/// How often the calm is looked at.
const LOOK: Us = 200 * MS;

/// What a run did, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Simulated time, in microseconds.
    pub simulated: Us,
    /// Events handled.
    pub steps: u64,
    /// Messages sent.
    pub messages: u64,
    /// Records committed.
    pub commits: u64,
    /// Activations.
    pub epochs: u64,
    /// What came about.
    pub counts: Counts,
}

impl World {
    /// The voter that leads, as far as it knows.
    pub(super) fn leader(&self) -> Option<(usize, &Voter)> {
        let leads = |voter: &&Voter| voter.leads().is_some();
        (0..VOTERS)
            .filter_map(|node| Some((node, self.voters[node].as_ref().filter(leads)?)))
            .max_by_key(|(_, voter)| voter.leads())
    }

    /// The state as the leader has it.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        self.leader().map(|(_, voter)| voter.state())
    }

    /// Runs until everything is well for the first time: the group is active
    /// and serves. False when that did not come about.
    pub fn begin_well(&mut self) -> bool {
        let mut asked: Option<Us> = None;
        while self.scene.now < START_MAX {
            let until = self.scene.now + 50 * MS;
            self.run_until(until);
            let now = self.scene.now;
            let due = asked.is_none_or(|at| now > at + SECOND);
            let known = self.state().map(|state| !state.groups.is_empty());
            match (known, self.leader().map(|(node, _)| node)) {
                (Some(false), Some(node)) if due => {
                    asked = Some(now);
                    let spec = Box::new(self.scene.setting.spec(&self.scene.names));
                    let at = self.scene.clocks[node].wall(now);
                    let record = Record::GroupApplied { spec, by: "ann".into(), at };
                    self.request(node, Request::Write(Box::new(record)));
                }
                _ => {}
            }
            if asked.is_some() && self.unrest().is_none() {
                return true;
            }
        }
        false
    }

    /// Every fault is over: the network is whole, and whoever is down or stands
    /// still goes on.
    pub fn heal(&mut self) {
        self.scene.tell(|| "every fault is over".into());
        self.scene.network = Network::new(self.scene.setting.delay);
        for node in 0..NODES {
            let life = &mut self.scene.lives[node];
            (life.slow_disk, life.dies_in) = (0, None);
            while self.scene.lives[node].paused > 0 {
                self.resume(node);
            }
            if !self.scene.lives[node].up {
                self.start(node);
            }
        }
        for host in &mut self.hosts {
            host.service.bad_starts = 0;
        }
        self.scene.history.calm = self.scene.now;
    }

    /// What is still to be done, in words; nothing when all is well or waits for a person.
    #[must_use]
    pub fn unrest(&self) -> Option<String> {
        let Some((_, leader)) = self.leader() else { return Some("nobody leads".into()) };
        let state = leader.state();
        let names = &self.scene.names;
        let Some(group) = state.groups.get(&names.group) else {
            return Some("the group is not there".into());
        };
        if let Some(plan) = group.plan {
            return Some(format!("plan {plan} is under way"));
        }
        if let Some(open) = state.incidents.values().find(|i| i.state == IncidentState::Open) {
            return Some(format!("incident {} is open", open.id));
        }
        let waits = |n: &&failover::Notification| !n.settled("log");
        if let Some(waiting) = state.outbox.values().find(waits) {
            return Some(format!("notification {} is not delivered", waiting.id));
        }
        if group.hold.is_some() || state.hold.is_some() {
            return None;
        }
        let active = group.active.as_ref().and_then(|site| names.site_node(site));
        let Some(active) = active else { return Some("no site is active".into()) };
        if !self.hosts[place(active)].serves(&self.scene) {
            return Some(format!("site {} does not serve", names.sites[place(active)]));
        }
        (VOTERS..NODES)
            .find(|host| !leader.serves(*host))
            .map(|host| format!("{} has no session with the leader", names.hosts[place(host)]))
    }

    /// Runs on without faults until nothing is left to do, and a little longer.
    pub fn calm_down(&mut self) {
        let end = self.scene.now + CALM_MAX;
        while self.scene.now < end {
            self.run_until(self.scene.now + LOOK);
            if self.unrest().is_none() {
                self.run_until(self.scene.now + SECOND);
                if self.unrest().is_none() {
                    self.scene.history.settled = Some(self.scene.now);
                    break;
                }
            }
        }
    }

    /// The end: what is open is written down.
    pub fn finish(&mut self) -> Stats {
        self.scene.history.unsettled = self.unrest().unwrap_or_default();
        for host in &mut self.hosts {
            host.end(&mut self.scene);
        }
        for (node, voter) in self.voters.iter().enumerate() {
            if let Some(voter) = voter {
                let state = voter.state().clone();
                self.scene.history.voters.push(VoterEnd { node, state });
            }
        }
        let truth = &self.scene.history.truth;
        Stats {
            simulated: self.scene.now,
            steps: self.steps,
            messages: self.scene.messages,
            commits: self.scene.history.commits.len() as u64,
            counts: self.scene.history.counts,
            epochs: truth.groups.get(&self.scene.names.group).map_or(0, |group| group.epoch.0),
        }
    }

    /// Whether nothing in this run may lead to a failover.
    pub fn expect_no_failover(&mut self, mild: bool) {
        self.scene.history.mild = mild;
    }
}
