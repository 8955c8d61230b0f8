//! Who takes part: three voters, two hosts, and the group that is protected.

use crate::rng::Rng;
use failover::{GroupSpec, OnFeedSilent, OnServiceFailed, ProofLevel, ServiceSpec, SiteSpec};
use model::{GroupId, HostId, Millis, NameError, ServiceName, SiteId};
use std::collections::BTreeMap;

/// A node's number.
pub type Node = usize;
/// The first coordinator.
pub const C1: Node = 0;
/// The second coordinator.
pub const C2: Node = 1;
/// The witness.
pub const W: Node = 2;
/// The primary site's host.
pub const P1: Node = 3;
/// The standby site's host.
pub const S1: Node = 4;
/// All of them.
pub const NODES: usize = 5;
/// How many of them vote; they come first.
pub const VOTERS: usize = 3;
/// Their names.
pub const NAMES: [&str; NODES] = ["c1", "c2", "w", "p1", "s1"];

/// The place of a host among the hosts.
#[must_use]
pub const fn place(host: Node) -> usize {
    host - VOTERS
}

/// The names that every message carries, made once.
#[derive(Debug, Clone)]
pub struct Names {
    /// The group.
    pub group: GroupId,
    /// Its exclusive service.
    pub service: ServiceName,
    /// The hosts, primary first.
    pub hosts: [HostId; 2],
    /// Their sites.
    pub sites: [SiteId; 2],
}

impl Names {
    /// The names.
    ///
    /// # Errors
    /// None with the words that stand here.
    pub fn new() -> Result<Self, NameError> {
        Ok(Self {
            group: GroupId::new("fx")?,
            service: ServiceName::new("bridge")?,
            hosts: [HostId::new("p1")?, HostId::new("s1")?],
            sites: [SiteId::new("primary")?, SiteId::new("standby")?],
        })
    }

    /// The node of this host.
    #[must_use]
    pub fn node(&self, host: &HostId) -> Option<Node> {
        self.hosts.iter().position(|known| known == host).map(|at| at + VOTERS)
    }

    /// The node of this site's only host.
    #[must_use]
    pub fn site_node(&self, site: &SiteId) -> Option<Node> {
        self.sites.iter().position(|known| known == site).map(|at| at + VOTERS)
    }
}

/// What differs from run to run besides the faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// T.
    pub lease: Millis,
    /// The proof that an automatic failover needs.
    pub proof: ProofLevel,
    /// Whether the active site may go on by promises (A6).
    pub failsafe: bool,
    /// Whether the service waits running, behind the closed gate.
    pub gated: bool,
    /// The cool-down after a failover.
    pub cool_down: Millis,
    /// Clock rates, in millionths wrong.
    pub ppm: [i64; NODES],
    /// What the clocks show at the start, in seconds.
    pub base: [u64; NODES],
    /// How wrong the wall clocks are, in milliseconds.
    pub wall: [i64; NODES],
    /// How much later than programmed the gates close: nothing, but in the test
    /// that shows that it would be found.
    pub late_gate: Millis,
    /// Whether a promise is answered before the epoch that it rests on is durable:
    /// never, but in the test that shows that it would be found.
    pub hasty_promises: bool,
    /// Fastest and slowest way of a message, in microseconds.
    pub delay: (u64, u64),
    /// Fastest and slowest durable write, in microseconds.
    pub disk: (u64, u64),
    /// Fastest and slowest start of the service, in milliseconds.
    pub start: (u64, u64),
}

impl Setting {
    /// A quiet office: for phases that must come about the same way every time.
    #[must_use]
    pub fn plain(lease: Millis) -> Self {
        Self {
            lease,
            proof: ProofLevel::LapsedBehindGate,
            failsafe: true,
            gated: false,
            cool_down: Millis(1000),
            ppm: [0, 3000, -3000, 10_000, -10_000],
            base: [1000, 2000, 3000, 4000, 5000],
            wall: [0; NODES],
            late_gate: Millis::ZERO,
            hasty_promises: false,
            delay: (200, 800),
            disk: (200, 1000),
            start: (40, 120),
        }
    }

    /// Drawn.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let lease = rng.pick(&[500, 500, 750, 1000, 2000]).unwrap_or(500);
        let mut setting = Self::plain(Millis(lease));
        setting.proof = rng
            .pick(&[ProofLevel::LapsedBehindGate, ProofLevel::Lapsed])
            .unwrap_or(ProofLevel::Lapsed);
        setting.gated = rng.permille(400);
        setting.failsafe = rng.permille(600);
        setting.cool_down = Millis(rng.pick(&[0, 500, 3000]).unwrap_or(0));
        for node in 0..NODES {
            // A third of the clocks is as wrong as the bounds allow for.
            let limit = 10_000;
            let drawn = i64::try_from(rng.between(0, 2 * limit)).unwrap_or(0);
            let limit = i64::try_from(limit).unwrap_or(0);
            setting.ppm[node] = match rng.between(0, 5) {
                0 => limit,
                1 => -limit,
                _ => drawn - limit,
            };
            setting.base[node] = rng.between(10, 1_000_000);
            setting.wall[node] = i64::try_from(rng.between(0, 10_000)).unwrap_or(0) - 5000;
        }
        setting.delay = rng.pick(&[(100, 500), (200, 2000), (2000, 15_000)]).unwrap_or((200, 800));
        setting.disk = rng.pick(&[(50, 300), (200, 4000), (1000, 20_000)]).unwrap_or((200, 1000));
        setting.start = rng.pick(&[(5, 30), (40, 400), (200, 1500)]).unwrap_or((40, 120));
        setting
    }

    /// The group's policy.
    #[must_use]
    pub fn spec(&self, names: &Names) -> GroupSpec {
        let site = |at: usize, address: &str| SiteSpec {
            name: names.sites[at].clone(),
            hosts: vec![names.hosts[at].clone()],
            addresses: vec![address.to_owned()],
        };
        GroupSpec {
            minimums: failover::Minimums::default(),
            name: names.group.clone(),
            lease: self.lease,
            automatic_failover_needs: self.proof,
            automatic: true,
            dwell: self.lease,
            cool_down: self.cool_down,
            on_service_failed: OnServiceFailed::Failover,
            primary: names.sites[0].clone(),
            sites: vec![site(0, "192.0.2.1"), site(1, "192.0.2.2")],
            services: vec![ServiceSpec {
                name: names.service.clone(),
                exclusive: true,
                after: vec![],
                start_timeout: Millis(5000),
                hosts: BTreeMap::new(),
            }],
            feeds: vec![],
            on_feed_silent: OnFeedSilent::Hold,
            max_data_lag: None,
            failsafe: self.failsafe,
            fence: vec![],
            two_operators: false,
        }
    }
}
