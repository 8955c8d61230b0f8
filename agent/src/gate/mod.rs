//! The gate: the kernel rule that lets a protected service's traffic pass only
//! while a lease is live (A1, A2).
//!
//! One nftables table of our own, closed by default. A set element with a
//! timeout opens a group; each renewal replaces it, and without renewals the
//! kernel removes it at the deadline, also while this agent is stopped or dead.
//! Covered are containers on bridge networks (by address), containers in the
//! host's network and processes (by cgroup), and processes by user.
//!
//! Traffic between this host and a protected container goes through the gate
//! too: Docker's own proxy would relay for it otherwise. Loopback and traffic
//! inside one bridge are local and never looked at. The chains only drop, and
//! only what is protected; nobody else's table is ever touched.
//!
//! [`warden`] is the one thread that changes the table, [`docker`] tells it who
//! is where, [`table`] and [`wire`] are pure. Nothing that the handle offers
//! waits for any of them (A4), but for what is `async`.

mod cgroup;
pub mod command;
mod config;
mod docker;
mod leftover;
pub(crate) mod netlink;
pub(crate) mod owner;
pub(crate) mod program;
mod saved;
mod shared;
mod table;
mod warden;
pub(crate) mod wire;

pub use cgroup::{cgroup_of, make_room};
pub use config::{CGROUP_LEVELS, GateConfig, GateConfigError, ServiceGate};

use crate::service::{DockerConfig, DriverConfig, ServiceConfig, Target};
use cgroup::Hierarchy;
use daemon::clock::boottime_ms;
use docker::{Asked, Wanted, Watcher};
use model::{GateState, GroupId, Mono, ServiceName};
use shared::{Shared, Standing, State};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};
use table::Facts;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use warden::{Room, Warden};

/// How long a confirmation by the kernel is waited for: it takes less than a
/// millisecond, and up to a second behind somebody else's big ruleset.
const CONFIRM_LIMIT: Duration = Duration::from_secs(2);

/// How long an agent that starts waits for its gate: a table and Docker's first
/// word take some 50 ms, and nobody waits for a Docker that hangs.
const UP_LIMIT: Duration = Duration::from_secs(1);

/// How long Docker's word is waited for before a container is started.
const SETTLE_LIMIT: Duration = Duration::from_secs(4);

/// Who may wait for Docker's word at once: one for each service, and a few.
const ASKS_MAX: usize = 64;

/// How one exclusive service of agent.toml is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protected {
    /// Containers: by their addresses, or by their cgroup in the host's network.
    Container {
        /// The service.
        service: ServiceName,
        /// Which containers.
        target: Target,
        /// Their Engine's socket.
        socket: PathBuf,
    },
    /// What runs in a cgroup.
    Cgroup {
        /// The service.
        service: ServiceName,
        /// Its path below the hierarchy's root.
        path: String,
    },
    /// What a user runs.
    User {
        /// The service.
        service: ServiceName,
        /// The user's name or number.
        user: String,
    },
}

impl Protected {
    /// Everything by which a service's traffic is found; nothing for one that is
    /// not exclusive, or of which nothing is known.
    #[must_use]
    pub fn of(config: &GateConfig, service: &ServiceConfig, cgroups: Option<&Path>) -> Vec<Self> {
        if !service.exclusive {
            return Vec::new();
        }
        let name = || service.name.clone();
        let mut found = Vec::new();
        match &service.driver {
            DriverConfig::Docker(DockerConfig { target, socket }) => found.push(Self::Container {
                service: name(),
                target: target.clone(),
                socket: socket.clone(),
            }),
            DriverConfig::Process(_) if cgroups.is_some() => found.push(Self::Cgroup {
                service: name(),
                path: cgroup::of_service(&config.table, &service.name),
            }),
            DriverConfig::Process(_) => {}
        }
        if let Some(path) = &service.gate.cgroup {
            found.push(Self::Cgroup { service: name(), path: path.clone() });
        }
        if let Some(user) = &service.gate.user {
            found.push(Self::User { service: name(), user: user.clone() });
        }
        found
    }
}

