//! Plans: a list, one with its steps, what would be done, how it ended.

use super::{Paper, finish, list, or_dash, paragraphs, words};
use crate::progress::heading;
use comfy_table::Cell;
use proto::v1::{Plan, StartPlanReply};

/// The order in which a person thinks of the phases.
const PHASES: [&str; 6] = ["detect", "decide", "fence", "activate", "redirect", "verify"];

/// All plans, as they came.
pub(crate) fn table(plans: &[Plan], paper: Paper) -> String {
    if plans.is_empty() {
        return "no plans".into();
    }
    let mut table = paper.table(&[
        "plan", "group", "kind", "from", "to", "state", "by", "opened", "rto", "incident",
    ]);
    for plan in plans {
        table.add_row(vec![
            Cell::new(plan.id),
            Cell::new(&plan.group),
            Cell::new(&plan.kind),
            Cell::new(or_dash(&plan.from)),
            Cell::new(&plan.to),
            paper.state(&plan.state),
            Cell::new(or_dash(&plan.by)),
            Cell::new(words::instant(plan.opened_unix_ms)),
            Cell::new(plan.rto_ms.map_or_else(|| "-".into(), words::seconds)),
            Cell::new(if plan.incident == 0 { "-".into() } else { plan.incident.to_string() }),
        ]);
    }
    finish(&table)
}

/// One plan with its steps.
pub(crate) fn one(plan: &Plan, paper: Paper) -> String {
    let mut lines = vec![heading(plan)];
    if plan.state == "running" || !plan.reason.is_empty() {
        let reason =
            if plan.reason.is_empty() { String::new() } else { format!(": {}", plan.reason) };
        lines.push(format!("{}{reason}", plan.state));
    }
    lines.push(format!("opened {}", words::instant(plan.opened_unix_ms)));
    if !plan.approved_by.is_empty() {
        lines.push(format!("approved by {}", plan.approved_by));
    }
    if plan.state != "running" {
        lines.extend(ending(plan));
    }
    paragraphs(&[lines.join("\n"), steps(plan, paper)])
}

fn steps(plan: &Plan, paper: Paper) -> String {
    let mut table = paper.table(&["step", "what", "state", "took", "attempts", "detail"]);
    for (at, step) in plan.steps.iter().enumerate() {
        let took = match (step.started_unix_ms, step.finished_unix_ms) {
            (Some(from), Some(to)) => words::seconds(to.saturating_sub(from)),
            (Some(_) | None, _) => "-".into(),
        };
        table.add_row(vec![
            Cell::new(at + 1),
            Cell::new(&step.what),
            paper.state(&step.state),
            Cell::new(took),
            Cell::new(step.attempts),
            Cell::new(&step.detail),
        ]);
    }
    if table.is_empty() { "no steps".into() } else { finish(&table) }
}

/// The last lines of a plan that has ended: proof, RTO, phases, report.
pub(crate) fn ending(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    match plan.state.as_str() {
        "completed" => lines.push(format!(
            "plan {} completed: {} is active on {}, epoch {} (was {})",
            plan.id, plan.group, plan.to, plan.epoch_after, plan.epoch_before
        )),
        "held" => lines.push(format!(
            "plan {} is held for a human: {}",
            plan.id,
            if plan.reason.is_empty() { "no reason was recorded" } else { &plan.reason }
        )),
        other => {
            lines.push(format!("plan {} ended as `{other}`: {}", plan.id, or_dash(&plan.reason)))
        }
    }
    if plan.proof_level > 0 {
        let proof = if plan.proof.is_empty() { String::new() } else { format!(": {}", plan.proof) };
        lines.push(format!("proof level {}{proof}", plan.proof_level));
    }
    let phases = phases(plan);
    match plan.rto_ms {
        Some(rto) if phases.is_empty() => lines.push(format!("RTO {}", words::seconds(rto))),
        Some(rto) => lines.push(format!("RTO {}: {phases}", words::seconds(rto))),
        None if !phases.is_empty() => lines.push(format!("phases: {phases}")),
        None => {}
    }
    if plan.incident > 0 {
        lines.push(format!("report: coordctl incident report {}", plan.incident));
    }
    lines
}

/// `detect 1.20 s, decide 300 ms`: known phases in order, others after them.
fn phases(plan: &Plan) -> String {
    let mut others: Vec<&String> =
        plan.phases_ms.keys().filter(|name| !PHASES.contains(&name.as_str())).collect();
    others.sort();
    let names = PHASES.into_iter().chain(others.into_iter().map(String::as_str));
    let spoken: Vec<String> = names
        .filter_map(|name| Some(format!("{name} {}", words::seconds(*plan.phases_ms.get(name)?))))
        .collect();
    spoken.join(", ")
}

