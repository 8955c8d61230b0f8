//! Takes a sight: what state, view and observers say of one group now.

use super::{
    DataSight, FeedSight, HostSight, ServiceFault, Sight, SiteSight, copies::copies, stale::stale,
};
use crate::{
    failsafe,
    feed::{self, FeedState},
    observers::{Observers, Own},
    state::{Group, State},
    view::{HostView, View},
};
use alloc::{format, string::String, vec::Vec};
use model::{
    GateState, HostId, Millis, Mono, ProbeKind, ServiceState, SiteId, StandbyMode, Wall,
    WatchdogState,
};

/// What a sight needs besides state and view.
#[derive(Clone, Copy)]
pub(crate) struct Standpoint<'a> {
    /// This leader's clock.
    pub(crate) mono: Mono,
    /// Its wall clock.
    pub(crate) wall: Wall,
    /// Since when it has been watching.
    pub(crate) since: Mono,
    /// Since when it has been leading: before that no agent could get a lease
    /// from it, so no service's state counts against anybody.
    pub(crate) elected: Mono,
    /// When this coordinator saw the group's last plan end, if it did.
    pub(crate) settled: Option<Mono>,
    /// Since when it has been watching without a stall of its own (C5).
    pub(crate) steady: Mono,
    /// What this coordinator heard itself.
    pub(crate) view: &'a View,
    /// What the voters say.
    pub(crate) observers: &'a Observers,
}

impl Sight {
    /// Looks at `group` from `standpoint`.
    pub(crate) fn take(state: &State, group: &Group, from: Standpoint<'_>) -> Self {
        let spec = &group.spec;
        let site = |name: &SiteId, hosts: &[HostId]| SiteSight {
            site: name.clone(),
            hosts: hosts.iter().map(|host| host_sight(state, group, host, name, from)).collect(),
        };
        Self {
            at: from.wall,
            group: spec.name.clone(),
            active: group.active.clone(),
            epoch: group.epoch,
            primary: spec.primary.clone(),
            held: state.held(group).or_else(|| stopped(group, from.view)),
            plan: group.plan,
            // A wall clock that was ahead must not hold automation up for long.
            cool_down_left: from
                .settled
                .map_or(Millis(u64::MAX), |settled| {
                    spec.cool_down.saturating_sub(from.mono.since(settled))
                })
                .min(group.cool_down_left(from.wall)),
            automatic: spec.automatic,
            on_service_failed: spec.on_service_failed,
            proof_needed: spec.automatic_failover_needs,
            timing: spec.timing(),
            watched: from.mono.since(from.since),
            sites: spec.sites.iter().map(|s| site(&s.name, &s.hosts)).collect(),
            voters: Some(from.observers.voters().to_vec()),
            on_feed_silent: spec.on_feed_silent,
            max_data_lag: spec.max_data_lag,
            fence_hooks: Vec::new(),
            newcomers: failsafe::newcomers(group),
        }
    }
}

/// A host of the group on which somebody stopped it in an emergency, when last
/// heard: then nothing of it starts anywhere by itself.
fn stopped(group: &Group, view: &View) -> Option<String> {
    let hosts = group.spec.sites.iter().flat_map(|site| &site.hosts);
    hosts.filter_map(|host| view.host(host)).find_map(|seen| {
        let mut groups = seen.heartbeat.groups.iter();
        let stopped = groups.find(|of| of.group == group.spec.name && of.stopped)?;
        Some(format!("{}: {}", seen.heartbeat.host, stopped.barred))
    })
}

fn host_sight(
    state: &State,
    group: &Group,
    host: &HostId,
    site: &SiteId,
    from: Standpoint<'_>,
) -> HostSight {
    let timing = group.spec.timing();
    let seen = from.view.host(host);
    let silence = seen.map(|seen| from.mono.since(seen.heard));
    let own = Own { silence, steady: from.mono.since(from.steady) };
    let mut sight = HostSight {
        host: host.clone(),
        silence,
        gate: None,
        faults: Vec::new(),
        unknown: Vec::new(),
        undeclared: Vec::new(),
        observers: from.observers.of(host, own, &timing, from.mono),
        heard_by_others: from.observers.heard_ago(host, from.mono),
        stale: None,
        // Also where its agent has not heard of it yet.
        barred: state.stop_words(&group.spec.name, host),
        feeds: Vec::new(),
        data: Vec::new(),
        watchdog: WatchdogState::Absent,
        copies: Vec::new(),
    };
    let Some(seen) = seen else { return sight };
    let standing = seen.heartbeat.groups.iter().find(|g| g.group == group.spec.name);
    sight.gate = standing.map(|g| g.gate);
    let barred = standing.map(|g| g.barred.clone()).filter(|why| !why.is_empty());
    sight.barred = barred.or(sight.barred);
    sight.watchdog = match seen.heartbeat.watchdog {
        // One whose time nobody knows proves nothing (C4).
        WatchdogState::Armed if seen.heartbeat.resets_within().is_none() => WatchdogState::Disarmed,
        other => other,
    };
    services(&mut sight, group, site, seen, from);
    if group.active.as_ref() != Some(site) {
        sight.stale = stale(group, seen);
    }
    sight.feeds = feeds(group, seen, from);
    sight.data = data(seen, silence.unwrap_or_default());
    sight.copies = copies(&group.spec.name, seen, silence.unwrap_or_default());
    sight
}

