//! No false failover: where every fault is below the lease, nothing moves by itself.

use super::{Violation, broken};
use crate::history::History;
use failover::{PlanKind, Record};

/// Looks for an automatic move in a run that must not have one.
pub(super) fn check(history: &History) -> Vec<Violation> {
    if !history.mild {
        return vec![];
    }
    let mut found = Vec::new();
    for commit in &history.commits {
        if let Some(Record::PlanOpened { draft, cause, .. }) = commit.record.as_deref()
            && draft.kind == PlanKind::Failover
            && draft.by.is_none()
        {
            found.push(broken(9, commit.at, format!("a false failover: {cause}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::{
        draw::Plan,
        fault::{Fault, Planned},
        run,
        stage::P1,
    };

    #[test]
    fn it_finds_a_failover_where_none_may_be() {
        let mut plan = Plan::draw(1);
        let fault = Fault::PowerOff(P1);
        plan.faults = vec![Planned { at: 0, until: 20_000_000, fault }];
        (plan.length, plan.mild) = (20_000_000, true);
        plan.setting.cool_down = model::Millis(0);
        let outcome = run::play(plan, false).unwrap();
        assert!(outcome.violations.iter().any(|violation| violation.invariant == 9));
    }
}
