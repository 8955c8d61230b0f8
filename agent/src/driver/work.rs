//! Carrying out what the keepers say, and what came of it.
//!
//! A7 in one place: intent durable, act, outcome durable, report.

use super::{Driver, group::Group, now};
use crate::{
    command::{self, Room},
    guard::Admission,
    keeper::{Fenced, Next, Waiting, Why},
    ledger::{Durable, Entry, LedgerError},
};
use daemon::shutdown::Shutdown;
use model::{Action, Command, GroupId, Mono, Outcome, PromiseReply, ServiceName, StepReport};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Outcomes kept to be told to a coordinator that comes back.
const REPORTS_KEPT: usize = 32;

/// What a task came to.
pub(super) enum Done {
    /// The intent of a command is durable, or the ledger has failed.
    Intent { waiting: Waiting, durable: bool },
    /// A command was carried out.
    Command { command: Command, outcome: Outcome },
    /// An outcome is durable, or the ledger has failed.
    Outcome { report: StepReport, durable: bool },
    /// A pass over a group's exclusive services is over.
    Pass { group: GroupId, result: Result<Vec<ServiceName>, String>, gate_closed: bool },
    /// Starting again is over.
    Restored { group: GroupId, result: Result<(), String> },
    /// Starting behind the gate is over.
    StoodBy { group: GroupId, result: Result<(), String> },
    /// What a promise rests on is durable, or is not in time.
    Promise { reply: PromiseReply, answer: oneshot::Sender<PromiseReply>, durable: bool },
}

impl Driver {
    /// Does everything that the keepers want done now.
    pub(super) fn work(&mut self, now: Mono) -> Result<(), LedgerError> {
        let names: Vec<GroupId> = self.groups.keys().cloned().collect();
        for name in names {
            let late = self.groups.get_mut(&name).map(|group| group.keeper.late(now));
            self.fences_ended(late.unwrap_or_default(), false)?;
            while let Some(group) = self.groups.get_mut(&name) {
                let live = group.lease.live(now);
                let Some(next) = group.keeper.next(now, live) else { break };
                match next {
                    Next::Close => {
                        let pass = command::stop_all(Arc::clone(&self.services), name.clone());
                        let (group, gate) = (name.clone(), self.gate.clone());
                        // The gate was ordered closed before (A3); here only the
                        // kernel's word is waited for, beside the stops.
                        self.tasks.spawn(async move {
                            let (result, gate_closed) =
                                futures::future::join(pass, gate.closed(&group)).await;
                            if result.is_ok() {
                                gate.end_leftovers(&group).await;
                            }
                            Done::Pass { group, result, gate_closed }
                        });
                    }
                    Next::Cancel => group.cancel.trigger(),
                    Next::Begin(waiting) => self.begin(waiting, now)?,
                    Next::Restore => self.restore(&name, now),
                    Next::StandBy => self.begin_standby(&name, now),
                }
            }
        }
        Ok(())
    }

    pub(super) fn on_done(&mut self, done: Done) -> Result<(), LedgerError> {
        let now = now();
        match done {
            Done::Intent { waiting, durable: true } => self.carry_out(waiting, now),
            Done::Outcome { report, durable: true } => {
                self.unsettled.remove(&report.id);
                self.tell(report);
            }
            // The loop is about to hear that the ledger has failed.
            Done::Intent { durable: false, .. } | Done::Outcome { durable: false, .. } => {}
            Done::Command { command, outcome } => self.carried_out(&command, outcome)?,
            Done::Pass { group, result, gate_closed } => {
                self.passed(&group, result, gate_closed, now)?;
            }
            Done::Restored { group, result } => self.restored(&group, result, now),
            Done::StoodBy { group, result } => self.stood_by(&group, result),
            Done::Promise { reply, answer, durable } => self.promised(reply, answer, durable),
        }
        Ok(())
    }

    /// A fence: give up the lease, close, and report once all is confirmed
    /// stopped (A3). Closing is what A1 asks for anyway, so it does not wait for
    /// the disk; the report does, because the outcome is written after the intent.
    pub(super) fn fence(
        &mut self,
        waiting: Waiting,
        entries: Vec<Entry>,
        now: Mono,
    ) -> Result<(), LedgerError> {
        drop(self.ledger.append(entries)?);
        let Waiting { command, until, .. } = waiting;
        let Some(group) = self.groups.get_mut(&command.group) else { return Ok(()) };
        tracing::info!(id = %command.id, group = %group.name, epoch = %command.epoch, "fenced");
        group.adopt(command.epoch, now, Why::Over);
        group.shut(now, Why::Over);
        self.probes.expect(&group.name, false);
        let ended = group.keeper.fence(command, until, now);
        self.beat.want();
        self.fences_ended(ended.into_iter().collect(), false)
    }

