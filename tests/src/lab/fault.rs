//! Faults that take the active site's host from the group, and their repair.
//! Each is one moment: what it hits is looked up before.

use super::{
    network::{both_ways, island},
    stage::Lab,
};
use crate::{installation::COORDINATORS, journal, process};
use anyhow::{Context, Result};
use nix::sys::signal::Signal;

/// What happens to the active host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Every process of the host ends at once, containers included.
    Kill,
    /// Nothing it sends or is sent arrives any more.
    Cut,
    /// The coordinators and it hear nothing of each other; the venue hears it.
    CutCoordinators,
    /// Nothing that it sends to the coordinators arrives.
    CutOut,
    /// Nothing that the coordinators send it arrives.
    CutIn,
    /// The agent alone ends; its container trades on.
    Agent,
    /// The agent alone is frozen; its container trades on.
    Freeze,
    /// The trader dies.
    Trader,
    /// Docker's daemon ends, then the agent; the container trades on.
    Dockerd,
}

impl Fault {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Kill,
        Self::Cut,
        Self::CutCoordinators,
        Self::CutOut,
        Self::CutIn,
        Self::Agent,
        Self::Freeze,
        Self::Trader,
        Self::Dockerd,
    ];

    /// Its word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Cut => "cut",
            Self::CutCoordinators => "cut-coordinators",
            Self::CutOut => "cut-out",
            Self::CutIn => "cut-in",
            Self::Agent => "agent",
            Self::Freeze => "freeze",
            Self::Trader => "trader",
            Self::Dockerd => "dockerd",
        }
    }

    /// Lets it happen to `host`; the moment before, in microseconds on `CLOCK_BOOTTIME`.
    ///
    /// # Errors
    /// When it cannot be made to happen.
    pub fn strike(self, lab: &mut Lab, host: &str) -> Result<u64> {
        lab.timeline.note(format!("fault `{}` at {host}", self.word()));
        // None when it does not run.
        let trader = lab.program(host, "trader").ok();
        let at = journal::boot_us()?;
        match self {
            Self::Kill => lab.power_off(host)?,
            Self::Cut => lab.network.cut(&island(host))?,
            Self::CutCoordinators => lab.network.cut(&both_ways(host, &COORDINATORS))?,
            Self::CutOut => lab.network.cut(&COORDINATORS.map(|to| (host, to)))?,
            Self::CutIn => lab.network.cut(&COORDINATORS.map(|from| (from, host)))?,
            Self::Agent => lab.node_mut(host)?.kill9()?,
            Self::Freeze => lab.node(host)?.freeze()?,
            Self::Trader => process::signal(trader.context("no trader runs")?, Signal::SIGKILL)?,
            Self::Dockerd => {
                lab.daemon(host)?.kill9()?;
                lab.node_mut(host)?.kill9()?;
            }
        }
        Ok(at)
    }

    /// Undoes it.
    ///
    /// # Errors
    /// When something does not come back.
    pub fn repair(self, lab: &mut Lab, host: &str) -> Result<()> {
        lab.timeline.note(format!("repair of `{}` at {host}", self.word()));
        match self {
            Self::Kill => lab.power_on(host),
            Self::Cut | Self::CutCoordinators | Self::CutOut | Self::CutIn => {
                lab.network.mend_all()
            }
            Self::Agent => lab.node_mut(host)?.start(),
            Self::Freeze => lab.node(host)?.thaw(),
            Self::Trader => Ok(()),
            Self::Dockerd => {
                lab.start_docker(host)?;
                lab.node_mut(host)?.start()
            }
        }
    }
}
