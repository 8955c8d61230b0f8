//! What a probe found, and what it means.

use crate::{Millis, ProbeName};
use alloc::{collections::BTreeMap, string::String};
use core::fmt;
use serde::{Deserialize, Serialize};

/// What a reading means. Unknown is not false: it neither proves health nor failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// The probe could not tell: it timed out, has no data yet, or lacks a permission.
    Unknown,
    /// Worth a look; the service still works.
    Warn,
    /// The service cannot do its work.
    Critical,
}

impl Verdict {
    /// The word used everywhere for this verdict.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How much an incident or a notification matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Look at it today.
    Low,
    /// Look at it now.
    High,
    /// Trading is down or at risk.
    Critical,
}

impl Severity {
    /// The word used everywhere for this severity.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What kind of thing a probe looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// A container: its state, restarts, exit code, health check.
    Container,
    /// A file system: space, inodes, read-only remount.
    Disk,
    /// The host: CPU, memory, load.
    Host,
    /// A ZeroMQ feed: freshness and the layer reached.
    Zeromq,
    /// How far a copy of the data lags behind, as a command of the operator's says: `lag_ms`.
    Watermark,
    /// Whether something answers at an address: a TCP connection is made.
    Tcp,
    /// What a recovery needs of this host, as the agent looks for it by itself.
    Recovery,
}

impl ProbeKind {
    /// The word used everywhere for this kind.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Disk => "disk",
            Self::Host => "host",
            Self::Zeromq => "zeromq",
            Self::Watermark => "watermark",
            Self::Tcp => "tcp",
            Self::Recovery => "recovery",
        }
    }
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One probe's newest finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The probe's name in agent.toml.
    pub probe: ProbeName,
    /// What it looks at.
    pub kind: ProbeKind,
    /// What it means, after rise and fall counts.
    pub verdict: Verdict,
    /// One line for a person: what was found, with units.
    pub summary: String,
    /// Numbers behind it, units in the names: `free_bytes`, `age_ms`, `messages`.
    pub measures: BTreeMap<String, i64>,
    /// How old the finding was when the heartbeat that carries it was made.
    pub age: Millis,
}
