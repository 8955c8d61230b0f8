//! Whether a command may be carried out (A1, A7).
//!
//! Pure: compares one command with what the ledger remembers, what agent.toml
//! allows and whether a lease is live. Whether the same command is being
//! carried out at this moment is asked before, by the caller.
//!
//! Invariants: nothing runs under a term or an epoch lower than seen, for
//! another host, or for a name that agent.toml does not have; what was done is
//! never done again; what came of one command is never said of another.

use crate::ledger::{Entry, Memory};
use model::{
    Action, Command, GroupId, HostId, Millis, Mono, Outcome, ProbeName, Refusal, ServiceName,
};

/// No command may take longer, whatever its deadline says: far above the
/// slowest start of a terminal, far below forever.
pub const DEADLINE_MAX: Millis = Millis::from_secs(3600);

/// What agent.toml says of one service, as far as the guard needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The service.
    pub service: ServiceName,
    /// Its group.
    pub group: GroupId,
    /// Whether it needs a live lease.
    pub exclusive: bool,
}

/// What a command is compared with.
#[derive(Debug)]
pub struct View<'a> {
    /// This host.
    pub own: &'a HostId,
    /// What the ledger remembers.
    pub memory: &'a Memory,
    /// Every service of agent.toml.
    pub allowed: &'a [Allowed],
    /// The feeds that agent.toml has for the command's group.
    pub feeds: &'a [ProbeName],
    /// Whether a lease for the command's group is live, for the highest epoch seen.
    pub lease_live: bool,
    /// What is left of this host's own promise not to become active (A6).
    pub promised: Option<Millis>,
    /// Why somebody on this host decided that it must not be active; empty when
    /// nobody did.
    pub barred: &'a str,
    /// When the command must be done: its receipt plus its deadline.
    pub until: Mono,
    /// Now.
    pub now: Mono,
}

/// What is to be done with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Carry it out once these entries are durable.
    Run(Vec<Entry>),
    /// It was done before: this came of it.
    Repeat(Outcome),
    /// Do not. Not recorded: asked again, it is compared again.
    Refuse(Refusal),
}

/// When a command that came at `received` must be done.
#[must_use]
pub fn until(command: &Command, received: Mono) -> Mono {
    received + command.deadline.min(DEADLINE_MAX)
}

/// Compares one command with the view.
#[must_use]
pub fn admit(command: &Command, view: &View<'_>) -> Admission {
    match check(command, view) {
        Err(refusal) => Admission::Refuse(refusal),
        // Also where it was begun and the agent ended in the middle: every
        // action can be done twice.
        Ok(None) => Admission::Run(entries(command, view.memory)),
        Ok(Some(outcome)) => Admission::Repeat(outcome),
    }
}

fn check(command: &Command, view: &View<'_>) -> Result<Option<Outcome>, Refusal> {
    if command.host != *view.own {
        return Err(Refusal::WrongHost { given: command.host.clone(), own: view.own.clone() });
    }
    if let Some(outcome) = done(command, view.memory) {
        return Ok(Some(outcome));
    }
    let (given, seen) = (command.term, view.memory.term());
    if given < seen {
        return Err(Refusal::StaleTerm { given, seen });
    }
    let (given, seen) = (command.epoch, view.memory.epoch(&command.group));
    if given < seen {
        return Err(Refusal::StaleEpoch { given, seen });
    }
    if view.memory.is_forgotten(&command.id) || view.until <= view.now {
        return Err(Refusal::TooLate);
    }
    allowed(command, view)?;
    standing(command, view)?;
    Ok(None)
}

/// Before the term is compared: what was done stays done under whichever
/// leader. Only for this very command, not for one that has its number alone;
/// and a fence's only while no higher epoch was seen, for under that one this
/// host may be active again, and "everything is stopped" would prove nothing.
fn done(command: &Command, memory: &Memory) -> Option<Outcome> {
    let known = memory.command(&command.id).filter(|known| known.is(command))?;
    let stands = match command.action {
        Action::Fence => command.epoch >= memory.epoch(&command.group),
        Action::Promote { .. } | Action::StartService { .. } | Action::Verify { .. } => true,
    };
    known.outcome.clone().filter(|_| stands)
}

/// A7: only what agent.toml names. A fence as well: for a group that is not
/// there "everything is stopped" would be true and worth nothing.
fn allowed(command: &Command, view: &View<'_>) -> Result<(), Refusal> {
    let refuse = |what| Err(Refusal::NotAllowed { what });
    let group = &command.group;
    if !view.allowed.iter().any(|allowed| allowed.group == *group) {
        return refuse(format!("group `{group}`: it names no service of that group"));
    }
    match &command.action {
        Action::Fence | Action::Promote { .. } => Ok(()),
        // A feed that nobody listens to would never bring a message.
        Action::Verify { feeds } => match feeds.iter().find(|feed| !view.feeds.contains(feed)) {
            None => Ok(()),
            Some(feed) => {
                refuse(format!("feed `{feed}`: it has no zeromq probe of that name in `{group}`"))
            }
        },
        Action::StartService { service } => {
            match view.allowed.iter().find(|allowed| allowed.service == *service) {
                None => refuse(format!("service `{service}`: it names no such service")),
                Some(found) if found.group != *group => refuse(format!(
                    "service `{service}` in group `{group}`: there it is in group `{}`",
                    found.group
                )),
                Some(_) => Ok(()),
            }
        }
    }
}

/// A1: what activates needs an epoch that was not fenced here, and what an
/// exclusive service does needs the live lease. A6: neither while a promise binds.
fn standing(command: &Command, view: &View<'_>) -> Result<(), Refusal> {
    let epoch = command.epoch;
    let exclusive = |service: &ServiceName| {
        view.allowed.iter().any(|allowed| allowed.service == *service && allowed.exclusive)
    };
    let known = view.memory.group(&command.group);
    let fenced = known.is_some_and(|known| known.is_fenced(epoch));
    let active = known.and_then(|known| known.active()).is_some_and(|held| held.epoch == epoch);
    let may = match &command.action {
        Action::Fence => true,
        Action::Promote { .. } => !fenced,
        Action::Verify { .. } => active,
        Action::StartService { service } => !exclusive(service) || (active && view.lease_live),
    };
    let activates = match &command.action {
        Action::Promote { .. } => true,
        Action::StartService { service } => exclusive(service),
        Action::Fence | Action::Verify { .. } => false,
    };
    if activates && !view.barred.is_empty() {
        return Err(Refusal::Barred { why: view.barred.into() });
    }
    if let Some(left) = view.promised.filter(|_| activates) {
        return Err(Refusal::Promised { left });
    }
    if may { Ok(()) } else { Err(Refusal::NoLease { epoch }) }
}

/// What is to be durable before the command acts, as one act.
fn entries(command: &Command, memory: &Memory) -> Vec<Entry> {
    let (group, epoch) = (command.group.clone(), command.epoch);
    let mut entries = Vec::new();
    if command.term > memory.term() {
        entries.push(Entry::Term(command.term));
    }
    match &command.action {
        Action::Fence => entries.push(Entry::Fenced { group, epoch }),
        Action::Promote { site } => {
            entries.push(Entry::Promoted { group, epoch, site: site.clone() });
        }
        Action::StartService { .. } | Action::Verify { .. } => {
            if epoch > memory.epoch(&group) {
                entries.push(Entry::Epoch { group, epoch });
            }
        }
    }
    entries.push(Entry::Intent(command.clone()));
    entries
}

#[cfg(test)]
mod tests;
