//! Tells agents where their groups stand: when a session opens, and whenever
//! that has changed.

use super::Engine;
use crate::{effect::Effect, failsafe};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use model::{GroupId, HostId};

impl Engine {
    pub(super) fn assign(&self, host: &HostId, out: &mut Vec<Effect>) {
        if let Some(leading) = self.leading {
            let groups = failsafe::assignments(&self.state, &self.view, host);
            let order = self.state.orders.get(host).cloned();
            let stops = self.state.stops.get(host).into_iter().flat_map(BTreeMap::values).cloned();
            let (host, term, stops) = (host.clone(), leading.term, stops.collect());
            out.push(Effect::Assign { host, term, groups, order, stops });
        }
    }

    pub(super) fn assign_all(&self, out: &mut Vec<Effect>) {
        let hosts: BTreeSet<&HostId> = self.state.named_hosts().collect();
        hosts.into_iter().for_each(|host| self.assign(host, out));
    }

    /// Every host of one group: where its plan stands decides whether its
    /// agents may promise (A6).
    pub(super) fn assign_group(&self, group: &GroupId, out: &mut Vec<Effect>) {
        let sites = self.state.groups.get(group).map(|g| g.spec.sites.as_slice());
        let hosts = sites.unwrap_or_default().iter().flat_map(|site| &site.hosts);
        hosts.for_each(|host| self.assign(host, out));
    }

    /// `host` is reached at another address than before: those that may have to
    /// ask it for promises must know.
    pub(super) fn readdressed(&self, host: &HostId, out: &mut Vec<Effect>) {
        for group in self.state.groups.values() {
            let asked = group.failsafe.as_ref().is_some_and(|hosts| hosts.contains(host));
            let active = group.active.as_ref().and_then(|name| group.spec.site(name));
            if let Some(site) = active.filter(|site| asked && !site.hosts.contains(host)) {
                site.hosts.iter().for_each(|other| self.assign(other, out));
            }
        }
    }
}
