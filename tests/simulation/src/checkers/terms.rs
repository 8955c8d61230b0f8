//! Invariant 3: terms and epochs never go down at an agent, also across
//! restarts: not in its memory, not on its disk, and not in what it does.

use super::{Violation, broken};
use crate::{
    history::History,
    stage::{NAMES, NODES},
};
use model::{Epoch, Term};

/// Looks at what each agent knew, kept and did.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut kept = [(Term(0), Epoch(0)); NODES];
    let mut known = [(0, Term(0), Epoch(0)); NODES];
    for seen in &history.seen {
        let (what, before) = if seen.durable {
            ("its disk", &mut kept[seen.host])
        } else {
            let (boot, term, epoch) = known[seen.host];
            // A new start may know no less than the disk held.
            let before = if boot == seen.boot { (term, epoch) } else { kept[seen.host] };
            if seen.term < before.0 || seen.epoch < before.1 {
                let what = format!("{} knows less than before", NAMES[seen.host]);
                found.push(broken(3, seen.at, what));
            }
            known[seen.host] = (seen.boot, seen.term, seen.epoch);
            continue;
        };
        if seen.term < before.0 || seen.epoch < before.1 {
            found.push(broken(3, seen.at, format!("{}: {what} holds less", NAMES[seen.host])));
        }
        *before = (seen.term.max(before.0), seen.epoch.max(before.1));
    }
    let mut gates = history.gates.clone();
    gates.sort_by_key(|gate| gate.from);
    let mut done = [Epoch(0); NODES];
    for gate in gates {
        if gate.epoch < done[gate.host] {
            let what = format!("{} opens its gate under an older epoch", NAMES[gate.host]);
            found.push(broken(3, gate.from, what));
        }
        done[gate.host] = done[gate.host].max(gate.epoch);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{Open, Seen},
        stage::P1,
    };

    fn seen(boot: u64, term: u64, epoch: u64, durable: bool) -> Seen {
        Seen { at: 0, host: P1, boot, term: Term(term), epoch: Epoch(epoch), durable }
    }

    #[test]
    fn it_finds_what_goes_down() {
        let with = |seen: &[Seen]| {
            let history = History { seen: seen.to_vec(), ..History::default() };
            check(&history).len()
        };
        assert_eq!(with(&[seen(1, 1, 1, false), seen(1, 2, 2, false)]), 0);
        assert_eq!(with(&[seen(1, 2, 1, false), seen(1, 1, 1, false)]), 1);
        assert_eq!(with(&[seen(1, 2, 2, true), seen(1, 2, 1, true)]), 1);
        let lost = [seen(1, 2, 2, false), seen(2, 1, 1, false)];
        assert_eq!(with(&lost), 0, "what was not durable yet may be lost");
        let forgot = [seen(1, 2, 2, true), seen(2, 1, 1, false)];
        assert_eq!(with(&forgot), 1, "what was durable may not");
        let open = |epoch, from| Open { host: P1, epoch: Epoch(epoch), from, until: from + 1 };
        let gates = vec![open(2, 0), open(1, 5)];
        let history = History { gates, ..History::default() };
        assert_eq!(check(&history).len(), 1);
    }
}
