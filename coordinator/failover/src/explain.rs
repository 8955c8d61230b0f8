//! Why it did, or did not: the decision asked again with the recorded evidence.
//!
//! The very function that decided is asked; where it says something else than
//! the record does, the explanation says so.

use crate::{
    decision::{Decision, could_serve, data_ready, decide},
    feed::FeedState,
    incident::{Cause, Incident},
    sight::{HostSight, Sight, SiteSight},
    state::Considered,
    suspicion::Standing,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::Millis;

/// A decision in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// "open", "hold", or "operator".
    pub decision: &'static str,
    /// Sentences, in order.
    pub because: Vec<String>,
    /// Whether the same function comes to the recorded decision again.
    pub reproduced: bool,
}

/// Explains what would be decided on `sight`.
#[must_use]
pub fn explain_now(sight: &Sight) -> Explanation {
    let decision = decide(sight);
    let mut because = sentences(sight);
    because.push(format!("Decision: {decision}."));
    Explanation { decision: decision.word(), because, reproduced: true }
}

/// Explains what was decided when `incident` was opened.
#[must_use]
pub fn explain_incident(incident: &Incident) -> Explanation {
    let again = decide(&incident.evidence);
    let mut because = sentences(&incident.evidence);
    let reproduced = match (&incident.cause, &again) {
        (Cause::Operator { by }, _) => {
            because.push(format!("Operator {by} decided it; automation would have said: {again}."));
            true
        }
        (cause, Decision::Open(opening)) if opening.cause == *cause => {
            because.push(format!("Decision: {again}."));
            true
        }
        (cause, _) => {
            because.push(format!("Recorded: a plan was opened because {cause}."));
            because.push(not_reproduced(&again));
            false
        }
    };
    let decision = match incident.cause {
        Cause::Operator { .. } => "operator",
        Cause::FirstStart
        | Cause::HostLost { .. }
        | Cause::ServiceFailed { .. }
        | Cause::FeedSilent { .. } => again.word(),
    };
    Explanation { decision, because, reproduced }
}

/// Explains why nothing was opened when `considered` was recorded.
#[must_use]
pub fn explain_considered(considered: &Considered) -> Explanation {
    let again = decide(&considered.evidence);
    let mut because = sentences(&considered.evidence);
    let reproduced = again == considered.decision;
    because.push(format!("Decision: {}.", considered.decision));
    if !reproduced {
        because.push(not_reproduced(&again));
    }
    Explanation { decision: considered.decision.word(), because, reproduced }
}

fn not_reproduced(again: &Decision) -> String {
    format!(
        "NOT REPRODUCED: asked again, the same evidence gives: {again}. \
         Another version decided, or the record is not what was seen."
    )
}

fn sentences(sight: &Sight) -> Vec<String> {
    let mut out = Vec::new();
    out.push(match &sight.active {
        Some(site) => format!("Site {site} was active under epoch {}.", sight.epoch),
        None => "No site had ever been active.".to_string(),
    });
    out.push(match sight.voters.as_deref() {
        None => "The evidence is of a version without observers: the leader's sight alone counted."
            .to_string(),
        Some([]) => {
            "The leader did not know who votes: it could take no host for lost (C5).".to_string()
        }
        Some(voters) => format!(
            "Voters: {}; {} of them must lose sight of a host, and none may hear it (C5).",
            voters.join(", "),
            voters.len() / 2 + 1
        ),
    });
    for site in &sight.sites {
        for host in &site.hosts {
            out.extend(of_host(sight, site, host));
        }
    }
    out.extend(blocks(sight));
    out
}

fn of_host(sight: &Sight, site: &SiteSight, host: &HostSight) -> Vec<String> {
    let mut out = Vec::new();
    let active = sight.active.as_ref() == Some(&site.site);
    let (name, standing) = (&host.host, sight.standing(host));
    let heard = match host.silence {
        Some(silence) => format!("last heard {silence} before"),
        None => "never heard by this leader".to_string(),
    };
    let limit = match standing {
        Standing::Alive | Standing::NeverHeard => String::new(),
        Standing::Suspect { .. } | Standing::Lost => format!(
            " (suspect after {}, lost after {})",
            sight.timing.suspicion,
            sight.timing.detection()
        ),
    };
    out.push(format!("Host {name} of site {}: {}, {heard}{limit}.", site.site, standing.word()));
    if !host.observers.is_empty() {
        let each: Vec<String> = host.observers.iter().map(ToString::to_string).collect();
        let others = match host.heard_by_others {
            Some(ago) if standing != Standing::Alive && Some(ago) < host.silence => {
                format!("; another voter heard it {ago} before, where the dwell begins anew")
            }
            Some(_) | None => String::new(),
        };
        out.push(format!("Observers of {name} (C5): {}{others}.", each.join("; ")));
    }
    if active {
        out.extend(host.faults.iter().map(|fault| {
            format!(
                "Service {} on {name} was {} for {}: {}.",
                fault.service, fault.state, fault.lasting, fault.detail
            )
        }));
    }
    out.extend(
        host.undeclared.iter().map(|s| format!("agent.toml on {name} does not declare {s}.")),
    );
    if let Some(why) = &host.stale {
        out.push(format!("Host {name} was of a stale epoch, and so no target: {why}."));
    }
    // What is heard is no news, except where a silence elsewhere is measured by it.
    let quiet = sight.sites.iter().flat_map(|site| &site.hosts).flat_map(|host| &host.feeds);
    let quiet: Vec<_> = quiet.filter(|f| f.state == FeedState::Silent).map(|f| &f.feed).collect();
    out.extend(host.feeds.iter().filter(|feed| quiet.contains(&&feed.feed)).map(|feed| {
        format!(
            "Feed {} on {name} was {} for {} (C8): {}.",
            feed.feed,
            feed.state.word(),
            feed.lasting,
            feed.detail
        )
    }));
    if !active {
        out.extend(host.data.iter().map(|data| match data.lag {
            Some(lag) => format!(
                "Watermark {} on {name}: {lag} behind, as of {} before.",
                data.probe, data.age
            ),
            None => format!("Watermark {} on {name} could not tell: {}.", data.probe, data.detail),
        }));
    }
    out
}

/// Everything that stood, or would have stood, in the way of an automatic failover (C5).
fn blocks(sight: &Sight) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(plan) = sight.plan {
        out.push(format!("Block: plan {plan} was under way."));
    }
    if let Some(why) = &sight.held {
        out.push(format!("Block: automation was held: {why} (C5)."));
    }
    if !sight.automatic {
        out.push("Block: the policy leaves every failover to a person.".to_string());
    }
    if sight.cool_down_left > Millis::ZERO {
        out.push(format!("Block: the cool-down had {} left (C7).", sight.cool_down_left));
    }
    let Some(active) = sight.active.as_ref().and_then(|name| sight.site(name)) else {
        return out;
    };
    let (reachable, needed) = (sight.reachable_proof(active), sight.proof_needed);
    let block = if reachable < needed { "Block: f" } else { "F" };
    out.push(format!(
        "{block}encing {} would have reached proof level {reachable}; the policy demands {needed} \
         (C3).",
        active.site
    ));
    for site in sight.sites.iter().filter(|site| site.site != active.site) {
        let ready = could_serve(sight, site).and_then(|()| data_ready(sight, site));
        out.push(match ready {
            Ok(()) => format!("Site {} could have taken over.", site.site),
            Err(why) => format!("Block: site {} could not take over: {why} (C5).", site.site),
        });
    }
    out
}