    /// `gate_closed` is what the kernel confirmed of those that were stopped.
    fn fences_ended(&mut self, ended: Vec<Fenced>, gate_closed: bool) -> Result<(), LedgerError> {
        for Fenced { command, result } in ended {
            let outcome = match result {
                Ok(stopped) => Outcome::Fenced { stopped, gate_closed },
                Err(detail) => Outcome::Failed { detail },
            };
            self.remember(&command, vec![], outcome)?;
        }
        Ok(())
    }

    /// A command's turn has come.
    fn begin(&mut self, waiting: Waiting, now: Mono) -> Result<(), LedgerError> {
        let admission = self.admit(&waiting, now);
        let Some(group) = self.groups.get_mut(&waiting.command.group) else { return Ok(()) };
        let entries = match admission {
            Admission::Run(entries) => entries,
            Admission::Repeat(outcome) => {
                group.keeper.job_ended();
                self.repeat(&waiting.command, outcome);
                return Ok(());
            }
            Admission::Refuse(refusal) => {
                group.keeper.job_ended();
                self.refuse(&waiting, refusal);
                return Ok(());
            }
        };
        let Command { id, action, epoch, .. } = &waiting.command;
        tracing::info!(%id, action = action.word(), group = %group.name, %epoch, "command begun");
        group.cancel = Shutdown::new();
        // What ran under a lower epoch must go; this command goes on.
        group.adopt(*epoch, now, Why::Taken);
        let mut overtaken = vec![];
        let promotes = matches!(action, Action::Promote { .. });
        if promotes {
            overtaken = group.keeper.overtaken(*epoch);
            group.settling = true;
        }
        let durable = self.ledger.append(entries)?;
        let gate = self.gate.clone();
        self.tasks.spawn(async move {
            let ending = async {
                if promotes {
                    gate.end_leftovers(&waiting.command.group).await;
                }
            };
            let ((), durable) = tokio::join!(ending, durable.settled());
            Done::Intent { waiting, durable }
        });
        self.fences_ended(overtaken, false)
    }

    fn carry_out(&mut self, waiting: Waiting, now: Mono) {
        let Waiting { command, until, .. } = waiting;
        let Some(group) = self.groups.get_mut(&command.group) else { return };
        if matches!(command.action, Action::Promote { .. }) {
            group.settling = false;
            group.ask_at = now;
            group.marks = super::marks(&self.probes, &command.group);
            self.others_changed = true;
            self.probes.expect(&command.group, true);
        }
        let Some(room) = self.room(&command.group, until) else { return };
        self.tasks.spawn(async {
            Done::Command {
                command: command.clone(),
                outcome: command::carry_out(command, room).await,
            }
        });
    }

    pub(super) fn room(&self, name: &GroupId, until: Mono) -> Option<Room> {
        let group = self.groups.get(name)?;
        let held = self.ledger.memory().group(name).and_then(|known| known.active());
        Some(Room {
            group: name.clone(),
            epoch: group.lease.epoch(),
            services: Arc::clone(&self.services),
            marks: Arc::clone(&group.marks),
            lease: group.deadline(),
            cancel: group.cancel.clone(),
            gate: self.gate.clone(),
            watchdog: self.watchdog.device(),
            until,
            started: held.map(|held| held.started.clone()).unwrap_or_default(),
        })
    }

    fn carried_out(&mut self, command: &Command, outcome: Outcome) -> Result<(), LedgerError> {
        let Some(group) = self.groups.get_mut(&command.group) else { return Ok(()) };
        group.keeper.job_ended();
        let (mut entries, mut outcome) = (vec![], outcome);
        match (&command.action, &mut outcome) {
            (Action::StartService { service }, Outcome::Done { .. }) => {
                let (group, epoch, service) =
                    (command.group.clone(), command.epoch, service.clone());
                entries.push(Entry::Started { group, epoch, service });
            }
            (Action::Promote { .. }, Outcome::Failed { detail }) => {
                let answer =
                    group.refusal.as_deref().unwrap_or("no coordinator that leads answered");
                *detail = format!("{detail}; {answer}");
            }
            (
                Action::Fence
                | Action::Verify { .. }
                | Action::Promote { .. }
                | Action::StartService { .. },
                _,
            ) => {}
        }
        self.remember(command, entries, outcome)
    }

