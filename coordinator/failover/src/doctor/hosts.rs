//! What each host brings to a failover: gate, watchdog, data, feeds.

use super::{Check, CheckResult};
use crate::{
    decision::data_ready,
    feed::FeedState,
    policy::OnFeedSilent,
    sight::{HostSight, Sight, SiteSight},
    state::Group,
    suspicion::Standing,
    view::View,
};
use alloc::{format, string::String, vec::Vec};
use model::{GateState, WatchdogState};

/// The kernel gate: absent, and why.
pub(super) fn gate(
    group: &Group,
    host: &HostSight,
    view: &View,
    standing: Standing,
) -> Option<Check> {
    let seen = view.host(&host.host)?;
    let part = seen.heartbeat.groups.iter().find(|g| g.group == group.spec.name)?;
    let why = &part.gate_detail;
    let more = if why.is_empty() { String::new() } else { format!(": {why}") };
    let (result, found) = match part.gate {
        known if standing != Standing::Alive => {
            (CheckResult::Unknown, format!("{known} when last heard{more}"))
        }
        GateState::Absent => (CheckResult::Warn, format!("no kernel gate{more}")),
        GateState::Closed | GateState::Open if !why.is_empty() => {
            (CheckResult::Warn, format!("armed, {}{more}", part.gate))
        }
        GateState::Closed | GateState::Open => (CheckResult::Ok, format!("armed, {}", part.gate)),
    };
    let hint = match part.gate {
        GateState::Absent => format!(
            "on {}: see to the reason, or install nftables and start the agent with the right to \
             use it; without a gate a silent host is fenced at proof level 1 only",
            host.host
        ),
        GateState::Closed | GateState::Open => {
            format!("on {}: understudy-agent gate status", host.host)
        }
    };
    Some(Check::new("gate", host.host.as_str(), result, found, hint))
}

/// The watchdog device, which is optional.
pub(super) fn watchdog(host: &HostSight, view: &View, active: bool) -> Option<Check> {
    let seen = view.host(&host.host)?;
    let (result, found) = match seen.heartbeat.watchdog {
        WatchdogState::Absent => (CheckResult::Ok, "none is configured"),
        WatchdogState::Armed => (CheckResult::Ok, "armed"),
        WatchdogState::Disarmed if active => {
            (CheckResult::Warn, "configured, and not running on the active site")
        }
        WatchdogState::Disarmed => (CheckResult::Ok, "configured; armed before an activation"),
    };
    let hint = format!("on {}: look for watchdog in the agent's log", host.host);
    Some(Check::new("watchdog", host.host.as_str(), result, found, hint))
}

/// A host that has not rejoined as a standby.
pub(super) fn stale(host: &HostSight) -> Option<Check> {
    let why = host.stale.as_ref()?;
    let found = format!("stale epoch: {why}");
    let hint = format!(
        "it is no target until it has rejoined as a standby; on {}: systemctl status understudy-agent",
        host.host
    );
    Some(Check::new("stale-epoch", host.host.as_str(), CheckResult::Failed, found, hint))
}

/// How far the data of a site that could take over lags behind (C5).
pub(super) fn watermark(sight: &Sight, site: &SiteSight) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for host in &site.hosts {
        for data in &host.data {
            let (result, found) = match data.lag {
                Some(lag) => {
                    (CheckResult::Ok, format!("{}: {lag} behind, {} ago", data.probe, data.age))
                }
                None => (CheckResult::Unknown, format!("{}: {}", data.probe, data.detail)),
            };
            let hint = format!("run the watermark command by hand on {}", host.host);
            checks.push(Check::new("watermark", host.host.as_str(), result, found, hint));
        }
    }
    if let Some(most) = sight.max_data_lag {
        let hint = "mend the replication, or raise max_data_lag in the group file";
        let (result, found) = match data_ready(sight, site) {
            Ok(()) => (CheckResult::Ok, format!("within {most}")),
            Err(why) => (CheckResult::Failed, why),
        };
        checks.push(Check::new("watermark", site.site.as_str(), result, found, hint));
    }
    checks
}

/// Every feed on every site, where the market rule needs more than one (C8).
pub(super) fn feeds(group: &Group, sight: &Sight) -> Vec<Check> {
    if group.spec.on_feed_silent == OnFeedSilent::Hold {
        return Vec::new();
    }
    let mut checks = Vec::new();
    for feed in &group.spec.feeds {
        let mut elsewhere = false;
        let mut words = Vec::new();
        for site in &sight.sites {
            let here = site.hosts.iter().flat_map(|host| &host.feeds).filter(|f| f.feed == *feed);
            let states: Vec<FeedState> = here.map(|seen| seen.state).collect();
            let heard = states.contains(&FeedState::Hears);
            let silent = states.contains(&FeedState::Silent);
            elsewhere |= (heard || silent) && sight.active.as_ref() != Some(&site.site);
            let word = match (heard, silent) {
                (true, _) => "heard",
                (false, true) => "silent",
                (false, false) => "unknown",
            };
            words.push(format!("{} {word}", site.site));
        }
        let (result, hint) = if elsewhere {
            (CheckResult::Ok, "")
        } else {
            (
                CheckResult::Warn,
                "on_feed_silent = \"failover\" needs a publisher on another site that runs while \
                 it waits, or a silence can never be told from a closed market",
            )
        };
        checks.push(Check::new("feed", feed.as_str(), result, words.join(", "), hint));
    }
    checks
}