/// What the gate needs beside agent.toml.
#[derive(Debug, Clone)]
pub struct GateRoom {
    /// Where `gate.nft` is saved for the next boot.
    pub state_dir: PathBuf,
    /// What [`make_room`] gave: where the holders put their processes.
    pub cgroups: Option<PathBuf>,
}

/// The handle; cheap to clone. When the last one is gone the table stays, closed.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    asks: Vec<mpsc::Sender<Asked>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.wake();
        // It ends within one change of the table, so this is short; a thread
        // that panicked has said so.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What agent.toml alone says.
struct Plan {
    groups: BTreeMap<GroupId, Standing>,
    fixed: Facts,
    engines: BTreeMap<PathBuf, Vec<Wanted>>,
}

fn plan(config: &GateConfig, services: &[ServiceConfig], cgroups: Option<&Path>) -> Plan {
    let mut plan =
        Plan { groups: BTreeMap::new(), fixed: Facts::default(), engines: BTreeMap::new() };
    for service in services {
        let standing = plan.groups.entry(service.group.clone()).or_default();
        let found = Protected::of(config, service, cgroups);
        if service.exclusive && found.is_empty() {
            standing.fixed_gaps.push(format!(
                "service {}: there is no cgroup v2 for its processes; give it a user of its own \
                 and write gate = {{ user = \"NAME\" }}",
                service.name
            ));
        }
        let group = || service.group.clone();
        for protected in found {
            match protected {
                Protected::Container { service, target, socket } => {
                    standing.needs_docker = true;
                    let wanted = Wanted { service, group: group(), target };
                    plan.engines.entry(socket).or_default().push(wanted);
                }
                Protected::Cgroup { path, .. } => {
                    plan.fixed.cgroups.insert((group(), path), None);
                }
                Protected::User { service, user } => match number_of(&user) {
                    Ok(number) => {
                        plan.fixed.users.insert((group(), number));
                    }
                    Err(reason) => {
                        standing.fixed_gaps.push(format!("service {service}: {reason}"));
                    }
                },
            }
        }
    }
    plan
}

/// A user's number. Root is refused: everything of the host's would be gated.
fn number_of(user: &str) -> Result<u32, String> {
    let number = match user.parse() {
        Ok(number) => number,
        Err(_) => match nix::unistd::User::from_name(user) {
            Ok(Some(found)) => found.uid.as_raw(),
            Ok(None) => return Err(format!("there is no user `{user}` on this host")),
            Err(error) => return Err(format!("the user `{user}` cannot be looked up: {error}")),
        },
    };
    if number == 0 { Err(format!("`{user}` is root, which is not gated")) } else { Ok(number) }
}

impl Gate {
    /// Begins to keep the gate; must be called within the async runtime and, for
    /// the network namespace that is meant, on a thread inside it. Never fails:
    /// what is missing is said by [`Self::why`].
    #[must_use]
    pub fn open(config: &GateConfig, services: &[ServiceConfig], room: &GateRoom) -> Self {
        let Plan { groups, fixed, engines } = plan(config, services, room.cgroups.as_deref());
        let names = groups.keys().cloned().collect();
        let reason = if config.enabled {
            "the kernel gate is not up yet"
        } else {
            "the kernel gate is switched off in agent.toml ([gate] enabled = false)"
        };
        let shared = Arc::new(Shared::new(State::new(groups, engines.len(), reason)));
        if !config.enabled {
            command::remove_table(&config.table);
            return Self(Arc::new(Inner { shared, asks: Vec::new(), thread: None }));
        }
        let mut asks = Vec::new();
        for (place, (socket, wanted)) in engines.into_iter().enumerate() {
            let (ask, asked) = mpsc::channel(ASKS_MAX);
            asks.push(ask);
            let shared = Arc::clone(&shared);
            tokio::spawn(Watcher { socket, wanted, place, shared, asked }.run());
        }
        let warden = Warden::new(
            Room {
                table: config.table.clone(),
                state_dir: room.state_dir.clone(),
                groups: names,
                fixed,
                hierarchy: Hierarchy::find(),
            },
            Arc::clone(&shared),
        );
        let thread = thread::Builder::new().name("gate".into()).spawn(move || warden.run());
        if let Err(error) = &thread {
            shared.lock().table = Err(format!("the gate cannot be kept: {error}"));
        }
        shared.wake();
        Self(Arc::new(Inner { shared, asks, thread: thread.ok() }))
    }

