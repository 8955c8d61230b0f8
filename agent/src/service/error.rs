//! Why a service was not started, is not confirmed stopped, or is not healthy.

use super::{EngineError, Target};
use model::{Millis, ServiceName, ServiceState};

/// Why a service was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A1: no live lease.
    #[error("service `{service}` is exclusive and this host holds no live lease for it")]
    NoLease {
        /// The service.
        service: ServiceName,
    },
    /// The program cannot be executed.
    #[error("service `{service}`: {program} cannot be executed: {reason}")]
    Program {
        /// The service.
        service: ServiceName,
        /// Its path.
        program: String,
        /// In words.
        reason: String,
    },
    /// The holder could not be started or said no.
    #[error("service `{service}`: its holder did not start it: {reason}")]
    Holder {
        /// The service.
        service: ServiceName,
        /// In words.
        reason: String,
    },
    /// No container fits.
    #[error(
        "service `{service}`: there is no {target} on this host; create it (without starting it), or correct agent.toml"
    )]
    Missing {
        /// The service.
        service: ServiceName,
        /// What was looked for.
        target: Target,
    },
    /// Docker refused or did not answer.
    #[error("service `{service}`: {source}")]
    Docker {
        /// The service.
        service: ServiceName,
        /// What Docker said.
        source: EngineError,
    },
    /// A stop came meanwhile and won.
    #[error("service `{service}` was told to stop while it started, and was stopped")]
    Overtaken {
        /// The service.
        service: ServiceName,
    },
}

/// Why a service is not confirmed stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// Something of it still runs.
    #[error("service `{service}` is not confirmed stopped after {limit}: {still}")]
    StillRuns {
        /// The service.
        service: ServiceName,
        /// How long was waited.
        limit: Millis,
        /// What was seen last.
        still: String,
    },
    /// Docker could not be asked.
    #[error("service `{service}` is not confirmed stopped: {source}{}", direct(*killed))]
    Docker {
        /// The service.
        service: ServiceName,
        /// What Docker said.
        source: EngineError,
        /// How many main processes were killed without Docker.
        killed: usize,
    },
}

fn direct(killed: usize) -> String {
    match killed {
        0 => String::new(),
        n => format!("; {n} main process(es) were killed directly, which Docker may undo"),
    }
}

/// Why a service did not become healthy.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// It ended or cannot run.
    #[error("service `{service}` failed: {detail}")]
    Failed {
        /// The service.
        service: ServiceName,
        /// The driver's words.
        detail: String,
    },
    /// The time was over.
    #[error("service `{service}` is not healthy after {limit}: {state}, {detail}")]
    TooLate {
        /// The service.
        service: ServiceName,
        /// How long was waited.
        limit: Millis,
        /// How it was at the end.
        state: ServiceState,
        /// The driver's words.
        detail: String,
    },
}
