//! What must be true after every scenario, whatever the fault: the invariants
//! as far as the venue, the journal and the logs show them.

use super::{orders, orders::Activation, stage::Lab};
use crate::{config::GROUP, installation::COORDINATORS, view, wait};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Duration;

/// How long plans and incidents may take to end once faults have stopped.
const SETTLE: Duration = Duration::from_secs(20);

/// The activations in an answer of `plan list`, in the order of their epochs.
///
/// # Errors
/// When a plan lacks a field.
pub fn activations(plans: &Value) -> Result<Vec<Activation>> {
    let mut found = Vec::new();
    for plan in view::rows(plans, "plans") {
        let epoch = view::number(plan, "epoch_after")?;
        let activate = view::rows(plan, "steps").iter().find(|step| step["kind"] == "activate");
        let began = activate.and_then(|step| step["started_unix_ms"].as_u64());
        if let (1.., Some(wall_ms)) = (epoch, began) {
            found.push(Activation { epoch, site: view::text(plan, "to")?.into(), wall_ms });
        }
    }
    found.sort_by_key(|activation| activation.epoch);
    Ok(found)
}

/// The venue's verdict on everything so far.
///
/// # Errors
/// When no leader answers or the venue's log is malformed.
pub fn verdict(lab: &Lab) -> Result<orders::Verdict> {
    Ok(orders::judge(&lab.orders()?, &lab.activations()?))
}

/// Invariant 1 as the venue sees it: no order of an older epoch after one of a newer.
///
/// # Errors
/// With the first violation in words.
pub fn never_two(lab: &Lab) -> Result<()> {
    let verdict = verdict(lab)?;
    ensure!(
        verdict.violations == 0,
        "DUAL ACTIVE for {} us, {} orders: {}",
        verdict.dual_active_us,
        verdict.violations,
        verdict.first.unwrap_or_default()
    );
    Ok(())
}

/// Invariants 2 and 3: every activation has a proof of the level that the policy
/// needs, and epochs only grow.
///
/// # Errors
/// With the plan that has none.
pub fn proven(lab: &Lab) -> Result<()> {
    let plans = lab.ctl.json(&["plan", "list"])?;
    for plan in view::rows(&plans, "plans") {
        let after = view::number(plan, "epoch_after")?;
        if after == 0 || plan["kind"] == "start" {
            continue;
        }
        ensure!(after > view::number(plan, "epoch_before")?, "an epoch went down: {plan}");
        let level = view::number(plan, "proof_level")?;
        ensure!(level >= u64::from(lab.options().needs), "activated without proof: {plan}");
    }
    let epochs: Vec<u64> = lab.activations()?.iter().map(|activation| activation.epoch).collect();
    ensure!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "an epoch twice: {epochs:?}");
    Ok(())
}

/// Invariant 5: with the faults gone, every plan and incident ends closed or
/// held for a person.
///
/// # Errors
/// With what is still open after the bound.
pub fn settled(lab: &Lab) -> Result<()> {
    wait::until("every plan and incident to be closed or held", SETTLE, || {
        let status = lab.status()?;
        let group = view::named(&status, "groups", GROUP)?;
        ensure!(group["state"] == "active" || group["state"] == "held", "{group}");
        let incidents = lab.ctl.json(&["incident", "list"])?;
        for incident in view::rows(&incidents, "incidents") {
            ensure!(["closed", "held"].iter().any(|end| incident["state"] == *end), "{incident}");
        }
        Ok(())
    })
}

/// Invariant 7: no coordinator raised an alarm.
///
/// # Errors
/// With the alarm.
pub fn no_alarm(lab: &Lab) -> Result<()> {
    for name in COORDINATORS {
        let log = lab.node(name)?.log_text();
        let alarm = log.lines().find(|line| line.contains("ALARM"));
        ensure!(alarm.is_none(), "{name}: {}", alarm.unwrap_or_default());
    }
    Ok(())
}

/// All of them.
///
/// # Errors
/// With the first that does not hold.
pub fn all(lab: &Lab) -> Result<()> {
    settled(lab)?;
    never_two(lab)?;
    proven(lab)?;
    no_alarm(lab)
}

/// That trading went on as if nothing had happened: the group was never moved
/// since, its trader was never started again, and orders come now.
///
/// # Errors
/// With what happened instead.
pub fn undisturbed(lab: &Lab, site: &str, moves_before: usize) -> Result<()> {
    lab.ordering(site, SETTLE)?;
    let moved = moves(lab)? - moves_before;
    ensure!(moved == 0, "the group was moved {moved} times");
    let orders = lab.orders()?;
    let mut runs: Vec<u64> =
        orders.iter().filter(|order| order.site == site).map(|order| order.run).collect();
    runs.dedup();
    ensure!(runs.len() == 1, "the trader was started {} times: {runs:?}", runs.len());
    Ok(())
}

/// How often the group was moved: plans of these kinds.
///
/// # Errors
/// When no leader answers.
pub fn moves(lab: &Lab) -> Result<usize> {
    let activations = lab.activations()?;
    activations.len().checked_sub(1).context("the group was never active")
}
