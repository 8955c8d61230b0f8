//! Could the group fail over now? Check by check, with what to do.

mod backups;
mod hosts;
mod observers;
mod ready;
mod recovery;

pub use ready::Readiness;

use crate::{
    decision::could_serve,
    fence::ProofLevel,
    sight::{HostSight, Sight, SiteSight},
    state::{Group, State},
    suspicion::Standing,
    view::View,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::{GateState, HostId, ProbeKind, ServiceState, StandbyMode, Verdict};

/// What one check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckResult {
    /// As it should be.
    Ok,
    /// It could not be told.
    Unknown,
    /// A failover would work, with a drawback.
    Warn,
    /// A failover would not work.
    Failed,
}

impl CheckResult {
    /// The word used everywhere for this result.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Failed => "failed",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, stable.
    pub name: &'static str,
    /// The host or site it concerns; empty for the whole group.
    pub subject: String,
    /// What it found.
    pub result: CheckResult,
    /// The finding in words, with its threshold.
    pub found: String,
    /// What to do; empty when ok.
    pub hint: String,
}

impl Check {
    /// A check with its finding.
    #[must_use]
    pub fn new(
        name: &'static str,
        subject: impl Into<String>,
        result: CheckResult,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let hint = if result == CheckResult::Ok { String::new() } else { hint.into() };
        Self { name, subject: subject.into(), result, found: found.into(), hint }
    }
}

/// Every check of one group.
#[must_use]
pub fn examine(state: &State, group: &Group, view: &View, sight: &Sight) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.push(automation(state, group, sight));
    checks.push(proof(group, sight));
    checks.extend(observers::observers(sight));
    checks.extend(hosts::feeds(group, sight));
    checks.extend(hooks(group, sight));
    checks.extend(promises(group, view));
    for site in &sight.sites {
        let active = sight.active.as_ref() == Some(&site.site);
        for host in &site.hosts {
            checks.push(contact(sight, host));
            checks.extend(hosts::gate(group, host, view, sight.standing(host)));
            checks.extend(hosts::watchdog(host, view, active));
            checks.extend(hosts::stale(host));
            if let Some(seen) = view.host(&host.host) {
                checks.extend(recovery::recovery(group, seen, active));
            }
        }
        if active {
            checks.extend(active_services(site));
        } else {
            checks.push(target(sight, site));
            checks.extend(hosts::watermark(sight, site));
            checks.extend(standby_services(group, site, view));
        }
        checks.extend(readings(group, site, view, active));
        checks.extend(backups::backups(site));
        checks.extend(declarations(group, site, view));
    }
    checks
}

fn automation(state: &State, group: &Group, sight: &Sight) -> Check {
    let name = "automation";
    if let Some(why) = state.emergency(&group.spec.name) {
        let hint = format!("coordctl emergency-stop --release {}", group.spec.name);
        return Check::new(name, "", CheckResult::Failed, why, hint);
    }
    if let Some(why) = state.held(group) {
        let hint = match state.hold {
            Some(_) => "coordctl resume --all".to_string(),
            None => format!("coordctl resume {}", group.spec.name),
        };
        return Check::new(name, "", CheckResult::Warn, format!("held: {why}"), hint);
    }
    if !group.spec.automatic {
        let hint = "set automatic = true in the group file, or be on call";
        return Check::new(name, "", CheckResult::Warn, "failover waits for a person", hint);
    }
    if sight.cool_down_left.0 > 0 {
        let found = format!("the cool-down has {} left", sight.cool_down_left);
        let hint = "until then failover needs: coordctl failover";
        return Check::new(name, "", CheckResult::Warn, found, hint);
    }
    Check::new(name, "", CheckResult::Ok, "failover starts by itself", "")
}

