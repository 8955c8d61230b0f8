//! A probe in agent.toml, checked: after this module every field means something.
//!
//! Leaves to `crate`'s configuration what concerns several parts (a name used
//! twice, a service that is not there).

mod kinds;
mod raw;

pub use kinds::{
    CurveConfig, DiskConfig, Endpoint, HostConfig, KindConfig, Levels, TcpConfig, WatermarkConfig,
    ZeromqConfig,
};

use crate::verdict::{Rules, UnknownMeans};
use daemon::config::Span;
use model::{GroupId, ProbeKind, ProbeName};
use serde::Deserialize;
use std::time::Duration;

/// One `[[probe]]` of agent.toml.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "raw::Raw")]
pub struct ProbeConfig {
    /// Its name.
    pub name: ProbeName,
    /// The group that it belongs to; always there for a feed.
    pub group: Option<GroupId>,
    /// Between two findings.
    pub interval: Duration,
    /// How long one finding may take before it is unknown.
    pub timeout: Duration,
    /// Good findings in a row to get better.
    pub rise: u32,
    /// Bad findings in a row to get worse.
    pub fall: u32,
    /// What it means when the probe could not tell.
    pub unknown_means: UnknownMeans,
    /// What it looks at.
    pub kind: KindConfig,
}

impl ProbeConfig {
    /// The kind as readings name it.
    #[must_use]
    pub const fn kind(&self) -> ProbeKind {
        match &self.kind {
            KindConfig::Container { .. } => ProbeKind::Container,
            KindConfig::Disk(_) => ProbeKind::Disk,
            KindConfig::Host(_) => ProbeKind::Host,
            KindConfig::Zeromq(_) => ProbeKind::Zeromq,
            KindConfig::Watermark(_) => ProbeKind::Watermark,
            KindConfig::Tcp(_) => ProbeKind::Tcp,
        }
    }

    /// The counts for its judge.
    #[must_use]
    pub const fn rules(&self) -> Rules {
        Rules { rise: self.rise, fall: self.fall, unknown: self.unknown_means }
    }
}

/// Why a `[[probe]]` makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProbeConfigError {
    /// A field of another kind.
    #[error(
        "probe `{probe}`: `{field}` belongs to kind = \"{owner}\", and this probe's kind is \
         \"{kind}\"; remove the field or change the kind"
    )]
    ForeignField {
        /// The probe.
        probe: ProbeName,
        /// The field.
        field: &'static str,
        /// The kind that has it.
        owner: ProbeKind,
        /// The kind that the probe has.
        kind: ProbeKind,
    },
    /// A field that this kind cannot do without.
    #[error("probe `{probe}`: kind = \"{kind}\" needs {field}")]
    Missing {
        /// The probe.
        probe: ProbeName,
        /// Its kind.
        kind: ProbeKind,
        /// The field, as it is written.
        field: &'static str,
    },
    /// A length of time out of its bounds.
    #[error("probe `{probe}`: {field} = \"{given}\" is not between {from} and {to}")]
    Length {
        /// The probe.
        probe: ProbeName,
        /// The field.
        field: &'static str,
        /// As given.
        given: Span,
        /// The least.
        from: Span,
        /// The most.
        to: Span,
    },
    /// A count out of its bounds.
    #[error("probe `{probe}`: {field} = {given} is not between 1 and 100")]
    Count {
        /// The probe.
        probe: ProbeName,
        /// The field.
        field: &'static str,
        /// As given.
        given: u32,
    },
    /// Levels the wrong way round or out of their bounds.
    #[error("probe `{probe}`: {field}: {fault}")]
    Levels {
        /// The probe.
        probe: ProbeName,
        /// The field.
        field: &'static str,
        /// In words.
        fault: String,
    },
    /// A path that depends on where the agent was started.
    #[error("probe `{probe}`: {field} `{given}` is not an absolute path")]
    Relative {
        /// The probe.
        probe: ProbeName,
        /// The field.
        field: &'static str,
        /// The path as given.
        given: String,
    },
    /// Not something that a SUB socket can connect to.
    #[error(
        "probe `{probe}`: endpoint `{given}` {fault}; use tcp://HOST:PORT or ipc:///PATH of the \
         publisher"
    )]
    Endpoint {
        /// The probe.
        probe: ProbeName,
        /// As given.
        given: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A socket type that a probe must not touch.
    #[error("probe `{probe}`: socket = \"{given}\" is refused: {reason}")]
    Socket {
        /// The probe.
        probe: ProbeName,
        /// As given.
        given: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// Not something that can be connected to.
    #[error("probe `{probe}`: address `{given}` {fault}; use HOST:PORT")]
    Address {
        /// The probe.
        probe: ProbeName,
        /// As given.
        given: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A kind that the agent looks at by itself.
    #[error("probe `{probe}`: kind = \"recovery\" is the agent's own; remove this probe")]
    Own {
        /// The probe.
        probe: ProbeName,
    },
    /// Too many topics, or one that is too long.
    #[error("probe `{probe}`: topics: {fault}")]
    Topics {
        /// The probe.
        probe: ProbeName,
        /// In words.
        fault: &'static str,
    },
}

#[cfg(test)]
mod tests;
