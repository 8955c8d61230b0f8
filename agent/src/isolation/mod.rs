//! Isolation: cutting this host off after a breach without locking its operator
//! out. Works without the agent and without any coordinator.
//!
//! One nftables table of our own beside the gate's, loaded in one step, that
//! allows first and drops last. What is to stand is saved before it is loaded;
//! its end is a timeout in the kernel, which also an agent that was killed
//! cannot miss. Unless it is confirmed through a connection that began after it
//! was loaded, it reverts. [`table`] is pure, [`allow`] finds out who stays
//! reachable, [`saved`] is the memory, [`session`] knows who asks, [`keeper`] is
//! the agent's part.
//!
//! Everything here blocks for as long as `nft` takes, and a few seconds for names.

mod allow;
mod config;
pub mod container;
mod error;
mod keeper;
mod remote;
mod saved;
pub mod session;
mod status;
mod table;

pub use config::{Destination, IsolationConfig, IsolationConfigError, Network, Transport};
pub use error::IsolationError;
pub use keeper::{Keeper, Standing};
pub use model::IsolationProfile as Profile;
pub use session::Session;
pub use status::{Dropped, Status};

use crate::{
    config::Config,
    gate::{
        netlink::{Kernel, NetlinkError},
        owner::Owner,
        program,
    },
};
use allow::Found;
use saved::{Active, Clocks, Saved};
use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

/// What the isolation's table is called, after the gate's.
pub const TABLE_SUFFIX: &str = "_isolation";

/// How long somebody else's change is waited for: `nft` and `ss` are given 5 s each.
const TURN_LIMIT: Duration = Duration::from_secs(12);

/// Between two looks whether it is over.
const TURN_EVERY: Duration = Duration::from_millis(10);

/// The longest isolation with an end: as good as one without.
pub const FOR_MAX: Duration = Duration::from_secs(366 * 86_400);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Order {
    /// What is cut.
    pub profile: Profile,
    /// When it ends, whatever happens; `None` for not by itself.
    pub span: Option<Duration>,
    /// Why.
    pub reason: String,
    /// Who asks.
    pub by: String,
    /// Through which connection; its address stays reachable.
    pub session: Option<Session>,
    /// Administrators beside those of agent.toml.
    pub administrators: Vec<Network>,
    /// Also where no operator would stay reachable.
    pub force: bool,
}

/// That somebody still reaches this host, by a way that was made anew.
#[derive(Debug, Clone)]
pub enum Proof {
    /// An SSH connection, which must have begun after the table was loaded, as
    /// the kernel saw it.
    Ssh(Option<Session>),
    /// An operator's word through the coordinators.
    Coordinator {
        /// Whether the agent's session began after the table was loaded.
        anew: bool,
    },
    /// None, and why it is confirmed all the same.
    Forced(String),
}

/// What came of an order.
#[derive(Debug)]
pub struct Begun {
    /// Whether it stood already, in the same profile: then nothing was changed.
    pub already: bool,
    /// As it stands.
    pub status: Status,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// What [`Host::keep`] found, and did about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing is isolated.
    Nothing,
    /// It stands.
    Standing,
    /// It was to stand and did not: it was loaded.
    Loaded,
    /// Its time was over: it was removed.
    Ended,
    /// A table that nobody asked for was removed.
    Removed,
}

/// A host that can be isolated.
#[derive(Debug, Clone)]
pub struct Host {
    config: IsolationConfig,
    table: String,
    state_dir: PathBuf,
    coordinators: Option<Vec<String>>,
    peer_port: Option<u16>,
}