/// The proof that would be reached if the active site were silent.
fn proof(group: &Group, sight: &Sight) -> Check {
    let needed = sight.proof_needed;
    let Some(active) = sight.active.as_ref().and_then(|name| sight.site(name)) else {
        return Check::new(
            "proof",
            "",
            CheckResult::Unknown,
            "no site is active yet",
            "wait for the first start",
        );
    };
    let lapse = active.hosts.iter().map(HostSight::by_lapse).min().unwrap_or(ProofLevel::Lapsed);
    let hook = sight.fence_hooks.iter().max_by_key(|hook| hook.level);
    let silent = hook.map_or(lapse, |hook| hook.level.max(lapse)).number();
    let by_hook =
        hook.map(|hook| format!(" (if hook {} confirms it)", hook.name)).unwrap_or_default();
    let found = format!(
        "a silent {} is fenced at level {silent}{by_hook}, an answering one at level 3; \
         automatic failover needs {}",
        active.site,
        needed.number()
    );
    if silent >= needed.number() {
        return Check::new("proof", active.site.as_str(), CheckResult::Ok, found, "");
    }
    let hint = format!(
        "arm what proves more there (kernel gate or watchdog: 2, fence hooks: 4 and 5), or write \
         automatic_failover_needs = {silent} into {}'s group file; or fail over by hand with \
         --accept-proof {silent}",
        group.spec.name
    );
    Check::new("proof", active.site.as_str(), CheckResult::Failed, found, hint)
}

/// Every fence hook that the group names must be there, on each coordinator.
fn hooks(group: &Group, sight: &Sight) -> Vec<Check> {
    let there = |name: &String| sight.fence_hooks.iter().find(|hook| hook.name == *name);
    let one = |name: &String| match there(name) {
        Some(hook) => {
            let found = format!("its word is worth proof level {}", hook.level);
            Check::new("fence-hook", name.as_str(), CheckResult::Ok, found, "")
        }
        None => Check::new(
            "fence-hook",
            name.as_str(),
            CheckResult::Failed,
            "this coordinator has no such hook at level 4 or 5",
            "add [[fence]] with this name to coordinator.toml on every coordinator",
        ),
    };
    group.spec.fence.iter().map(one).collect()
}

/// Failsafe needs an address of every host whose promise may be asked for (A6).
fn promises(group: &Group, view: &View) -> Vec<Check> {
    let name = "failsafe";
    let Some(frozen) = &group.failsafe else {
        let found = "allowed by the policy, but not in this epoch";
        let hint = "it takes effect with the next switchover";
        let pending = group.spec.failsafe && group.active.is_some();
        return Vec::from_iter(
            pending.then(|| Check::new(name, "", CheckResult::Warn, found, hint)),
        );
    };
    let mute = |host: &&HostId| view.host(host).is_none_or(|seen| seen.heartbeat.peer.is_empty());
    let one = |host: &HostId| {
        let found = "it serves no other agents, so nobody can ask it for a promise";
        let hint = "give agent.toml there an address for its peers";
        Check::new(name, host.as_str(), CheckResult::Warn, found, hint)
    };
    let active = group.active.as_ref().and_then(|site| group.spec.site(site));
    let own = |host: &&HostId| active.is_some_and(|site| site.hosts.contains(host));
    frozen.iter().filter(|host| !own(host)).filter(mute).map(one).collect()
}

fn contact(sight: &Sight, host: &HostSight) -> Check {
    let standing = sight.standing(host);
    let found = match host.silence {
        Some(silence) => format!(
            "{}, heard {silence} ago (suspect after {})",
            standing.word(),
            sight.timing.suspicion
        ),
        None => "never heard by this leader".to_string(),
    };
    let result = match standing {
        Standing::Alive => CheckResult::Ok,
        Standing::Suspect { .. } | Standing::Lost => CheckResult::Failed,
        Standing::NeverHeard => CheckResult::Unknown,
    };
    let hint = format!("on {}: systemctl status understudy-agent", host.host);
    Check::new("contact", host.host.as_str(), result, found, hint)
}

fn target(sight: &Sight, site: &SiteSight) -> Check {
    match could_serve(sight, site) {
        Ok(()) => Check::new("target", site.site.as_str(), CheckResult::Ok, "could take over", ""),
        Err(why) => {
            let hint = "until this is mended there is nowhere to fail over to";
            Check::new("target", site.site.as_str(), CheckResult::Failed, why, hint)
        }
    }
}

