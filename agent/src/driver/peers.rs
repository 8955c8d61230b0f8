//! The coordinators that this agent calls.
//!
//! Sends without ever waiting. The list follows the coordinators' welcomes
//! (unless agent.toml names them) and is kept in coordinators.json.

use crate::{
    coordinators::{self, COORDINATORS_MAX},
    session::{Caller, Calls},
};
use model::{LeaseRequest, StepReport};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;

struct Peer {
    address: String,
    /// Ends the calls when the peer is dropped.
    _calls: Calls,
    reports: Option<mpsc::Sender<StepReport>>,
    requests: Option<mpsc::Sender<LeaseRequest>>,
}

pub(super) struct Peers {
    caller: Caller,
    state_dir: PathBuf,
    fixed: bool,
    list: Vec<String>,
    count: usize,
    peers: BTreeMap<usize, Peer>,
}

impl Peers {
    pub(super) fn new(caller: Caller, state_dir: &Path, list: Vec<String>, fixed: bool) -> Self {
        let mut peers = Self {
            caller,
            state_dir: state_dir.into(),
            fixed,
            list: Vec::new(),
            count: 0,
            peers: BTreeMap::new(),
        };
        peers.call(list);
        peers
    }

    /// Calls those that are new, and those not in the list no longer.
    fn call(&mut self, list: Vec<String>) {
        self.peers.retain(|_, peer| list.contains(&peer.address));
        for address in &list {
            let called = self.peers.values().any(|peer| peer.address == *address);
            if !called && self.peers.len() < COORDINATORS_MAX {
                self.count += 1;
                let calls = Calls::begin(&self.caller, self.count, address);
                let (address, _calls) = (address.clone(), calls);
                let peer = Peer { address, _calls, reports: None, requests: None };
                self.peers.insert(self.count, peer);
            }
        }
        self.list = list;
    }

    /// Calls every coordinator anew. Gives the highest number until now: whatever
    /// has a higher one is a connection that began afterwards.
    pub(super) fn redial(&mut self) -> usize {
        let last = self.count;
        self.peers.clear();
        self.call(self.list.clone());
        last
    }

    /// What was heard from one that is not called any more counts for nothing.
    pub(super) fn knows(&self, peer: usize) -> bool {
        self.peers.contains_key(&peer)
    }

    pub(super) fn session_up(&mut self, peer: usize, reports: mpsc::Sender<StepReport>) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.reports = Some(reports);
        }
    }

    pub(super) fn session_down(&mut self, peer: usize) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.reports = None;
        }
    }

    pub(super) fn lease_up(&mut self, peer: usize, requests: mpsc::Sender<LeaseRequest>) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.requests = Some(requests);
        }
    }

    pub(super) fn lease_down(&mut self, peer: usize) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.requests = None;
        }
    }

    /// A coordinator says where coordinators are.
    pub(super) fn welcomed(&mut self, mut list: Vec<String>) {
        list.retain(|address| coordinators::is_address(address));
        if self.fixed || list.is_empty() {
            return;
        }
        // One that answers stays: whoever left it out may be behind.
        let live = self.peers.values().filter(|peer| peer.reports.is_some());
        list.extend(live.map(|peer| peer.address.clone()));
        list.sort();
        list.dedup();
        list.truncate(COORDINATORS_MAX);
        let mut known = self.list.clone();
        known.sort();
        if list == known {
            return;
        }
        tracing::info!(coordinators = ?list, "the coordinators have changed");
        self.call(list.clone());
        let state_dir = self.state_dir.clone();
        // Not waited for: after a crash the older list serves as well, as long
        // as one of its coordinators is there.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = coordinators::save(&state_dir, &list) {
                tracing::warn!(%error, "the list of coordinators is not stored");
            }
        });
    }

    /// To every coordinator that listens; one whose queue is full gets the next.
    pub(super) fn ask(&self, request: &LeaseRequest) {
        for requests in self.peers.values().filter_map(|peer| peer.requests.as_ref()) {
            let _ = requests.try_send(request.clone());
        }
    }

    /// To every coordinator with a session; the others get it when they come back.
    pub(super) fn report(&self, report: &StepReport) {
        for peer in self.peers.values() {
            peer.report(report);
        }
    }

    pub(super) fn report_to(&self, peer: usize, report: &StepReport) {
        if let Some(peer) = self.peers.get(&peer) {
            peer.report(report);
        }
    }
}

impl Peer {
    fn report(&self, report: &StepReport) {
        let Some(reports) = &self.reports else { return };
        if reports.try_send(report.clone()).is_err() {
            tracing::warn!(
                coordinator = self.address, id = %report.id,
                "it takes no reports now; it gets this one again when it comes back or asks"
            );
        }
    }
}
