//! Invariant 2: no activation without a committed proof of the required level;
//! and a committed proof is true: under the epoch that it fences no gate is
//! open after its commit, ever.

use super::{Violation, broken};
use crate::{history::History, stage::NAMES};
use failover::{Applied, FenceProof, Record};
use model::{Epoch, PlanId};

/// Looks at every activation and at every proof.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut proofs: Vec<(PlanId, &FenceProof)> = Vec::new();
    for commit in &history.commits {
        if commit.applied != Applied::Done {
            continue;
        }
        match commit.record.as_deref() {
            Some(Record::Fenced { plan, proof, .. }) => {
                proofs.push((*plan, proof));
                found.extend(untrue(history, commit.at, proof.epoch()));
            }
            Some(Record::Activated { plan, epoch, proof, .. }) => {
                let first = proof.epoch() == Epoch(0) && *epoch == Epoch(1);
                let committed = proofs.iter().any(|(of, known)| of == plan && *known == proof);
                if !first && !committed {
                    let what = format!("epoch {epoch} was activated without a committed proof");
                    found.push(broken(2, commit.at, what));
                }
                if commit.needed.is_none_or(|needed| proof.level() < needed) {
                    let what = format!("epoch {epoch} was activated with proof {}", proof.level());
                    found.push(broken(2, commit.at, what));
                }
            }
            _ => {}
        }
    }
    found
}

fn untrue(history: &History, at: u64, epoch: Epoch) -> Vec<Violation> {
    let open = history.gates.iter().filter(|gate| gate.epoch <= epoch && gate.until > at);
    open.map(|gate| {
        let (host, until) = (NAMES[gate.host], gate.until - at);
        let what = format!(
            "epoch {epoch} is proven fenced, and {host}'s gate is open under epoch {} for {until} us more",
            gate.epoch
        );
        broken(2, at.max(gate.from), what)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{Commit, Open},
        stage::{Names, P1},
    };
    use failover::{Position, ProofLevel};
    use model::{StepId, Wall};
    use std::rc::Rc;

    fn proof(epoch: u64) -> FenceProof {
        let how = serde_json::json!({"lapsed": {"gate_armed": true}});
        let host = serde_json::json!({"host": "p1", "how": how});
        let json = serde_json::json!({"group": "fx", "epoch": epoch, "hosts": [host]});
        serde_json::from_value(json).unwrap()
    }

    fn commit(record: Record, needed: Option<ProofLevel>) -> Commit {
        let record = Some(Rc::new(record));
        Commit { at: 100, position: Position::default(), record, applied: Applied::Done, needed }
    }

    fn activated(needed: ProofLevel) -> Commit {
        let names = Names::new().unwrap();
        let record = Record::Activated {
            plan: PlanId(2),
            step: StepId(1),
            group: names.group,
            site: names.sites[1].clone(),
            epoch: Epoch(2),
            proof: proof(1),
            at: Wall(0),
        };
        commit(record, Some(needed))
    }

    fn fenced() -> Commit {
        let (plan, step, at) = (PlanId(2), StepId(0), Wall(0));
        commit(Record::Fenced { plan, step, proof: proof(1), at }, None)
    }

    #[test]
    fn it_finds_a_missing_a_weak_and_an_untrue_proof() {
        let commits = vec![fenced(), activated(ProofLevel::LapsedBehindGate)];
        let mut history = History { commits, ..History::default() };
        assert!(check(&history).is_empty());
        history.commits = vec![activated(ProofLevel::LapsedBehindGate)];
        assert_eq!(check(&history).len(), 1, "missing");
        history.commits = vec![fenced(), activated(ProofLevel::Acknowledged)];
        assert_eq!(check(&history).len(), 1, "weak");
        history.commits = vec![fenced()];
        history.gates = vec![Open { host: P1, epoch: Epoch(1), from: 0, until: 101 }];
        assert_eq!(check(&history).len(), 1, "untrue");
    }
}