/// From when on a state of affairs counts: not before this leadership, nor
/// before the last plan's end.
fn counted_from(from: Standpoint<'_>) -> Mono {
    from.elected.max(from.settled.unwrap_or_default())
}

/// The group's services that are not as they should be here, those of which that
/// is not known, and those that agent.toml does not declare as the group does.
fn services(
    sight: &mut HostSight,
    group: &Group,
    site: &SiteId,
    seen: &HostView,
    from: Standpoint<'_>,
) {
    let spec = &group.spec;
    let site = spec.site(site);
    let expected = spec.services.iter().filter(|service| {
        site.and_then(|site| spec.host_for(service, site)).as_ref() == Some(&sight.host)
    });
    for service in expected.collect::<Vec<_>>() {
        let status = seen
            .heartbeat
            .services
            .iter()
            .find(|s| s.service == service.name && s.group == spec.name);
        let Some(status) = status.filter(|status| status.exclusive == service.exclusive) else {
            sight.undeclared.push(service.name.clone());
            continue;
        };
        let bad = match status.state {
            ServiceState::Stopped | ServiceState::Unhealthy | ServiceState::Failed => true,
            // Unknown is not false: a driver that cannot tell proves nothing.
            ServiceState::Starting | ServiceState::Running | ServiceState::Unknown => false,
        };
        if service.exclusive && status.state == ServiceState::Unknown {
            sight.unknown.push((service.name.clone(), status.detail.clone()));
        }
        if service.exclusive && bad {
            let since = seen.since.get(&service.name).map_or(from.mono, |(_, since)| *since);
            sight.faults.push(ServiceFault {
                service: service.name.clone(),
                state: status.state,
                detail: status.detail.clone(),
                lasting: from.mono.since(since.max(counted_from(from))),
            });
        }
    }
}

/// The group's feeds as this host hears them (C8).
fn feeds(group: &Group, seen: &HostView, from: Standpoint<'_>) -> Vec<FeedSight> {
    let gated = behind_gate(group, seen);
    let readings = seen.heartbeat.readings.iter();
    readings
        .filter(|reading| {
            reading.kind == ProbeKind::Zeromq && group.spec.feeds.contains(&reading.probe)
        })
        .map(|reading| {
            let mut state = FeedState::of(reading);
            let mut detail: String = reading.summary.clone();
            if gated && state == FeedState::Silent {
                // The gate is shut between it and the market: silence proves nothing.
                state = FeedState::Unknown;
                detail = "its publisher waits behind the closed gate".into();
            }
            let since = seen.feeds.get(&reading.probe).map_or(from.mono, |(_, since)| *since);
            let lasting = from.mono.since(since.max(counted_from(from)));
            FeedSight { feed: reading.probe.clone(), state, lasting, detail }
        })
        .collect()
}

/// Whether a service of the group runs there behind the closed gate.
fn behind_gate(group: &Group, seen: &HostView) -> bool {
    let name = &group.spec.name;
    let closed =
        seen.heartbeat.groups.iter().any(|g| g.group == *name && g.gate == GateState::Closed);
    closed
        && seen.heartbeat.services.iter().any(|service| {
            service.group == *name && service.exclusive && service.standby == StandbyMode::Gated
        })
}

/// Every watermark of the host. A reading does not name its group, so all count.
fn data(seen: &HostView, silence: Millis) -> Vec<DataSight> {
    let readings = seen.heartbeat.readings.iter();
    readings
        .filter(|reading| reading.kind == ProbeKind::Watermark)
        .map(|reading| DataSight {
            probe: reading.probe.clone(),
            lag: feed::lag(reading),
            age: reading.age + silence,
            detail: reading.summary.clone(),
        })
        .collect()
}
