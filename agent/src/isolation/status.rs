//! How an isolation stands: what the kernel has beside what was asked for.

use super::{
    Host, IsolationError, Profile,
    saved::{Clocks, Saved},
    table,
};
use crate::gate::netlink::{Kernel, NetlinkError};
use serde::Serialize;

/// Packets that were dropped since the table was loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// To this host.
    pub inbound: u64,
    /// From this host.
    pub outbound: u64,
    /// From and to containers.
    pub forwarded: u64,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether the kernel holds this host off at this moment.
    pub isolated: bool,
    /// Whether it should.
    pub wanted: bool,
    /// Our table.
    pub table: String,
    /// What is cut.
    pub profile: Option<Profile>,
    /// Who asked.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Whether somebody confirmed it.
    pub confirmed: bool,
    /// Milliseconds until the kernel ends it by itself; none where it does not.
    pub left_ms: Option<u64>,
    /// Whose addresses are let through.
    pub administrators: Vec<String>,
    /// Where this host may go.
    pub destinations: Vec<String>,
    /// What was dropped.
    pub dropped: Dropped,
    /// The newest deed: what, by whom, why.
    pub last: String,
}

impl Host {
    /// How it stands. Changes nothing.
    ///
    /// # Errors
    /// [`IsolationError`]: the kernel or the memory cannot be read.
    pub fn status(&self) -> Result<Status, IsolationError> {
        let (saved, now) = (Saved::load(&self.state_dir)?, Clocks::now());
        let mut kernel = Kernel::open()?;
        let on = match kernel.elements(&self.table, table::ON) {
            Ok(on) => on,
            Err(NetlinkError::Missing) => Default::default(),
            Err(error) => return Err(error.into()),
        };
        let mut count = |name| kernel.counter(&self.table, name).unwrap_or(0);
        let [inbound, outbound, forwarded] = table::DROPPED.map(&mut count);
        let active = saved.active.as_ref().filter(|active| active.left(&now) != Some(0));
        let words =
            |of: &dyn Fn(&super::saved::Active) -> Vec<String>| active.map(of).unwrap_or_default();
        Ok(Status {
            isolated: !on.is_empty(),
            wanted: active.is_some(),
            table: self.table.clone(),
            profile: active.map(|active| active.profile),
            by: active.map(|active| active.by.clone()).unwrap_or_default(),
            reason: active.map(|active| active.reason.clone()).unwrap_or_default(),
            since_unix_ms: active.map_or(0, |active| active.since_unix_ms),
            confirmed: active.is_some_and(|active| active.confirm_until.is_none()),
            left_ms: on.iter().filter_map(|element| element.left).min(),
            administrators: words(&|active| {
                active.allowed.administrators.iter().map(ToString::to_string).collect()
            }),
            destinations: words(&|active| {
                active.allowed.destinations.iter().map(ToString::to_string).collect()
            }),
            dropped: Dropped { inbound, outbound, forwarded },
            last: saved.last().map(ToString::to_string).unwrap_or_default(),
        })
    }
}