    /// Waits, at most [`UP_LIMIT`], until every group's state is known: that of a
    /// gate that is still being loaded would be told as none, and a host that dies
    /// then would be believed to have none (C3).
    pub async fn up(&self) {
        let mut news = self.0.shared.news.subscribe();
        let waiting = async {
            loop {
                news.mark_unchanged();
                if self.0.thread.is_none() || self.0.shared.lock().is_known() {
                    return;
                }
                if news.changed().await.is_err() {
                    return;
                }
            }
        };
        // Past the limit it is told as it stands: absent, and why.
        let _ = timeout(UP_LIMIT, waiting).await;
    }

    /// Opens the group until `deadline` (`CLOCK_BOOTTIME`), or keeps it open: the
    /// kernel closes it then by itself. Never waits (A4).
    pub fn renew(&self, group: &GroupId, deadline: Mono) {
        self.0.shared.order(group, Some(deadline));
    }

    /// Closes the group at once. Never waits; see [`Self::closed`].
    pub fn close(&self, group: &GroupId) {
        self.0.shared.order(group, None);
    }

    /// As the heartbeat says it.
    #[must_use]
    pub fn state(&self, group: &GroupId) -> GateState {
        self.0.shared.lock().state(group, boottime_ms())
    }

    /// For a person: why there is none, or what happened to it; else empty.
    #[must_use]
    pub fn why(&self, group: &GroupId) -> String {
        let state = self.0.shared.lock();
        let mut words = state.gaps(group);
        let note = state.groups.get(group).map(|standing| standing.note.clone());
        words.extend(note.filter(|note| !note.is_empty()));
        words.join("; ")
    }

    /// Counts up when a group's state or what is to be said of it changes. A
    /// gate that the kernel closes at its deadline is no such change.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.shared.changed.subscribe()
    }

    /// Whether the kernel confirmed everything ordered so far for the group, and
    /// it is closed. Waits for that, but not longer than [`CONFIRM_LIMIT`]; at
    /// once false where there is no gate.
    pub async fn closed(&self, group: &GroupId) -> bool {
        let mut news = self.0.shared.news.subscribe();
        let wanted = self.0.shared.lock().groups.get(group).map_or(0, |standing| standing.order);
        let confirmed = || {
            let state = self.0.shared.lock();
            match state.state(group, boottime_ms()) {
                GateState::Absent => Some(false),
                GateState::Open => None,
                GateState::Closed => {
                    let done = state.groups.get(group).is_some_and(|of| of.done >= wanted);
                    done.then_some(true)
                }
            }
        };
        let waiting = async {
            loop {
                news.mark_unchanged();
                if let Some(answer) = confirmed() {
                    return answer;
                }
                if news.changed().await.is_err() {
                    return false;
                }
            }
        };
        timeout(CONFIRM_LIMIT, waiting).await.unwrap_or(false)
    }

    /// To be called before a container of the group is started: has Docker asked
    /// anew, and the kernel told, so that its bridge is watched and its address,
    /// where it is fixed, known. False when that took too long.
    pub async fn settle(&self, group: &GroupId) -> bool {
        if self.0.thread.is_none() {
            return false;
        }
        let asking = async {
            for ask in &self.0.asks {
                let (answer, answered) = oneshot::channel();
                if ask.send(answer).await.is_err() || answered.await.is_err() {
                    return false;
                }
            }
            let mut news = self.0.shared.news.subscribe();
            loop {
                news.mark_unchanged();
                {
                    let state = self.0.shared.lock();
                    if state.table.is_err() && state.begun {
                        return false;
                    }
                    if state.table.is_ok() && state.applied >= state.facts {
                        return state.groups.contains_key(group);
                    }
                }
                self.0.shared.wake();
                if news.changed().await.is_err() {
                    return false;
                }
            }
        };
        timeout(SETTLE_LIMIT, asking).await.unwrap_or(false)
    }
}

#[cfg(test)]
pub(crate) mod tests;
