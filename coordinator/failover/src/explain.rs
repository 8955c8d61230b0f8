//! Why it did, or did not: the decision asked again with the recorded evidence.

use crate::{
    decision::{Decision, decide},
    incident::{Cause, Incident},
    sight::Sight,
    suspicion::Standing,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// A decision in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// "open" or "hold".
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
        (cause, Decision::Open(opening)) => {
            because.push(format!("Decision: {again}."));
            opening.cause == *cause
        }
        (_, Decision::Hold(_)) => {
            because.push(format!("Asked again, the same evidence gives: {again}."));
            false
        }
    };
    let decision = match incident.cause {
        Cause::Operator { .. } => "operator",
        Cause::FirstStart | Cause::HostLost { .. } | Cause::ServiceFailed { .. } => again.word(),
    };
    Explanation { decision, because, reproduced }
}

fn sentences(sight: &Sight) -> Vec<String> {
    let mut out = Vec::new();
    out.push(match &sight.active {
        Some(site) => format!("Site {site} was active under epoch {}.", sight.epoch),
        None => "No site had ever been active.".to_string(),
    });
    for site in &sight.sites {
        for host in &site.hosts {
            let heard = match host.silence {
                Some(silence) => format!("last heard {silence} before"),
                None => "never heard by this leader".to_string(),
            };
            let standing = sight.standing(host);
            let limit = match standing {
                Standing::Alive | Standing::NeverHeard => String::new(),
                Standing::Suspect { .. } | Standing::Lost => format!(
                    " (suspect after {}, lost after {})",
                    sight.timing.suspicion,
                    sight.timing.detection()
                ),
            };
            let (name, word) = (&host.host, standing.word());
            out.push(format!("Host {name} of site {}: {word}, {heard}{limit}.", site.site));
            out.extend(
                host.faults.iter().filter(|_| sight.active.as_ref() == Some(&site.site)).map(
                    |fault| {
                        format!(
                            "Service {} on {name} was {} for {}: {}.",
                            fault.service, fault.state, fault.lasting, fault.detail
                        )
                    },
                ),
            );
            let missing = host.undeclared.iter();
            out.extend(missing.map(|s| format!("agent.toml on {name} does not declare {s}.")));
        }
    }
    if let Some(why) = &sight.held {
        out.push(format!("Automation was held: {why}."));
    }
    if sight.cool_down_left.0 > 0 {
        out.push(format!("The cool-down had {} left.", sight.cool_down_left));
    }
    if let Some(site) = sight.active.as_ref().and_then(|name| sight.site(name)) {
        out.push(format!(
            "Fencing {} would have reached proof level {}; the policy demands {}.",
            site.site,
            sight.reachable_proof(site),
            sight.proof_needed
        ));
    }
    out
}
