//! Carrying out what the keeper says, as agent/src/driver/work.rs does it.
//!
//! A7 in one place: intent durable, act, outcome durable, report.

use super::{Host, job::Job, ledger::Done};
use crate::{history::Ran, scene::Scene};
use agent::{
    guard::Admission,
    keeper::{Fenced, Next, Waiting, Why},
    ledger::Entry,
};
use model::{Action, Command, Mono, Outcome, ServiceState, StepReport};

/// As in agent/src/driver/work.rs.
const REPORTS_KEPT: usize = 32;

impl Host {
    /// Does everything that is to be done now.
    pub(super) fn work(&mut self, now: Mono, scene: &mut Scene) {
        let late = self.agent.keeper.late(now);
        self.fences_ended(late, scene);
        loop {
            if self.pass_over(now, scene) || self.job_over(now, scene) {
                continue;
            }
            let live = self.agent.lease.live(now);
            let Some(next) = self.agent.keeper.next(now, live) else { break };
            match next {
                Next::Close => {
                    self.agent.passing = true;
                    self.service.stop(scene);
                }
                Next::Cancel => {
                    self.agent.cancel = true;
                    if let Some(job) = &mut self.agent.job {
                        job.cancel();
                    }
                }
                Next::Begin(waiting) => self.begin(waiting, now, scene),
                Next::Restore => {
                    self.agent.cancel = false;
                    self.agent.job = Some(Job::restore(now));
                }
                Next::StandBy => {
                    // Running is enough, and the keeper asked with the gate closed.
                    self.service.start(scene);
                    let _given_up = self.agent.keeper.stood_by(true);
                    self.agent.beat.want();
                }
            }
        }
    }

    /// A pass over the exclusive services ends once all are seen stopped.
    fn pass_over(&mut self, now: Mono, scene: &mut Scene) -> bool {
        if !self.agent.passing || self.service.runs() {
            return false;
        }
        self.agent.passing = false;
        // Now and then a driver cannot tell.
        let result = if self.agent.rng.permille(20) {
            Err("the driver could not tell".into())
        } else {
            Ok(vec![scene.names.service.clone()])
        };
        let ended = self.agent.keeper.pass_ended(now, result);
        self.agent.beat.want();
        self.fences_ended(ended, scene);
        self.enforce(now, scene);
        true
    }

    /// A fence: give up the lease, close, and report once all is confirmed (A3).
    pub(super) fn fence(
        &mut self,
        waiting: Waiting,
        entries: Vec<Entry>,
        now: Mono,
        scene: &mut Scene,
    ) {
        self.note_ran(&waiting.command, scene);
        self.agent.ledger.append(self.node, entries, None, scene);
        let Waiting { command, until, .. } = waiting;
        self.adopt(command.epoch, now, Why::Over, scene);
        self.shut(now, Why::Over, scene);
        let ended = self.agent.keeper.fence(command, until, now);
        self.agent.beat.want();
        self.fences_ended(ended.into_iter().collect(), scene);
    }

    fn fences_ended(&mut self, ended: Vec<Fenced>, scene: &mut Scene) {
        for Fenced { command, result } in ended {
            let outcome = match result {
                Ok(stopped) => {
                    Outcome::Fenced { stopped, gate_closed: !self.gate.is_open(scene.now) }
                }
                Err(detail) => Outcome::Failed { detail },
            };
            self.remember(&command, vec![], outcome, scene);
        }
    }

    /// A command's turn has come.
    fn begin(&mut self, waiting: Waiting, now: Mono, scene: &mut Scene) {
        let entries = match self.admit(&waiting, now, scene) {
            Admission::Run(entries) => entries,
            Admission::Repeat(outcome) => {
                self.agent.keeper.job_ended();
                self.repeat(&waiting.command, outcome, scene);
                return;
            }
            Admission::Refuse(refusal) => {
                self.agent.keeper.job_ended();
                self.refuse(&waiting, refusal, scene);
                return;
            }
        };
        self.note_ran(&waiting.command, scene);
        self.agent.cancel = false;
        let (epoch, promotes) =
            (waiting.command.epoch, matches!(waiting.command.action, Action::Promote { .. }));
        // What ran under a lower epoch must go; this command goes on.
        self.adopt(epoch, now, Why::Taken, scene);
        let mut overtaken = vec![];
        if promotes {
            overtaken = self.agent.keeper.overtaken(epoch);
            self.agent.settling = true;
        }
        self.agent.ledger.append(self.node, entries, Some(Done::Intent(waiting)), scene);
        self.fences_ended(overtaken, scene);
    }

