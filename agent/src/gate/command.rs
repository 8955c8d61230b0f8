//! `understudy-agent gate load | status | remove`: the table without the agent.
//!
//! They run before the agent does (at boot), beside it, or when it is gone, so
//! they go by what the kernel has and by what was saved, never by Docker.

use super::{
    GateConfig,
    cgroup::{self, Hierarchy},
    netlink::{Kernel, NetlinkError},
    owner::Owner,
    plan,
    program::{self, ProgramError},
    saved, table,
};
use crate::service::ServiceConfig;
use model::{GateState, GroupId};
use serde::Serialize;
use std::{collections::BTreeSet, io, path::Path};

/// Why a subcommand came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum GateCommandError {
    /// The agent keeps the table itself.
    #[error("the agent is running and keeps the table {table} itself; {hint}")]
    Kept {
        /// The table.
        table: String,
        /// What to do.
        hint: &'static str,
    },
    /// `nft` did not load it.
    #[error("the gate's table was not loaded: {0}")]
    Nft(String),
    /// nf_tables did not do it.
    #[error("nf_tables: {0}")]
    Kernel(String),
    /// The saved table could not be removed.
    #[error("the saved table could not be removed: {0}")]
    Saved(#[from] io::Error),
}

impl From<ProgramError> for GateCommandError {
    fn from(error: ProgramError) -> Self {
        Self::Nft(error.to_string())
    }
}

impl From<NetlinkError> for GateCommandError {
    fn from(error: NetlinkError) -> Self {
        Self::Kernel(error.to_string())
    }
}

/// What was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadOutcome {
    /// The table, closed.
    Loaded,
    /// Nothing: agent.toml switches the gate off.
    Disabled,
    /// Nothing: the agent keeps the table already.
    Kept,
}

/// Loads the table closed, from agent.toml and what was learnt before: for the
/// boot, before Docker (A1).
///
/// # Errors
/// [`GateCommandError`]: the table is not there.
pub fn load(
    config: &GateConfig,
    services: &[ServiceConfig],
    state_dir: &Path,
) -> Result<LoadOutcome, GateCommandError> {
    if !config.enabled {
        return Ok(LoadOutcome::Disabled);
    }
    let Some(_owner) = Owner::take(&config.table) else { return Ok(LoadOutcome::Kept) };
    let cgroups = cgroup::make_room(config, services);
    let plan = plan(config, services, cgroups.as_deref());
    let groups: BTreeSet<GroupId> = plan.groups.into_keys().collect();
    let mut facts = plan.fixed;
    let mut learnt = saved::load(state_dir).unwrap_or_default();
    learnt.bridges.retain(|(group, _)| groups.contains(group));
    learnt.cgroups.retain(|(group, _), _| groups.contains(group));
    facts.merge(&learnt);
    let hierarchy = Hierarchy::find();
    for ((_, cgroup), number) in &mut facts.cgroups {
        *number = hierarchy.as_ref().and_then(|hierarchy| hierarchy.number(cgroup).ok());
    }
    let below = hierarchy.as_ref().and_then(Hierarchy::below_usual);
    let with_cgroups = program::load(&table::text(&config.table, &groups, &facts, below));
    if with_cgroups.is_err() {
        program::load(&table::text(&config.table, &groups, &facts, None))?;
        let mut kernel = Kernel::open()?;
        let mut batch = kernel.batch(&config.table);
        for (set, keys) in table::elements(&groups, &facts) {
            if set.starts_with("cgroup") {
                batch.add(&set, &keys.into_iter().collect::<Vec<_>>(), 0);
            }
        }
        kernel.commit(batch)?;
    }
    Ok(LoadOutcome::Loaded)
}

/// Loads the table closed where it is missing and no agent keeps it.
///
/// # Errors
/// [`GateCommandError`]: the table is not there.
pub fn load_missing(
    config: &GateConfig,
    services: &[ServiceConfig],
    state_dir: &Path,
) -> Result<(), GateCommandError> {
    if config.enabled && Kernel::open()?.table(&config.table)?.is_none() {
        load(config, services, state_dir)?;
    }
    Ok(())
}