fn active_services(site: &SiteSight) -> Vec<Check> {
    let mut checks = Vec::new();
    for host in &site.hosts {
        checks.extend(host.faults.iter().map(|fault| {
            let found = format!(
                "{} is {} for {}: {}",
                fault.service, fault.state, fault.lasting, fault.detail
            );
            let hint = format!("look at {} on {}", fault.service, host.host);
            Check::new("service", host.host.as_str(), CheckResult::Failed, found, hint)
        }));
        checks.extend(host.unknown.iter().map(|(service, detail)| {
            let found = format!("{service} is unknown: {detail}");
            let hint = format!("is Docker up on {}?", host.host);
            Check::new("service", host.host.as_str(), CheckResult::Unknown, found, hint)
        }));
    }
    checks
}

/// On a standby an exclusive service waits stopped: anything else is worth a word.
fn standby_services(group: &Group, site: &SiteSight, view: &View) -> Vec<Check> {
    let mut checks = Vec::new();
    for host in &site.hosts {
        let Some(seen) = view.host(&host.host) else { continue };
        for service in seen.heartbeat.services.iter().filter(|s| s.group == group.spec.name) {
            let gated = service.standby == StandbyMode::Gated
                && host.gate == Some(GateState::Closed)
                && service.state == ServiceState::Running;
            if gated {
                continue;
            }
            let (result, hint) = match (service.exclusive, service.state) {
                (true, ServiceState::Stopped) | (false, ServiceState::Running) => continue,
                (
                    true,
                    ServiceState::Running | ServiceState::Starting | ServiceState::Unhealthy,
                ) => (CheckResult::Failed, "it must not run here; the agent stops it"),
                (_, ServiceState::Unknown) => (CheckResult::Unknown, "is Docker up on that host?"),
                (_, _) => (CheckResult::Warn, "look at its log before you need it"),
            };
            let found = format!("{} is {}: {}", service.service, service.state, service.detail);
            checks.push(Check::new("service", host.host.as_str(), result, found, hint));
        }
    }
    checks
}

fn readings(group: &Group, site: &SiteSight, view: &View, active: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    for host in &site.hosts {
        let Some(seen) = view.host(&host.host) else { continue };
        for reading in &seen.heartbeat.readings {
            // These have checks of their own.
            if matches!(reading.kind, ProbeKind::Tcp | ProbeKind::Recovery) {
                continue;
            }
            let feed = group.spec.feeds.contains(&reading.probe);
            let result = match reading.verdict {
                Verdict::Ok => CheckResult::Ok,
                // A waiting site's own feeds are silent, as they should be.
                Verdict::Unknown | Verdict::Critical | Verdict::Warn if feed && !active => continue,
                // A watermark has a check of its own.
                Verdict::Unknown | Verdict::Critical | Verdict::Warn
                    if reading.kind == ProbeKind::Watermark && !active =>
                {
                    continue;
                }
                Verdict::Unknown => CheckResult::Unknown,
                Verdict::Warn => CheckResult::Warn,
                Verdict::Critical => CheckResult::Failed,
            };
            let found = format!("{}: {}", reading.probe, reading.summary);
            let hint = format!("look at {} on {}", reading.probe, host.host);
            checks.push(Check::new("probe", host.host.as_str(), result, found, hint));
        }
    }
    checks
}

/// agent.toml and the group file must agree.
fn declarations(group: &Group, site: &SiteSight, view: &View) -> Vec<Check> {
    let mut checks = Vec::new();
    for host in &site.hosts {
        let Some(seen) = view.host(&host.host) else { continue };
        let wrong = group.spec.services.iter().find_map(|wanted| {
            let there = seen.heartbeat.services.iter().find(|s| s.service == wanted.name)?;
            (there.exclusive != wanted.exclusive).then_some(&wanted.name)
        });
        if let Some(service) = wrong {
            checks.push(Check::new(
                "declaration",
                host.host.as_str(),
                CheckResult::Failed,
                format!("{service}: group file and agent.toml disagree about `exclusive`"),
                "make them the same",
            ));
        }
        for feed in &group.spec.feeds {
            if !seen.heartbeat.readings.iter().any(|r| r.probe == *feed) {
                checks.push(Check::new(
                    "declaration",
                    host.host.as_str(),
                    CheckResult::Failed,
                    format!("agent.toml has no probe `{feed}`, which the group's feeds name"),
                    "add the probe, or verification has nothing to listen to",
                ));
            }
        }
    }
    checks
}
