//! Could the group fail over now? One answer, for status, doctor and notifications.

use super::{Check, CheckResult};
use crate::{
    decision::{Decision, Reason, decide},
    sight::Sight,
};
use alloc::{
    format,
    string::{String, ToString},
};

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it could.
    pub ready: bool,
    /// Why not; empty when it could.
    pub why: String,
    /// Whether somebody knows why: it was held, stopped or moved, or cools down.
    pub expected: bool,
    /// Whether the policy leaves it to a person.
    pub by_hand: bool,
}

impl Readiness {
    /// In a sentence.
    #[must_use]
    pub fn words(&self) -> String {
        match self.ready {
            true if self.by_hand => "could fail over now: yes, by hand: the policy leaves it to a \
                                     person"
                .to_string(),
            true => "could fail over now: yes".to_string(),
            false => format!("could fail over now: no, because {}", self.why),
        }
    }

    /// What would be decided if the active site fell silent for good this moment,
    /// and what the checks say of everything but the active site's own hosts.
    pub(crate) fn of(sight: &Sight, checks: &[Check]) -> Self {
        let by_hand = !sight.automatic;
        let no = |why: String, expected| Self { ready: false, why, expected, by_hand };
        let Some(active) = sight.active.as_ref() else {
            return no("no site is active yet".to_string(), true);
        };
        // A person's failover needs the same, but for the policy's leave.
        let silent = Sight { automatic: true, ..sight.without(active) };
        match decide(&silent) {
            Decision::Open(_) => {}
            Decision::Hold(Reason::ProofTooWeak { reachable, needed }) => {
                return no(
                    format!(
                        "a silent {active} would be fenced at proof level {reachable}, {needed} is \
                         needed"
                    ),
                    false,
                );
            }
            Decision::Hold(reason) => {
                let expected = matches!(
                    reason,
                    Reason::Held(_) | Reason::PlanRunning(_) | Reason::CoolingDown(_)
                );
                return no(reason.to_string(), expected);
            }
        }
        let own = |check: &&Check| {
            let hosts = sight.site(active).map(|site| site.hosts.as_slice()).unwrap_or_default();
            hosts.iter().any(|host| host.host.as_str() == check.subject)
        };
        let mut failed = checks.iter().filter(|check| check.result == CheckResult::Failed);
        match failed.find(|check| !own(check)) {
            Some(check) => {
                let on = if check.subject.is_empty() { "" } else { " of " };
                no(format!("{}{on}{}: {}", check.name, check.subject, check.found), false)
            }
            None => Self { ready: true, why: String::new(), expected: false, by_hand },
        }
    }

    pub(crate) fn check(&self) -> Check {
        let result = if self.ready { CheckResult::Ok } else { CheckResult::Failed };
        Check::new("readiness", "", result, self.words(), "mend what is named, and ask again")
    }
}
