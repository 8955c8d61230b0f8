//! Why it did, or did not: recorded decisions asked again, by a running
//! coordinator and from a copy of its journal alike. The pure core explains;
//! this picks the record and gives it the form of an answer.

use crate::consensus::{OfflineError, read_offline};
use failover::{Considered, Incident, Sight, State, decide, explain_incident, explain_now};
use jiff::Timestamp;
use model::{GroupId, IncidentId, Wall};
use proto::v1::ExplainReply;
use std::path::Path;

/// Recorded decisions shown at most: everything that the journal keeps of a group.
pub const LAST_MAX: usize = 250;

/// What a recorded incident was opened for.
#[must_use]
pub fn incident(incident: &Incident) -> ExplainReply {
    let explained = explain_incident(incident);
    ExplainReply {
        decision: explained.decision.into(),
        because: explained.because,
        reproduced: explained.reproduced,
        evidence_json: json(&incident.evidence),
        at_unix_ms: incident.opened_at.0,
        incident: incident.id.0,
        older: Vec::new(),
    }
}

/// What would be decided on `sight` now.
#[must_use]
pub fn now(sight: &Sight) -> ExplainReply {
    let explained = explain_now(sight);
    ExplainReply {
        decision: explained.decision.into(),
        because: explained.because,
        reproduced: explained.reproduced,
        evidence_json: json(sight),
        ..ExplainReply::default()
    }
}

/// A decision to hold, although there was trouble.
fn considered(considered: &Considered) -> ExplainReply {
    let explained = explain_now(&considered.evidence);
    ExplainReply {
        decision: considered.decision.word().into(),
        because: explained.because,
        reproduced: decide(&considered.evidence) == considered.decision,
        evidence_json: json(&considered.evidence),
        at_unix_ms: considered.at.0,
        incident: 0,
        older: Vec::new(),
    }
}

/// Everything on record for a group, newest first.
fn history(state: &State, group: &GroupId) -> Vec<ExplainReply> {
    let incidents = state.incidents.values().filter(|incident| incident.group == *group);
    let mut all: Vec<ExplainReply> = incidents.map(incident).collect();
    let kept = state.groups.get(group).map(|group| &group.considered);
    all.extend(kept.into_iter().flatten().map(considered));
    all.sort_by_key(|told| std::cmp::Reverse((told.at_unix_ms, told.incident)));
    all
}

/// The newest `count` decisions and non-decisions of a group, as one answer
/// with the older ones in it; `None` when nothing is on record.
#[must_use]
pub fn last(state: &State, group: &GroupId, count: usize) -> Option<ExplainReply> {
    let mut all = history(state, group);
    all.truncate(count.clamp(1, LAST_MAX));
    let mut all = all.into_iter();
    let mut newest = all.next()?;
    newest.older = all.collect();
    Some(newest)
}

/// What stood at `at`: the newest decision that was not made later.
#[must_use]
pub fn at(state: &State, group: &GroupId, at: Wall) -> Option<ExplainReply> {
    history(state, group).into_iter().find(|told| told.at_unix_ms <= at.0)
}

/// What is asked of a copy of the journal.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The group; `None` for the only one.
    pub group: Option<String>,
    /// How many decisions, newest first.
    pub last: usize,
    /// This incident instead.
    pub incident: Option<IncidentId>,
}

/// Why the journal in `directory` tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum OfflineExplainError {
    /// It cannot be read.
    #[error(transparent)]
    Journal(#[from] OfflineError),
    /// It does not hold what is asked for.
    #[error("{0}")]
    Nothing(String),
}

/// Explains from a copy of the journal in `directory`. Blocks.
///
/// # Errors
/// [`OfflineExplainError`] in words.
pub fn offline(directory: &Path, asked: &Asked) -> Result<ExplainReply, OfflineExplainError> {
    let state = read_offline(directory)?;
    let nothing = |words: String| OfflineExplainError::Nothing(words);
    if let Some(id) = asked.incident {
        let found = state.incidents.get(&id).map(incident);
        return found.ok_or_else(|| nothing(format!("the journal has no incident {id}")));
    }
    let names: Vec<&str> = state.groups.keys().map(GroupId::as_str).collect();
    let group = match (&asked.group, names.as_slice()) {
        (Some(name), _) => GroupId::new(name.clone()).map_err(|e| nothing(e.to_string()))?,
        (None, [only]) => GroupId::new(*only).map_err(|e| nothing(e.to_string()))?,
        (None, _) => return Err(nothing(format!("name a group: {}", names.join(", ")))),
    };
    last(&state, &group, asked.last)
        .ok_or_else(|| nothing(format!("nothing is on record for {group} in this journal")))
}

fn json(sight: &Sight) -> String {
    // A sight is plain data; if it could not be written, its words still can.
    serde_json::to_string(sight).unwrap_or_default()
}

/// The answer as text for a person, each decision under its time.
#[must_use]
pub fn words(reply: &ExplainReply) -> String {
    let one = |told: &ExplainReply| {
        let time = i64::try_from(told.at_unix_ms).ok();
        let time = time.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let time = time.map_or_else(String::new, |time| format!("{time:.3} "));
        let what = match told.incident {
            0 => String::new(),
            id => format!(" (incident {id})"),
        };
        let mut lines = vec![format!("{time}decision: {}{what}", told.decision)];
        lines.extend(told.because.iter().map(|line| format!("  - {line}")));
        lines.push(match told.reproduced {
            true => "  replayed: the recorded evidence gives the same decision again".into(),
            false => {
                "  replayed: the recorded evidence does NOT give the same decision again".into()
            }
        });
        lines.join("\n")
    };
    let all: Vec<String> = std::iter::once(reply).chain(&reply.older).map(one).collect();
    all.join("\n\n")
}
