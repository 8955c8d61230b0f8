//! What the ledger remembers, as a fold over its entries.
//!
//! Pure. Invariants: terms and epochs never go down, whatever entries come in
//! whatever order; [`Memory::entries`] folded again gives the same memory.

use model::{Command, CommandId, Epoch, GroupId, Outcome, ServiceName, SiteId, Term};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Commands remembered: a failover takes some ten commands a host, so this is
/// the newest hundred plans.
pub const COMMANDS_MAX: usize = 1000;

/// One thing to remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// A coordinators' term was seen.
    Term(Term),
    /// An epoch of a group was seen.
    Epoch {
        /// The group.
        group: GroupId,
        /// The epoch.
        epoch: Epoch,
    },
    /// This host was promoted: it may ask for the lease of this epoch.
    Promoted {
        /// The group.
        group: GroupId,
        /// The epoch it was promoted under.
        epoch: Epoch,
        /// The site that became active.
        site: SiteId,
    },
    /// A service was started under an epoch, after those recorded before it.
    Started {
        /// The group.
        group: GroupId,
        /// The epoch it was started under.
        epoch: Epoch,
        /// The service.
        service: ServiceName,
    },
    /// This host was fenced: it never asks for a lease of this epoch or a lower one again.
    Fenced {
        /// The group.
        group: GroupId,
        /// The epoch that was fenced.
        epoch: Epoch,
    },
    /// A command is about to be carried out (A7).
    Intent(Command),
    /// What came of it (A7).
    Outcome {
        /// Which command.
        id: CommandId,
        /// What came of it.
        outcome: Outcome,
    },
    /// Commands up to this one are no longer remembered.
    Forgotten(CommandId),
}

/// What is remembered of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupMemory {
    /// The highest epoch seen (A1).
    pub epoch: Epoch,
    /// The newest promotion of this host.
    pub promoted: Option<Promotion>,
    /// The highest epoch that was fenced here.
    pub fenced: Option<Epoch>,
}

/// A promotion of this host and what was started since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    /// The epoch it was made under.
    pub epoch: Epoch,
    /// The site that became active.
    pub site: SiteId,
    /// Services started under it, in their order.
    pub started: Vec<ServiceName>,
}

impl GroupMemory {
    /// The promotion that still counts: made under exactly the highest epoch
    /// seen, and not fenced since (A1).
    #[must_use]
    pub fn active(&self) -> Option<&Promotion> {
        self.promoted
            .as_ref()
            .filter(|promoted| promoted.epoch == self.epoch && !self.is_fenced(promoted.epoch))
    }

    /// Whether this host was fenced under that epoch or a higher one.
    #[must_use]
    pub fn is_fenced(&self, epoch: Epoch) -> bool {
        self.fenced.is_some_and(|fenced| epoch <= fenced)
    }
}

/// A command and, once there is one, its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandMemory {
    /// As it came.
    pub command: Command,
    /// Absent when the agent ended in the middle of it.
    pub outcome: Option<Outcome>,
}

impl CommandMemory {
    /// Whether that is this very command, and not one that only has its number:
    /// the plans of a cluster that was founded anew count from 1 again.
    #[must_use]
    pub fn is(&self, other: &Command) -> bool {
        let own = &self.command;
        // Term and deadline differ where the next leader repeats a command.
        (&own.id, &own.group, own.epoch, &own.action)
            == (&other.id, &other.group, other.epoch, &other.action)
    }
}

/// Everything that the ledger remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    term: Term,
    groups: BTreeMap<GroupId, GroupMemory>,
    commands: BTreeMap<CommandId, CommandMemory>,
    forgotten: Option<CommandId>,
}

