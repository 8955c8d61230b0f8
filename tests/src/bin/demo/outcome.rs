//! What came of the demo: for scripts one JSON object, for people some lines.

use serde_json::{Value, json};
use std::{fmt::Write, path::PathBuf};

/// The result. What was not reached stays `None` and is `null` in JSON.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Whether the standby served fresh ticks, and all the rest was as it should be.
    pub(crate) ok: bool,
    /// The group.
    pub(crate) group: Option<String>,
    /// The plan as the coordinators tell it: sites, epochs, proof, RTO.
    pub(crate) plan: Option<Value>,
    /// Ticks that our own subscriber got from the standby.
    pub(crate) ticks_on_standby: usize,
    /// Calls of the DNS hook that were meant.
    pub(crate) dns_hook_calls: usize,
    /// Notifications that our receiver accepted.
    pub(crate) notifications_accepted: usize,
    /// How long both sites sent at once, from what both wrote down.
    pub(crate) dual_active_ms: Option<u64>,
    /// From the kill to the first tick of the standby, as a client saw it.
    pub(crate) blackout_ms: Option<u64>,
    /// The incident's report.
    pub(crate) report: Option<PathBuf>,
}

impl Outcome {
    fn of_plan(&self, field: &str) -> Value {
        self.plan.as_ref().map_or(Value::Null, |plan| plan[field].clone())
    }

    /// One object with stable keys.
    pub(crate) fn json(&self) -> Value {
        json!({
            "result": if self.ok { "ok" } else { "failed" },
            "group": self.group,
            "from": self.of_plan("from"),
            "to": self.of_plan("to"),
            "epoch_before": self.of_plan("epoch_before"),
            "epoch_after": self.of_plan("epoch_after"),
            "proof_level": self.of_plan("proof_level"),
            "rto_ms": self.of_plan("rto_ms"),
            "phases_ms": self.of_plan("phases_ms"),
            "ticks_on_standby": self.ticks_on_standby,
            "dns_hook_calls": self.dns_hook_calls,
            "notifications_accepted": self.notifications_accepted,
            "dual_active_ms": self.dual_active_ms,
            "report": self.report,
        })
    }

    /// The same for a person.
    pub(crate) fn words(&self) -> String {
        let mut text = format!("result              {}\n", if self.ok { "ok" } else { "FAILED" });
        let mut line = |name: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<20}{value}");
        };
        if self.plan.is_some() {
            let of = |field: &str| self.of_plan(field).to_string().replace('"', "");
            line("moved", format!("{} -> {}", of("from"), of("to")));
            line("epoch", format!("{} -> {}", of("epoch_before"), of("epoch_after")));
            line("proof level", of("proof_level"));
            line("RTO", format!("{} ms (by the incident's report)", of("rto_ms")));
            line("  of it", of("phases_ms"));
        }
        if let Some(blackout) = self.blackout_ms {
            line("blackout", format!("{blackout} ms (as a subscriber saw it)"));
        }
        line("ticks on standby", self.ticks_on_standby.to_string());
        line("DNS hook calls", self.dns_hook_calls.to_string());
        line("notifications", format!("{} accepted", self.notifications_accepted));
        if let Some(dual) = self.dual_active_ms {
            line("both sites sending", format!("{dual} ms"));
        }
        if let Some(report) = &self.report {
            line("report", report.display().to_string());
        }
        text
    }
}
