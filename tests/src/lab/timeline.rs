//! What happened in a lab, in order, for a person who looks at a failed
//! scenario: the faults, the activations, and the stretches of orders.

use super::orders::{Activation, Order};
use crate::journal;
use std::fmt::Write;

/// Two orders of one site with more than this between them are two stretches:
/// many times a trader's pace of 10 ms.
const GAP_US: u64 = 200_000;

/// What a scenario did, with its moments in milliseconds since 1970.
#[derive(Debug, Default)]
pub struct Timeline {
    notes: Vec<(u64, String)>,
}

impl Timeline {
    /// Notes something that is done now.
    pub fn note(&mut self, what: impl Into<String>) {
        self.notes.push((journal::wall_ms(), what.into()));
    }

    /// The whole story, times counted from its first line.
    #[must_use]
    pub fn tell(&self, orders: &[Order], activations: &[Activation]) -> String {
        let mut lines = self.notes.clone();
        for activation in activations {
            let words = format!("epoch {} for {}", activation.epoch, activation.site);
            lines.push((activation.wall_ms, words));
        }
        for (first, last, count) in stretches(orders) {
            let words = format!(
                "{count} orders of {} (run {}), until +{} ms",
                first.site,
                first.run,
                last.wall_ms.saturating_sub(first.wall_ms)
            );
            lines.push((first.wall_ms, words));
        }
        lines.sort_by_key(|(at, _)| *at);
        let start = lines.first().map_or(0, |(at, _)| *at);
        let mut text = String::new();
        for (at, words) in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:>8} ms  {words}", at - start);
        }
        text
    }
}

/// First and last order of each stretch, and how many there are in it.
fn stretches(orders: &[Order]) -> Vec<(&Order, &Order, usize)> {
    let mut found: Vec<(&Order, &Order, usize)> = Vec::new();
    for order in orders {
        let open = found.iter_mut().rev().find(|(first, last, _)| {
            first.run == order.run
                && first.site == order.site
                && order.at_us.saturating_sub(last.at_us) <= GAP_US
        });
        match open {
            Some((_, last, count)) => {
                *last = order;
                *count += 1;
            }
            None => found.push((order, order, 1)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_told_in_stretches() {
        let order =
            |ms: u64| Order { at_us: ms * 1000, wall_ms: ms, site: "a".into(), run: 7, number: ms };
        let orders: Vec<Order> = [0, 100, 250, 900, 950].map(order).to_vec();
        let told = Timeline::default().tell(&orders, &[]);
        assert!(told.contains("3 orders of a (run 7), until +250 ms"), "{told}");
        assert!(told.contains("900 ms  2 orders of a"), "{told}");
    }
}