    fn note_ran(&self, command: &Command, scene: &mut Scene) {
        scene.say(self.node, || format!("runs {} {}", command.action.word(), command.id));
        scene.history.ran.push(Ran {
            at: scene.now,
            host: self.node,
            id: command.id.clone(),
            epoch: command.epoch,
            action: command.action.clone(),
        });
    }

    /// The intent is durable.
    pub(super) fn carry_out(&mut self, waiting: Waiting, scene: &mut Scene) {
        if matches!(waiting.command.action, Action::Promote { .. }) {
            self.agent.settling = false;
            self.agent.ask_at = self.now(scene);
        }
        self.agent.job = Some(Job::command(waiting, self.agent.cancel));
    }

    fn job_over(&mut self, now: Mono, scene: &mut Scene) -> bool {
        let Some(mut job) = self.agent.job.take() else { return false };
        let Some(outcome) = job.look(now, &self.agent.lease, &mut self.service, scene) else {
            self.agent.job = Some(job);
            return false;
        };
        match job.into_command() {
            Some(command) => self.carried_out(&command, outcome, scene),
            None => {
                let well = matches!(outcome, Outcome::Done { .. });
                let _given_up = self.agent.keeper.restored(now, well);
                self.agent.beat.want();
            }
        }
        true
    }

    fn carried_out(&mut self, command: &Command, outcome: Outcome, scene: &mut Scene) {
        self.agent.keeper.job_ended();
        let mut entries = vec![];
        if let (Action::StartService { service }, Outcome::Done { .. }) =
            (&command.action, &outcome)
        {
            let (group, epoch, service) = (command.group.clone(), command.epoch, service.clone());
            entries.push(Entry::Started { group, epoch, service });
        }
        self.remember(command, entries, outcome, scene);
    }

    /// Writes an outcome; it is reported once it is durable.
    fn remember(
        &mut self,
        command: &Command,
        mut entries: Vec<Entry>,
        outcome: Outcome,
        scene: &mut Scene,
    ) {
        entries.push(Entry::Outcome { id: command.id.clone(), outcome: outcome.clone() });
        self.agent.unsettled.insert(command.id.clone());
        let report = self.report_of(command, outcome, scene);
        self.agent.ledger.append(self.node, entries, Some(Done::Outcome(report)), scene);
    }

    pub(super) fn tell(&mut self, report: StepReport, scene: &mut Scene) {
        scene.say(self.node, || format!("reports {}: {:?}", report.id, report.outcome));
        self.report(&report, scene);
        self.agent.reports.push_back(report);
        if self.agent.reports.len() > REPORTS_KEPT {
            self.agent.reports.pop_front();
        }
    }

    /// Tells the keeper how things stand, where the service waits behind the gate.
    pub(super) fn stand_by(&mut self, now: Mono, scene: &Scene) {
        if !scene.setting.gated {
            return;
        }
        let agent = &mut self.agent;
        let elsewhere = agent.assignment.as_ref().is_some_and(|assigned| {
            let other = assigned.active.as_ref().is_some_and(|active| *active != assigned.site);
            other && assigned.epoch == agent.lease.epoch()
        });
        let known = agent.ledger.memory().group(&scene.names.group);
        let active = known.is_some_and(|known| known.active().is_some());
        let closed = !self.gate.is_open(scene.now);
        let may = elsewhere && !active && !agent.lease.live(now) && closed;
        let all_up = may && self.service.runs();
        agent.keeper.stand_by(now, may, all_up);
    }

    /// A1: an exclusive service that runs without a live lease is stopped.
    pub(super) fn enforce(&mut self, now: Mono, scene: &Scene) {
        let closed = !self.gate.is_open(scene.now);
        if scene.setting.gated && self.agent.keeper.is_behind() && closed {
            return;
        }
        let runs = match self.service.state() {
            ServiceState::Starting | ServiceState::Running | ServiceState::Unhealthy => true,
            ServiceState::Stopped | ServiceState::Failed | ServiceState::Unknown => false,
        };
        if runs && !self.agent.lease.live(now) {
            self.agent.keeper.saw_running(now);
        }
    }
}
