//! The venue's log, and what it says about two sites at once. Pure but for the
//! reading of the file.
//!
//! The rule: an order of an older epoch that arrives after the first order of a
//! newer one is a violation. A trader knows its site and not its epoch, as a
//! real terminal does; the journal says which site each epoch was for, and since
//! when.

use crate::webhook;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{net::SocketAddr, path::Path};

/// An order as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// When, in microseconds on `CLOCK_BOOTTIME` of the machine that tests.
    pub at_us: u64,
    /// When, in milliseconds since 1970: the clock of the journal's records.
    pub wall_ms: u64,
    /// The site that its trader was made for.
    pub site: String,
    /// Its trader's run.
    pub run: u64,
    /// Its number within the run.
    pub number: u64,
}

/// A committed activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The epoch.
    pub epoch: u64,
    /// The site that it is for.
    pub site: String,
    /// When its step began, in milliseconds since 1970.
    pub wall_ms: u64,
}

/// What the orders say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many orders broke the rule.
    pub violations: usize,
    /// From the first order of a newer epoch to the latest one of an older: the
    /// longest such window, in microseconds. 0 when none broke the rule.
    pub dual_active_us: u64,
    /// The first that did, in words.
    pub first: Option<String>,
}

/// One line of the venue's log.
#[must_use]
pub fn line(order: &Value, at_us: u64, wall_ms: u64, from: SocketAddr) -> String {
    let all = json!({
        "at_us": at_us,
        "wall_ms": wall_ms,
        "from": from.ip().to_string(),
        "site": order["site"],
        "run": order["run"],
        "number": order["number"],
    });
    format!("{all}\n")
}

/// Every order in the file, in the order of arrival.
///
/// # Errors
/// When the file cannot be read or a line is no order.
pub fn read(path: &Path) -> Result<Vec<Order>> {
    webhook::read_lines(path)?.iter().map(order).collect()
}

fn order(line: &Value) -> Result<Order> {
    let number =
        |field: &str| line[field].as_u64().with_context(|| format!("no `{field}` in {line}"));
    Ok(Order {
        at_us: number("at_us")?,
        wall_ms: number("wall_ms")?,
        site: line["site"].as_str().context("an order without a site")?.into(),
        run: number("run")?,
        number: number("number")?,
    })
}

/// Judges all orders by the activations, which are in the order of their epochs.
#[must_use]
pub fn judge(orders: &[Order], activations: &[Activation]) -> Verdict {
    let mut verdict = Verdict::default();
    // The newest epoch of which an order has come, and when its first one came.
    let mut now: Option<(usize, u64)> = None;
    for order in orders {
        // At best it is of the latest epoch that its site had by then.
        let best = activations.iter().rposition(|activation| {
            activation.site == order.site && activation.wall_ms <= order.wall_ms
        });
        match (best, now) {
            (Some(best), Some((at, _))) if best == at => continue,
            (Some(best), Some((at, _))) if best > at => {
                now = Some((best, order.at_us));
                continue;
            }
            (Some(best), None) => {
                now = Some((best, order.at_us));
                continue;
            }
            (Some(_) | None, Some(_)) | (None, None) => {}
        }
        let since = now.map_or(order.at_us, |(_, first)| first);
        verdict.violations += 1;
        verdict.dual_active_us =
            verdict.dual_active_us.max(order.at_us.saturating_sub(since)).max(1);
        verdict.first.get_or_insert_with(|| {
            format!(
                "order {} of {} (run {}) came {} us after the first one of {}",
                order.number,
                order.site,
                order.run,
                order.at_us.saturating_sub(since),
                now.map_or("no epoch", |(at, _)| activations[at].site.as_str()),
            )
        });
    }
    verdict
}

/// The first order of `site` that came at or after this moment.
#[must_use]
pub fn first_since<'a>(orders: &'a [Order], site: &str, at_us: u64) -> Option<&'a Order> {
    orders.iter().find(|order| order.site == site && order.at_us >= at_us)
}

/// The last order of `site` that came before this moment.
#[must_use]
pub fn last_before<'a>(orders: &'a [Order], site: &str, at_us: u64) -> Option<&'a Order> {
    orders.iter().rev().find(|order| order.site == site && order.at_us < at_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(site: &str, ms: u64) -> Order {
        Order { at_us: ms * 1000, wall_ms: ms, site: site.into(), run: 1, number: ms }
    }

    fn activations(list: &[(&str, u64)]) -> Vec<Activation> {
        let numbered = list.iter().zip(1..);
        numbered
            .map(|((site, wall_ms), epoch)| Activation {
                epoch,
                site: (*site).into(),
                wall_ms: *wall_ms,
            })
            .collect()
    }

    #[test]
    fn an_order_of_an_older_epoch_after_a_newer_one_is_a_violation() {
        let moved = activations(&[("a", 0), ("b", 50)]);
        let clean = [order("a", 10), order("a", 40), order("b", 60), order("b", 70)];
        assert_eq!(judge(&clean, &moved), Verdict::default());
        let late = [order("a", 10), order("b", 60), order("a", 75), order("b", 80)];
        let verdict = judge(&late, &moved);
        assert_eq!((verdict.violations, verdict.dual_active_us), (1, 15_000));
        let words = verdict.first.unwrap();
        assert!(words.contains("15000 us after the first one of b"), "{words}");
    }

    #[test]
    fn a_site_may_come_back_under_a_later_epoch_and_not_before() {
        let there_and_back = activations(&[("a", 0), ("b", 50), ("a", 100)]);
        let clean = [order("a", 10), order("b", 60), order("a", 101)];
        assert_eq!(judge(&clean, &there_and_back).violations, 0);
        let early = [order("a", 10), order("b", 60), order("a", 99), order("a", 101)];
        assert_eq!(judge(&early, &there_and_back).violations, 1);
    }

    #[test]
    fn an_epoch_that_never_traded_cannot_begin_to_after_a_newer_one() {
        let moved = activations(&[("a", 0), ("b", 50), ("a", 60)]);
        let orders = [order("a", 10), order("a", 70), order("b", 80)];
        assert_eq!(judge(&orders, &moved).violations, 1);
        // The same when only the last part of the log is looked at.
        let moved = activations(&[("a", 0), ("b", 50), ("a", 60), ("b", 90)]);
        let orders = [order("a", 80), order("b", 95), order("a", 97)];
        assert_eq!(judge(&orders, &moved).violations, 1);
    }

    #[test]
    fn an_order_without_any_activation_is_a_violation() {
        let one = activations(&[("a", 5)]);
        assert_eq!(judge(&[order("b", 10)], &one).violations, 1);
        assert_eq!(judge(&[order("a", 4)], &one).violations, 1, "before it was active");
        assert_eq!(judge(&[order("a", 5)], &one).violations, 0);
    }
}