/// What a dry run found: the plan, the proof, the bounds, the refusals.
pub(crate) fn dry_run(reply: &StartPlanReply, paper: Paper) -> String {
    let empty = Plan::default();
    let plan = reply.plan.as_ref().unwrap_or(&empty);
    let head = if reply.plan.is_some() {
        format!("{} (nothing is changed yet)", heading(plan))
    } else {
        "no plan could be made".into()
    };
    let mut numbered = Vec::new();
    for (at, step) in plan.steps.iter().enumerate() {
        numbered.push(format!("{:>3}  {}", at + 1, step.what));
    }
    let bounds =
        if reply.bounds.is_empty() { String::new() } else { list::bounds(&reply.bounds, paper) };
    paragraphs(&[head, numbered.join("\n"), proof(reply), bounds, refusals(&reply.refusals)])
}

fn proof(reply: &StartPlanReply) -> String {
    let (reachable, needed) = (reply.proof_reachable, reply.proof_needed);
    if reply.plan.is_none() && needed == 0 {
        // Refused before it was weighed.
        return String::new();
    }
    let verdict = if reachable >= needed { "enough" } else { "not enough" };
    let second = if reply.needs_approval { "; a second operator must approve it" } else { "" };
    format!("proof level reachable now: {reachable}, needed: {needed} ({verdict}){second}")
}

/// The safety rules that refuse, one a line.
pub(crate) fn refusals(refusals: &[String]) -> String {
    refusals.iter().map(|rule| format!("refused: {rule}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::PLAIN;
    use proto::v1::{Bound, Step};

    fn plan() -> Plan {
        let step = |number: u64, what: &str, state: &str| Step {
            number,
            what: what.into(),
            state: state.into(),
            attempts: 1,
            detail: if state == "done" { "lease lapsed".into() } else { String::new() },
            started_unix_ms: Some(1_772_334_727_250),
            finished_unix_ms: (state == "done").then_some(1_772_334_729_350),
            ..Default::default()
        };
        Plan {
            id: 7,
            group: "fx".into(),
            kind: "failover".into(),
            from: "primary".into(),
            to: "standby".into(),
            incident: 3,
            state: "completed".into(),
            steps: vec![step(0, "fence primary", "done"), step(1, "start bridge on s1", "running")],
            opened_unix_ms: 1_772_334_727_250,
            by: "automatic".into(),
            epoch_before: 1,
            epoch_after: 2,
            proof_level: 1,
            proof: "lease lapsed".into(),
            phases_ms: [("verify", 900), ("detect", 1200), ("zz-new", 5)]
                .map(|(name, ms)| (name.to_owned(), ms))
                .into(),
            rto_ms: Some(8345),
            ..Default::default()
        }
    }

    #[test]
    fn an_ending_has_proof_rto_phases_and_the_report() {
        assert_eq!(
            ending(&plan()),
            [
                "plan 7 completed: fx is active on standby, epoch 2 (was 1)",
                "proof level 1: lease lapsed",
                "RTO 8.34 s: detect 1.20 s, verify 900 ms, zz-new 5 ms",
                "report: coordctl incident report 3",
            ]
        );
        let held = Plan { state: "held".into(), reason: "the hook failed".into(), ..plan() };
        assert_eq!(ending(&held)[0], "plan 7 is held for a human: the hook failed");
    }

    #[test]
    fn one_plan_shows_its_steps() {
        let text = one(&plan(), PLAIN);
        let rows: Vec<&str> = text.lines().rev().take(3).collect();
        assert_eq!(
            rows,
            [
                "2     start bridge on s1  running  -       1",
                "1     fence primary       done     2.10 s  1         lease lapsed",
                "STEP  WHAT                STATE    TOOK    ATTEMPTS  DETAIL",
            ]
        );
        assert!(text.starts_with("plan 7: failover of fx, primary -> standby, by automatic\n"));
    }

    #[test]
    fn a_dry_run_weighs_the_proof() {
        let reply = StartPlanReply {
            plan: Some(Plan { id: 0, ..plan() }),
            proof_reachable: 1,
            proof_needed: 2,
            bounds: vec![Bound {
                name: "lapse".into(),
                ms: 5150,
                formula: "T(1+rho)+m".into(),
                meaning: "the old site is silent by then".into(),
            }],
            refusals: vec!["C3: proof level 2 is needed, 1 is reachable".into()],
            ..StartPlanReply::default()
        };
        let text = dry_run(&reply, PLAIN);
        assert!(text.contains("  1  fence primary\n  2  start bridge on s1"), "{text}");
        assert!(text.contains("reachable now: 1, needed: 2 (not enough)"), "{text}");
        assert!(text.contains("lapse  5.1 s"), "{text}");
        assert!(text.ends_with("refused: C3: proof level 2 is needed, 1 is reachable"), "{text}");
    }

    #[test]
    fn a_list_of_plans() {
        assert_eq!(table(&[], PLAIN), "no plans");
        let text = table(&[plan()], PLAIN);
        assert!(
            text.contains("7     fx     failover  primary  standby  completed  automatic"),
            "{text}"
        );
    }
}
