//! Invariant 1: at no instant do two sites of a group have an open gate; and
//! the venue gets no order of an older epoch after the first of a newer one.

use super::{Violation, broken};
use crate::{history::History, stage::NAMES};

/// Looks at every pair of intervals, and at every order.
pub(super) fn check(history: &History) -> Vec<Violation> {
    let mut gates = history.gates.clone();
    gates.sort_by_key(|gate| gate.from);
    let mut found = Vec::new();
    for (at, gate) in gates.iter().enumerate() {
        let later = gates[at + 1..].iter().take_while(|other| other.from < gate.until);
        for other in later.filter(|other| other.host != gate.host) {
            let until = gate.until.min(other.until);
            let what = format!(
                "{} (epoch {}) and {} (epoch {}) both have an open gate for {} us",
                NAMES[gate.host],
                gate.epoch,
                NAMES[other.host],
                other.epoch,
                until - other.from
            );
            found.push(broken(1, other.from, what));
        }
    }
    let mut newest = model::Epoch(0);
    for order in history.orders() {
        if order.epoch < newest {
            let what = format!(
                "an order of epoch {} from {} after one of epoch {newest}",
                order.epoch, NAMES[order.host]
            );
            found.push(broken(1, order.at, what));
        }
        newest = newest.max(order.epoch);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::{Open, Served},
        stage::{P1, S1},
    };
    use model::Epoch;

    fn open(host: usize, epoch: u64, from: u64, until: u64) -> Open {
        Open { host, epoch: Epoch(epoch), from, until }
    }

    #[test]
    fn it_finds_one_microsecond_of_two_open_gates_and_no_touch() {
        let gates = vec![open(P1, 1, 0, 100), open(S1, 2, 100, 200), open(P1, 3, 200, 300)];
        let mut history = History { gates, ..History::default() };
        assert!(check(&history).is_empty());
        history.gates[1].from = 99;
        assert_eq!(check(&history).len(), 1);
        // Long intervals and short ones between them.
        history.gates = vec![open(P1, 1, 0, 1000), open(P1, 1, 10, 20), open(S1, 2, 900, 901)];
        assert_eq!(check(&history).len(), 1);
    }

    #[test]
    fn it_finds_an_order_of_an_older_epoch() {
        let served = |host, from, until| Served { host, from, until };
        let gates = vec![open(S1, 2, 0, 100), open(P1, 1, 200, 300)];
        let mut history = History { gates, ..History::default() };
        assert!(check(&history).is_empty(), "nobody trades");
        history.served = vec![served(S1, 50, 60), served(P1, 0, 1000)];
        assert!(!check(&history).is_empty());
    }
}