impl Host {
    /// By agent.toml.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            config: config.isolation.clone(),
            table: format!("{}{TABLE_SUFFIX}", config.gate.table),
            state_dir: config.state_dir.clone(),
            coordinators: config.coordinators.clone(),
            peer_port: config.peer.as_ref().map(|peer| peer.listen.port()),
        }
    }

    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Waits until nobody else changes the isolation.
    fn turn(&self) -> Result<Owner, IsolationError> {
        let until = Instant::now() + TURN_LIMIT;
        loop {
            if let Some(owner) = Owner::take(&self.table) {
                return Ok(owner);
            }
            if Instant::now() >= until {
                return Err(IsolationError::Busy);
            }
            thread::sleep(TURN_EVERY);
        }
    }

    /// Begins one. Idempotent: where the same profile stands, nothing is changed.
    ///
    /// # Errors
    /// [`IsolationError`]; what stood before stands.
    pub fn on(&self, order: &Order) -> Result<Begun, IsolationError> {
        if order.force && order.reason.is_empty() {
            return Err(IsolationError::NoReason);
        }
        if order.span.is_some_and(|span| span > FOR_MAX) {
            return Err(IsolationError::TooLong);
        }
        let _turn = self.turn()?;
        let (before, now) = (Saved::load(&self.state_dir)?, Clocks::now());
        let stands =
            |active: &Active| active.profile == order.profile && active.left(&now) != Some(0);
        if before.active.as_ref().is_some_and(stands) {
            self.follow(&before)?;
            let notes = Vec::new();
            return Ok(Begun { already: true, status: self.status()?, notes });
        }
        let Found { allowed, coordinators, mut notes } = allow::find(self, order);
        let answers = allow::answers(&coordinators);
        if !coordinators.is_empty() && !answers {
            notes.push("no coordinator answers at the moment".into());
        }
        // One that answers can release it, where agent.toml lets it.
        let left = !allowed.administrators.is_empty() || (self.config.remote && answers);
        if !left && !order.force {
            return Err(IsolationError::NobodyLeft);
        }
        let length =
            |span: Duration| now.in_ms(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        let active = Active {
            profile: order.profile,
            reason: order.reason.clone(),
            by: order.by.clone(),
            since_unix_ms: daemon::clock::wall_ms(),
            allowed,
            until: order.span.map(length),
            confirm_until: Some(length(self.config.confirm_within)),
        };
        let mut saved = before.clone();
        saved.act(format!("isolated: {}", order.profile), &order.by, &order.reason);
        saved.active = Some(active.clone());
        // What is to stand is durable before it stands: a machine that dies in
        // between comes up isolated, and reverts if nobody confirms.
        saved.save(&self.state_dir)?;
        if let Err(error) = self.load(&active, &now) {
            before.save(&self.state_dir)?;
            return Err(error);
        }
        if order.profile == Profile::Breach
            && let Err(error) = program::end_connections(&table::strangers(&active.allowed))
        {
            notes.push(format!(
                "open connections were cut and not ended; they may go on after a release: {error}"
            ));
        }
        Ok(Begun { already: false, status: self.status()?, notes })
    }

    /// Keeps it from reverting, if `proof` shows that somebody still gets in.
    ///
    /// # Errors
    /// [`IsolationError`]; above all that there is no such proof.
    pub fn confirm(&self, by: &str, proof: &Proof) -> Result<Status, IsolationError> {
        let _turn = self.turn()?;
        let (mut saved, now) = (Saved::load(&self.state_dir)?, Clocks::now());
        let Some(active) = saved.active.as_mut().filter(|active| active.left(&now) != Some(0))
        else {
            return Err(IsolationError::NotIsolated);
        };
        if active.confirm_until.is_none() {
            return self.status();
        }
        let reason = match proof {
            Proof::Forced(reason) if reason.is_empty() => return Err(IsolationError::NoReason),
            Proof::Forced(reason) => reason.as_str(),
            Proof::Coordinator { anew: false } => {
                let why = "the agent's session with its coordinators did not begin after the \
                           isolation; ask again in a moment";
                return Err(IsolationError::NotFresh(why.into()));
            }
            Proof::Coordinator { anew: true } => "",
            Proof::Ssh(session) => {
                self.check_fresh(*session)?;
                ""
            }
        };
        active.confirm_until = None;
        let active = active.clone();
        saved.act("confirmed", by, reason);
        saved.save(&self.state_dir)?;
        self.load(&active, &now)?;
        self.status()
    }

    fn check_fresh(&self, session: Option<Session>) -> Result<(), IsolationError> {
        let not = |why: String| Err(IsolationError::NotFresh(why));
        let Some(session) = session else {
            return not("this is no SSH connection, or its SSH_CONNECTION is gone".into());
        };
        let (set, key) = table::fresh_key(session.client, session.port);
        let mut kernel = Kernel::open()?;
        let elements = match kernel.elements(&self.table, set) {
            Err(NetlinkError::Missing) => return not("the table is not loaded".into()),
            other => other?,
        };
        if elements.iter().any(|element| element.key == key) {
            return Ok(());
        }
        not(format!(
            "the connection from {} did not begin after the isolation, or not from an \
             administrator's address",
            session.client
        ))
    }

    /// Ends it: nothing but our own table goes, so that all is as it was. Gives
    /// whether there was one.
    ///
    /// # Errors
    /// [`IsolationError`].
    pub fn off(&self, by: &str, reason: &str) -> Result<bool, IsolationError> {
        let _turn = self.turn()?;
        let mut saved = Saved::load(&self.state_dir)?;
        let was = saved.active.take().is_some();
        if was {
            saved.act("released", by, reason);
            saved.save(&self.state_dir)?;
        }
        Ok(self.unload()? || was)
    }

    /// Brings the kernel to what is saved: at boot, and again and again while the
    /// agent runs. Whoever is at it already is not waited for.
    ///
    /// # Errors
    /// [`IsolationError`].
    pub fn keep(&self) -> Result<Kept, IsolationError> {
        let Some(_turn) = Owner::take(&self.table) else { return Ok(Kept::Standing) };
        let mut saved = Saved::load(&self.state_dir)?;
        let kept = self.follow(&saved)?;
        if kept == Kept::Ended
            && let Some(active) = saved.active.take()
        {
            let what = match active.confirm_until {
                Some(_) => "reverted: not confirmed in time",
                None => "reverted: its time was over",
            };
            saved.act(what, "the timer", "");
            saved.save(&self.state_dir)?;
        }
        Ok(kept)
    }

    /// Makes the kernel follow; the caller has the turn.
    fn follow(&self, saved: &Saved) -> Result<Kept, IsolationError> {
        let now = Clocks::now();
        match &saved.active {
            None => Ok(if self.unload()? { Kept::Removed } else { Kept::Nothing }),
            Some(active) if active.left(&now) == Some(0) => {
                self.unload()?;
                Ok(Kept::Ended)
            }
            Some(active) => match Kernel::open()?.elements(&self.table, table::ON) {
                Ok(on) if on.len() == 2 => Ok(Kept::Standing),
                Ok(_) | Err(NetlinkError::Missing) => {
                    self.load(active, &now)?;
                    Ok(Kept::Loaded)
                }
                Err(error) => Err(error.into()),
            },
        }
    }

    fn load(&self, active: &Active, now: &Clocks) -> Result<(), IsolationError> {
        let text = table::text(&self.table, active.profile, &active.allowed, active.left(now));
        Ok(program::load(&text)?)
    }

    /// Removes the table; whether it was there.
    fn unload(&self) -> Result<bool, IsolationError> {
        let mut kernel = Kernel::open()?;
        if kernel.table(&self.table)?.is_none() {
            return Ok(false);
        }
        let mut batch = kernel.batch(&self.table);
        batch.remove_table();
        kernel.commit(batch)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
