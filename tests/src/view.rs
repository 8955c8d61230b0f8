//! Reading what `coordctl --json` prints: the operator's views, by name.
//!
//! Everything is looked up in plain JSON, so that a view which lost a field is
//! an error in words here and not a type of the product's own.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The rows of a list: the answer itself, or its only field.
#[must_use]
pub fn rows<'a>(answer: &'a Value, field: &str) -> &'a [Value] {
    let list = if answer.is_array() { answer } else { &answer[field] };
    list.as_array().map_or(&[], Vec::as_slice)
}

/// A text.
///
/// # Errors
/// When the field is absent or no text.
pub fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field].as_str().with_context(|| format!("no text `{field}` in {value}"))
}

/// A number.
///
/// # Errors
/// When the field is absent or no number from 0.
pub fn number(value: &Value, field: &str) -> Result<u64> {
    value[field].as_u64().with_context(|| format!("no number `{field}` in {value}"))
}

/// The row whose `name` is this.
///
/// # Errors
/// When there is none.
pub fn named<'a>(answer: &'a Value, field: &str, name: &str) -> Result<&'a Value> {
    rows(answer, field)
        .iter()
        .find(|row| row["name"] == name)
        .with_context(|| format!("no `{name}` among {field} in {answer}"))
}

/// A host's service in a status.
///
/// # Errors
/// When the host or the service is not there.
pub fn service<'a>(status: &'a Value, host: &str, service: &str) -> Result<&'a str> {
    text(named(named(status, "hosts", host)?, "services", service)?, "state")
}

/// Whether a status shows `group` active on `site`, with no plan under way.
///
/// # Errors
/// When it does not: what it shows instead.
pub fn active_on(status: &Value, group: &str, site: &str) -> Result<()> {
    let group = named(status, "groups", group)?;
    ensure!(
        group["active_site"] == site && group["state"] == "active",
        "group {} is {} on {} (decision: {})",
        group["name"],
        group["state"],
        group["active_site"],
        group["decision"]
    );
    Ok(())
}

/// The newest plan of a list, by number.
#[must_use]
pub fn newest(plans: &Value) -> Option<&Value> {
    rows(plans, "plans").iter().max_by_key(|plan| plan["id"].as_u64())
}

/// A plan's step that is under way, or the first one that waits.
#[must_use]
pub fn current_step(plan: &Value) -> Option<&Value> {
    let steps = rows(plan, "steps");
    let with = |state: &str| steps.iter().find(|step| step["state"] == state);
    with("running").or_else(|| with("waiting"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_missing_is_named() {
        let status = json!({
            "groups": [{"name": "fx", "state": "moving", "active_site": "primary"}],
            "hosts": [{"name": "p1", "services": [{"name": "bridge", "state": "running"}]}],
        });
        assert_eq!(service(&status, "p1", "bridge").unwrap(), "running");
        let words = service(&status, "s1", "bridge").unwrap_err().to_string();
        assert!(words.contains("no `s1` among hosts"), "{words}");
        let words = active_on(&status, "fx", "primary").unwrap_err().to_string();
        assert!(words.contains("moving"), "{words}");
    }

    #[test]
    fn the_step_under_way_comes_before_those_that_wait() {
        let plan = json!({"steps": [
            {"kind": "fence", "state": "done"},
            {"kind": "promote", "state": "running"},
            {"kind": "verify", "state": "waiting"},
        ]});
        assert_eq!(current_step(&plan).unwrap()["kind"], "promote");
    }
}