    /// Writes an outcome; it is reported once it is durable.
    fn remember(
        &mut self,
        command: &Command,
        mut entries: Vec<Entry>,
        outcome: Outcome,
    ) -> Result<(), LedgerError> {
        entries.push(Entry::Outcome { id: command.id.clone(), outcome: outcome.clone() });
        let durable: Durable = self.ledger.append(entries)?;
        self.unsettled.insert(command.id.clone());
        let report = self.report_of(command, outcome);
        self.tasks.spawn(async { Done::Outcome { report, durable: durable.settled().await } });
        Ok(())
    }

    pub(super) fn report_of(&self, command: &Command, outcome: Outcome) -> StepReport {
        StepReport {
            host: self.host.clone(),
            id: command.id.clone(),
            group: command.group.clone(),
            epoch: command.epoch,
            outcome,
        }
    }

    fn tell(&mut self, report: StepReport) {
        match &report.outcome {
            Outcome::Failed { detail } => {
                tracing::warn!(id = %report.id, group = %report.group, detail, "command failed");
            }
            Outcome::Done { .. }
            | Outcome::Fenced { .. }
            | Outcome::Verified(_)
            | Outcome::Refused(_) => {
                tracing::info!(id = %report.id, group = %report.group, "command done");
            }
        }
        self.peers.report(&report);
        self.reports.push_back(report);
        if self.reports.len() > REPORTS_KEPT {
            self.reports.pop_front();
        }
    }

    /// A coordinator is back: it may have missed what came of its commands.
    pub(super) fn send_again(&mut self, peer: usize) {
        for report in &self.reports {
            self.peers.report_to(peer, report);
        }
    }

    fn passed(
        &mut self,
        name: &GroupId,
        result: Result<Vec<ServiceName>, String>,
        gate_closed: bool,
        now: Mono,
    ) -> Result<(), LedgerError> {
        let Some(group) = self.groups.get_mut(name) else { return Ok(()) };
        group.log_pass(&result);
        let ended = group.keeper.pass_ended(now, result);
        self.beat.want();
        self.fences_ended(ended, gate_closed)?;
        // A container that Docker restarted meanwhile is seen here at once.
        self.enforce(now);
        Ok(())
    }

    fn restore(&mut self, name: &GroupId, now: Mono) {
        if let Some(group) = self.groups.get_mut(name) {
            group.cancel = Shutdown::new();
        }
        let Some(room) = self.room(name, now + command::RESTORE_LIMIT) else { return };
        tracing::info!(group = %name, services = ?room.started, "starting again what ran before");
        let group = name.clone();
        self.tasks.spawn(async { Done::Restored { group, result: command::restore(room).await } });
    }

    fn restored(&mut self, name: &GroupId, result: Result<(), String>, now: Mono) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let given_up = group.keeper.restored(now, result.is_ok());
        match result {
            Ok(()) => tracing::info!(group = %name, "all that ran before is up again"),
            Err(error) if given_up => tracing::error!(
                group = %name, error,
                "could not start again what ran before, and stopped trying; \
                 look at the service, then fail over or restart the agent"
            ),
            Err(error) => {
                tracing::warn!(group = %name, error, "could not start again; trying again")
            }
        }
        self.beat.want();
    }
}

impl Group {
    /// A fault is told when it begins, when it changes and when it is over.
    fn log_pass(&mut self, result: &Result<Vec<ServiceName>, String>) {
        match result {
            Ok(stopped) => {
                if self.fault.take().is_some() {
                    tracing::info!(group = %self.name, ?stopped, "all is confirmed stopped now");
                } else {
                    tracing::debug!(group = %self.name, ?stopped, "all is confirmed stopped");
                }
            }
            Err(error) if self.fault.as_ref() != Some(error) => {
                tracing::error!(group = %self.name, error, "not confirmed stopped; trying again");
                self.fault = Some(error.clone());
            }
            Err(_) => {}
        }
    }
}
