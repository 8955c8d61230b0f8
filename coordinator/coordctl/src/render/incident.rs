//! Incidents, and why a decision was what it was.

use super::{Paper, finish, paragraphs, words};
use comfy_table::Cell;
use proto::v1::{ExplainReply, Incident};

/// All incidents, as they came.
pub(crate) fn table(incidents: &[Incident], paper: Paper) -> String {
    if incidents.is_empty() {
        return "no incidents".into();
    }
    let mut table = paper
        .table(&["incident", "group", "severity", "state", "cause", "opened", "lasted", "title"]);
    for incident in incidents {
        table.add_row(vec![
            Cell::new(incident.id),
            Cell::new(&incident.group),
            paper.state(&incident.severity),
            Cell::new(&incident.state),
            Cell::new(&incident.cause),
            Cell::new(words::instant(incident.opened_unix_ms)),
            Cell::new(words::span_or_dash(lasted(incident))),
            Cell::new(&incident.title),
        ]);
    }
    finish(&table)
}

fn lasted(incident: &Incident) -> Option<u64> {
    incident.closed_unix_ms.map(|closed| closed.saturating_sub(incident.opened_unix_ms))
}

/// One incident with its timeline.
pub(crate) fn one(incident: &Incident) -> String {
    let lasted =
        lasted(incident).map_or_else(String::new, |ms| format!(" after {}", words::span(ms)));
    let plans: Vec<String> = incident.plans.iter().map(ToString::to_string).collect();
    let mut head = vec![
        format!("incident {}: {}", incident.id, incident.title),
        format!(
            "group {}, severity {}, cause {}, {}{lasted}",
            incident.group, incident.severity, incident.cause, incident.state
        ),
    ];
    if !plans.is_empty() {
        head.push(format!("plans: {}", plans.join(", ")));
    }
    let timeline: Vec<String> = incident
        .timeline
        .iter()
        .map(|entry| format!("{}  {}", words::precise(entry.at_unix_ms), entry.what))
        .collect();
    let timeline = if timeline.is_empty() {
        String::new()
    } else {
        format!("{}\n(times are UTC)", timeline.join("\n"))
    };
    paragraphs(&[head.join("\n"), timeline])
}

/// A decision with its reasons, and the older ones that came with it.
pub(crate) fn explanation(reply: &ExplainReply, with_evidence: bool) -> String {
    let all = std::iter::once(reply).chain(&reply.older);
    let parts: Vec<String> = all.map(|one| explained(one, with_evidence)).collect();
    paragraphs(&parts)
}

fn explained(reply: &ExplainReply, with_evidence: bool) -> String {
    let at = match (reply.at_unix_ms, reply.incident) {
        (0, _) => String::new(),
        (at, 0) => format!("{}  ", words::precise(at)),
        (at, incident) => format!("{}  incident {incident}, ", words::precise(at)),
    };
    let because: Vec<String> = reply.because.iter().map(|line| format!("  - {line}")).collect();
    let replayed = if reply.reproduced {
        "replayed: the recorded evidence gives the same decision again"
    } else {
        "replayed: the recorded evidence does NOT give the same decision again; \
         report this with the output of --evidence"
    };
    let evidence = if with_evidence { pretty(&reply.evidence_json) } else { String::new() };
    paragraphs(&[
        format!("{at}decision: {}\n{}", reply.decision, because.join("\n")),
        replayed.into(),
        evidence,
    ])
}

fn pretty(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json)
        .and_then(|value| serde_json::to_string_pretty(&value))
        // As it came, when this program cannot read it.
        .unwrap_or_else(|_| json.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::PLAIN;
    use proto::v1::TimelineEntry;

    fn incident() -> Incident {
        Incident {
            id: 3,
            group: "fx".into(),
            cause: "host-lost".into(),
            severity: "critical".into(),
            state: "closed".into(),
            title: "p1 is lost".into(),
            opened_unix_ms: 1_772_334_727_250,
            closed_unix_ms: Some(1_772_334_737_250),
            plans: vec![7],
            timeline: vec![TimelineEntry {
                at_unix_ms: 1_772_334_727_300,
                what: "p1 went silent".into(),
            }],
        }
    }

    #[test]
    fn an_incident_tells_its_story() {
        assert_eq!(
            one(&incident()),
            "incident 3: p1 is lost\n\
             group fx, severity critical, cause host-lost, closed after 10 s\n\
             plans: 7\n\n\
             2026-03-01 03:12:07.300  p1 went silent\n(times are UTC)"
        );
        assert_eq!(table(&[], PLAIN), "no incidents");
        assert!(
            table(&[incident()], PLAIN).contains("3         fx     critical  closed  host-lost")
        );
    }

    #[test]
    fn an_explanation_says_whether_it_is_reproduced() {
        let mut reply = ExplainReply {
            decision: "open".into(),
            because: vec!["p1 is lost for 5 s".into()],
            evidence_json: "{\"a\":1}".into(),
            reproduced: true,
            ..ExplainReply::default()
        };
        let text = explanation(&reply, false);
        assert!(
            text.starts_with("decision: open\n  - p1 is lost for 5 s\n\nreplayed: the recorded")
        );
        assert!(!text.contains("\"a\""), "{text}");
        reply.reproduced = false;
        let text = explanation(&reply, true);
        assert!(text.contains("does NOT") && text.ends_with("{\n  \"a\": 1\n}"), "{text}");
        reply.evidence_json = "not json".into();
        assert!(explanation(&reply, true).ends_with("not json"));
        let held =
            ExplainReply { decision: "hold".into(), at_unix_ms: 5, ..ExplainReply::default() };
        reply.older.push(held);
        let text = explanation(&reply, false);
        assert!(text.contains("1970-01-01 00:00:00.005  decision: hold"), "{text}");
    }
}
