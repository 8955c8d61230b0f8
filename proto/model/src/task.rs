//! What an operator may have done on one host, beside any plan: a closed list,
//! never a command line.

use crate::Millis;
use alloc::{format, string::String, vec::Vec};

/// One piece of work. Empty texts are `None`; what they name is checked on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Copy one source, or all of them.
    BackupRun {
        /// Its name in agent.toml.
        source: Option<String>,
    },
    /// Show the snapshots.
    BackupList {
        /// Only of this source.
        source: Option<String>,
    },
    /// Prove the newest snapshot of one source, or of all.
    BackupVerify {
        /// Its name in agent.toml.
        source: Option<String>,
        /// 1 to 3; the host's own default when absent.
        level: Option<u8>,
        /// How much is read at level 2; the host's own default when absent.
        percent: Option<u8>,
        /// This snapshot instead of the newest.
        snapshot: Option<String>,
        /// Of the snapshots of this host.
        of: Option<String>,
    },
    /// Bring a source back, or put a copy of it elsewhere.
    BackupRestore(Restore),
    /// Remove the snapshots that no rule keeps.
    BackupPrune {
        /// Only of this source.
        source: Option<String>,
        /// Only show which rule keeps what.
        dry_run: bool,
    },
    /// Collect what shows what happened on the host; changes nothing there.
    EvidenceCollect {
        /// Declared commands that are run besides those that always are.
        with: Vec<String>,
    },
    /// List the declared trees, to be kept elsewhere.
    EvidenceBaseline,
}

/// What is restored, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// The source's name in agent.toml.
    pub source: String,
    /// The newest verified snapshot not newer than this, as the operator wrote it.
    pub at: Option<String>,
    /// This snapshot.
    pub snapshot: Option<String>,
    /// Into this directory instead of in place.
    pub to: Option<String>,
    /// Of the snapshots of this host.
    pub of: Option<String>,
    /// Also one that was never verified.
    pub unverified: bool,
    /// Only show what would be done.
    pub dry_run: bool,
}

/// What agent.toml allows or does not: tasks by what they can do to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskKind {
    /// Copies are made, shown, verified and pruned by the host's own rules.
    Backup,
    /// Something on the host is replaced.
    Restore,
    /// What happened on the host is shown, logs and all.
    Evidence,
}

impl TaskKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Backup, Self::Restore, Self::Evidence];

    /// The word used everywhere for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Evidence => "evidence",
        }
    }
}

impl Task {
    /// What agent.toml has to allow for it.
    #[must_use]
    pub const fn kind(&self) -> TaskKind {
        match self {
            Self::BackupRun { .. }
            | Self::BackupList { .. }
            | Self::BackupVerify { .. }
            | Self::BackupPrune { .. } => TaskKind::Backup,
            Self::BackupRestore(_) => TaskKind::Restore,
            Self::EvidenceCollect { .. } | Self::EvidenceBaseline => TaskKind::Evidence,
        }
    }

    /// For people and for the journal: "backup restore db --at 1h ago".
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = Words(String::new());
        match self {
            Self::BackupRun { source } => words.verb("backup run", source.as_ref()),
            Self::BackupList { source } => words.verb("backup list", source.as_ref()),
            Self::BackupVerify { source, level, percent, snapshot, of } => {
                words.verb("backup verify", source.as_ref());
                words.value("--level", level.map(|level| format!("{level}")).as_ref());
                words.value("--percent", percent.map(|percent| format!("{percent}")).as_ref());
                words.value("--snapshot", snapshot.as_ref());
                words.value("--of", of.as_ref());
            }
            Self::BackupRestore(restore) => {
                words.verb("backup restore", Some(&restore.source));
                words.value("--at", restore.at.as_ref());
                words.value("--snapshot", restore.snapshot.as_ref());
                words.value("--to", restore.to.as_ref());
                words.value("--of", restore.of.as_ref());
                words.flag("--unverified", restore.unverified);
                words.flag("--dry-run", restore.dry_run);
            }
            Self::BackupPrune { source, dry_run } => {
                words.verb("backup prune", source.as_ref());
                words.flag("--dry-run", *dry_run);
            }
            Self::EvidenceCollect { with } => {
                words.verb("evidence collect", None);
                with.iter().for_each(|name| words.value("--with", Some(name)));
            }
            Self::EvidenceBaseline => words.verb("evidence baseline", None),
        }
        words.0
    }
}

/// A task as a person would type it.
struct Words(String);

impl Words {
    fn verb(&mut self, verb: &str, first: Option<&String>) {
        self.0.push_str(verb);
        if let Some(first) = first {
            self.flag(first, true);
        }
    }

    fn value(&mut self, name: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.flag(name, true);
            self.flag(value, true);
        }
    }

    fn flag(&mut self, name: &str, given: bool) {
        if given {
            self.0.push(' ');
            self.0.push_str(name);
        }
    }
}

/// A task on its way to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskOrder {
    /// The operator's request: the same one is done once.
    pub request: String,
    /// Who ordered it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// How long it may take on the host.
    pub limit: Millis,
    /// Whether its answer is one JSON document.
    pub json: bool,
    /// What.
    pub task: Task,
}