/// Closes a group in the kernel, also beside the agent that keeps the table: a
/// renewal of its opens it again.
///
/// # Errors
/// [`GateCommandError`]: it may be open.
pub fn close(config: &GateConfig, group: &GroupId) -> Result<(), GateCommandError> {
    if !config.enabled {
        return Ok(());
    }
    let mut kernel = Kernel::open()?;
    let mut batch = kernel.batch(&config.table);
    let both = table::PROTOCOLS.map(|protocol| vec![protocol]);
    batch.clear(&table::open_set(group), &both);
    Ok(kernel.commit(batch)?)
}

/// One group, as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// Whether the table holds it back now.
    pub gate: GateState,
    /// Milliseconds until the kernel closes it by itself; 0 when it is closed.
    pub open_for_ms: u64,
    /// Packets dropped since the table was loaded.
    pub dropped_packets: u64,
}

/// The table, as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateStatus {
    /// Its name.
    pub table: String,
    /// Whether agent.toml switches the gate on.
    pub enabled: bool,
    /// Whether the table is there.
    pub loaded: bool,
    /// Whether a running agent keeps it.
    pub kept: bool,
    /// The groups of agent.toml.
    pub groups: Vec<GroupStatus>,
}

/// Reads the table from the kernel. What of a group is not covered, the agent
/// alone knows: its heartbeat says it.
///
/// # Errors
/// [`GateCommandError`]: nf_tables cannot be asked.
pub fn status(
    config: &GateConfig,
    services: &[ServiceConfig],
) -> Result<GateStatus, GateCommandError> {
    let mut kernel = Kernel::open()?;
    let table = &config.table;
    let loaded = kernel.table(table)?.is_some();
    let names: BTreeSet<&GroupId> = services.iter().map(|service| &service.group).collect();
    let mut groups = Vec::new();
    for group in names {
        let elements = match kernel.elements(table, &table::open_set(group)) {
            Ok(elements) => Some(elements),
            Err(NetlinkError::Missing) => None,
            Err(error) => return Err(error.into()),
        };
        let open_for_ms = elements.iter().flatten().filter_map(|element| element.left).max();
        let gate = match (&elements, open_for_ms) {
            (None, _) => GateState::Absent,
            (Some(elements), None) if elements.is_empty() => GateState::Closed,
            (Some(_), _) => GateState::Open,
        };
        groups.push(GroupStatus {
            group: group.clone(),
            gate,
            open_for_ms: open_for_ms.unwrap_or(0),
            dropped_packets: kernel.counter(table, &table::counter(group)).unwrap_or(0),
        });
    }
    let kept = Owner::take(table).is_none();
    Ok(GateStatus { table: table.clone(), enabled: config.enabled, loaded, kept, groups })
}

/// Removes the table, what was saved for the next boot, and our cgroups: then
/// nothing is held back any more. Gives whether there was a table.
///
/// # Errors
/// [`GateCommandError`]: above all that the agent runs, unless `force`.
pub fn remove(
    config: &GateConfig,
    state_dir: &Path,
    force: bool,
) -> Result<bool, GateCommandError> {
    let owner = Owner::take(&config.table);
    if owner.is_none() && !force {
        let hint = "stop it first (systemctl stop understudy-agent), or give --force: it then \
                    puts the table back within a heartbeat";
        return Err(GateCommandError::Kept { table: config.table.clone(), hint });
    }
    saved::remove(state_dir)?;
    let mut kernel = Kernel::open()?;
    let there = kernel.table(&config.table)?.is_some();
    if there {
        let mut batch = kernel.batch(&config.table);
        batch.remove_table();
        kernel.commit(batch)?;
    }
    if let Some(hierarchy) = Hierarchy::find() {
        hierarchy.remove_room(&config.table);
    }
    Ok(there)
}

/// Removes a table that agent.toml switched off, if nobody keeps it.
pub(super) fn remove_table(table: &str) {
    let Some(_owner) = Owner::take(table) else { return };
    let removed = || -> Result<bool, NetlinkError> {
        let mut kernel = Kernel::open()?;
        if kernel.table(table)?.is_none() {
            return Ok(false);
        }
        let mut batch = kernel.batch(table);
        batch.remove_table();
        kernel.commit(batch).map(|()| true)
    };
    match removed() {
        Ok(true) => tracing::warn!(%table, "the gate is switched off: its table was removed"),
        Ok(false) => {}
        Err(error) => tracing::info!(%table, %error, "the gate is switched off"),
    }
}
