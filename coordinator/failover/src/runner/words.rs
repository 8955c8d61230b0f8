//! A step's outcome in words.

use super::{
    Progress,
    fencing::{Evidence, besides},
};
use crate::plan::Plan;
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::{HostId, Outcome};

pub(super) fn fence_failure(plan: &Plan, evidence: &Evidence, progress: &Progress) -> String {
    let known = evidence.known.iter();
    let silent: Vec<&str> = known
        .filter(|(_, fence)| fence.acknowledged.is_none())
        .map(|(host, _)| host.as_str())
        .collect();
    let mut said: Vec<String> = progress.reports.values().filter_map(trouble_words).collect();
    said.extend(besides(evidence, progress));
    let acknowledged = match silent.is_empty() {
        true => "no more than acknowledgements".to_string(),
        false => format!("no acknowledgement from {}", silent.join(", ")),
    };
    format!(
        "proof level {} was not reached: {acknowledged}{}{}",
        plan.proof_needed,
        if said.is_empty() { "" } else { ": " },
        said.join("; ")
    )
}

pub(super) fn trouble_words(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Failed { detail } => Some(detail.clone()),
        Outcome::Refused(refusal) => Some(refusal.to_string()),
        Outcome::Done { .. } | Outcome::Fenced { .. } | Outcome::Verified(_) => None,
    }
}

pub(super) fn success_words(hosts: &[HostId], progress: &Progress) -> String {
    let one = |(part, outcome): (&u32, &Outcome)| {
        let host = hosts.get(*part as usize).map_or("?", HostId::as_str);
        match outcome {
            Outcome::Verified(v) => {
                let first = v
                    .first_message_after
                    .map(|after| format!(", the first {after} after the promotion"))
                    .unwrap_or_default();
                format!("{host}: {} fresh feeds, {} messages{first}", v.fresh_feeds, v.messages)
            }
            Outcome::Done { detail } | Outcome::Failed { detail } => format!("{host}: {detail}"),
            Outcome::Fenced { stopped, .. } => format!("{host}: {} stopped", stopped.len()),
            Outcome::Refused(refusal) => format!("{host}: {refusal}"),
        }
    };
    progress.reports.iter().map(one).collect::<Vec<_>>().join("; ")
}

pub(super) fn unanswered(hosts: &[HostId], progress: &Progress) -> String {
    let silent: Vec<&str> = (0u32..)
        .zip(hosts)
        .filter(|(part, _)| !progress.reports.contains_key(part))
        .map(|(_, host)| host.as_str())
        .collect();
    silent.join(", ")
}