impl Memory {
    /// The highest term seen.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.term
    }

    /// What is remembered of a group.
    #[must_use]
    pub fn group(&self, group: &GroupId) -> Option<&GroupMemory> {
        self.groups.get(group)
    }

    /// The highest epoch seen for a group; 0 for one never heard of.
    #[must_use]
    pub fn epoch(&self, group: &GroupId) -> Epoch {
        self.group(group).map(|known| known.epoch).unwrap_or_default()
    }

    /// Every group ever heard of.
    pub fn groups(&self) -> impl Iterator<Item = (&GroupId, &GroupMemory)> {
        self.groups.iter()
    }

    /// A command that was begun.
    #[must_use]
    pub fn command(&self, id: &CommandId) -> Option<&CommandMemory> {
        self.commands.get(id)
    }

    /// Whether the command is so old that its outcome may have been forgotten.
    #[must_use]
    pub fn is_forgotten(&self, id: &CommandId) -> bool {
        self.forgotten.as_ref().is_some_and(|last| id <= last) && !self.commands.contains_key(id)
    }

    /// Takes one entry in.
    pub fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Term(term) => self.term = self.term.max(term),
            Entry::Epoch { group, epoch } => self.saw(group, epoch),
            Entry::Promoted { group, epoch, site } => self.promoted(group, epoch, site),
            Entry::Started { group, epoch, service } => self.started(&group, epoch, service),
            Entry::Fenced { group, epoch } => {
                self.saw(group.clone(), epoch);
                let known = self.groups.entry(group).or_default();
                known.fenced = known.fenced.max(Some(epoch));
            }
            Entry::Intent(command) => self.intent(command),
            Entry::Outcome { id, outcome } => {
                if let Some(known) = self.commands.get_mut(&id) {
                    known.outcome = Some(outcome);
                }
            }
            Entry::Forgotten(id) => self.forgotten = self.forgotten.take().max(Some(id)),
        }
    }

    fn saw(&mut self, group: GroupId, epoch: Epoch) {
        let known = self.groups.entry(group).or_default();
        known.epoch = known.epoch.max(epoch);
    }

    fn promoted(&mut self, group: GroupId, epoch: Epoch, site: SiteId) {
        let known = self.groups.entry(group).or_default();
        known.epoch = known.epoch.max(epoch);
        // A repeated promotion under the same epoch keeps what was started.
        if known.promoted.as_ref().is_none_or(|newest| newest.epoch < epoch) {
            known.promoted = Some(Promotion { epoch, site, started: Vec::new() });
        }
    }

    fn started(&mut self, group: &GroupId, epoch: Epoch, service: ServiceName) {
        let promoted = self.groups.get_mut(group).and_then(|known| known.promoted.as_mut());
        if let Some(promoted) = promoted.filter(|promoted| promoted.epoch == epoch)
            && !promoted.started.contains(&service)
        {
            promoted.started.push(service);
        }
    }

    fn intent(&mut self, command: Command) {
        // Another command of the same number takes its place, and its outcome goes.
        if !self.commands.get(&command.id).is_some_and(|known| known.is(&command)) {
            self.commands.insert(command.id.clone(), CommandMemory { command, outcome: None });
        }
        while self.commands.len() > COMMANDS_MAX {
            if let Some((oldest, _)) = self.commands.pop_first() {
                self.forgotten = self.forgotten.take().max(Some(oldest));
            }
        }
    }

    /// Entries that make this memory out of an empty one.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![Entry::Term(self.term)];
        entries.extend(self.forgotten.clone().map(Entry::Forgotten));
        for (group, known) in &self.groups {
            let (group, epoch) = (group.clone(), known.epoch);
            if let Some(promoted) = &known.promoted {
                let (epoch, site) = (promoted.epoch, promoted.site.clone());
                entries.push(Entry::Promoted { group: group.clone(), epoch, site });
                entries.extend(promoted.started.iter().map(|service| Entry::Started {
                    group: group.clone(),
                    epoch,
                    service: service.clone(),
                }));
            }
            if let Some(epoch) = known.fenced {
                entries.push(Entry::Fenced { group: group.clone(), epoch });
            }
            entries.push(Entry::Epoch { group, epoch });
        }
        for (id, known) in &self.commands {
            entries.push(Entry::Intent(known.command.clone()));
            if let Some(outcome) = known.outcome.clone() {
                entries.push(Entry::Outcome { id: id.clone(), outcome });
            }
        }
        entries
    }
}
