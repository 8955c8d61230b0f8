//! From single findings to a verdict that does not flap: rise and fall counts.
//!
//! Pure: knows no clock and no probe. Invariant: a verdict gets worse only
//! after `fall` findings in a row that are at least that bad, and better only
//! after `rise` in a row that are at least that good. A finding of unknown
//! proves neither: it breaks both rows, and becomes the verdict only after
//! `fall` of them (unless the configuration says that it means something worse).

use model::Verdict;
use serde::Deserialize;

/// What it means when a probe could not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownMeans {
    /// Nothing is known, and the verdict says so.
    #[default]
    Unknown,
    /// Counts as a finding worth a look.
    Warn,
    /// Counts as a finding of failure.
    Critical,
}

/// How many findings in a row it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Good ones to get better; 0 counts as 1.
    pub rise: u32,
    /// Bad ones to get worse; 0 counts as 1.
    pub fall: u32,
    /// What a finding of unknown means.
    pub unknown: UnknownMeans,
}

/// Lengths of the rows that end with the newest finding.
#[derive(Debug, Clone, Copy, Default)]
struct Rows {
    ok: u32,
    at_most_warn: u32,
    at_least_warn: u32,
    critical: u32,
    unknown: u32,
}

impl Rows {
    const fn after(self, finding: Verdict) -> Self {
        match finding {
            Verdict::Ok => Self {
                ok: self.ok.saturating_add(1),
                at_most_warn: self.at_most_warn.saturating_add(1),
                at_least_warn: 0,
                critical: 0,
                unknown: 0,
            },
            Verdict::Warn => Self {
                ok: 0,
                at_most_warn: self.at_most_warn.saturating_add(1),
                at_least_warn: self.at_least_warn.saturating_add(1),
                critical: 0,
                unknown: 0,
            },
            Verdict::Critical => Self {
                ok: 0,
                at_most_warn: 0,
                at_least_warn: self.at_least_warn.saturating_add(1),
                critical: self.critical.saturating_add(1),
                unknown: 0,
            },
            Verdict::Unknown => Self {
                ok: 0,
                at_most_warn: 0,
                at_least_warn: 0,
                critical: 0,
                unknown: self.unknown.saturating_add(1),
            },
        }
    }
}

/// One probe's verdict over time; unknown until findings say otherwise.
#[derive(Debug, Clone)]
pub struct Judge {
    rules: Rules,
    rows: Rows,
    verdict: Verdict,
}

impl Judge {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, rows: Rows::default(), verdict: Verdict::Unknown }
    }

    /// Takes one finding in and gives the verdict after it.
    pub fn observe(&mut self, finding: Verdict) -> Verdict {
        let finding = self.meaning(finding);
        self.rows = self.rows.after(finding);
        let rise = self.rules.rise.max(1);
        let fall = self.rules.fall.max(1);
        let rows = self.rows;
        self.verdict = match self.verdict {
            _ if rows.critical >= fall => Verdict::Critical,
            _ if rows.ok >= rise => Verdict::Ok,
            _ if rows.unknown >= fall => Verdict::Unknown,
            Verdict::Critical if rows.at_most_warn >= rise => Verdict::Warn,
            Verdict::Critical => Verdict::Critical,
            Verdict::Ok | Verdict::Unknown | Verdict::Warn if rows.at_least_warn >= fall => {
                Verdict::Warn
            }
            same @ (Verdict::Ok | Verdict::Unknown | Verdict::Warn) => same,
        };
        self.verdict
    }

    /// The verdict as of the newest finding.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    const fn meaning(&self, finding: Verdict) -> Verdict {
        match (finding, self.rules.unknown) {
            (Verdict::Unknown, UnknownMeans::Warn) => Verdict::Warn,
            (Verdict::Unknown, UnknownMeans::Critical) => Verdict::Critical,
            (Verdict::Unknown, UnknownMeans::Unknown)
            | (Verdict::Ok | Verdict::Warn | Verdict::Critical, _) => finding,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Critical as C, Ok as O, Unknown as U, Warn as W};
    use proptest::prelude::*;

    fn run(rise: u32, fall: u32, unknown: UnknownMeans, findings: &[Verdict]) -> Vec<Verdict> {
        let mut judge = Judge::new(Rules { rise, fall, unknown });
        findings.iter().map(|finding| judge.observe(*finding)).collect()
    }

    #[test]
    fn it_takes_a_row_to_change() {
        let verdicts = run(2, 3, UnknownMeans::Unknown, &[O, O, C, C, O, C, C, C, O, O]);
        assert_eq!(verdicts, [U, O, O, O, O, O, O, C, C, O]);
    }

    #[test]
    fn a_mixed_row_of_bad_findings_is_as_bad_as_its_mildest() {
        assert_eq!(run(1, 3, UnknownMeans::Unknown, &[O, C, C, W, C, C, C]), [O, O, O, W, W, W, C]);
    }

    #[test]
    fn critical_gets_better_by_its_own_row() {
        assert_eq!(run(2, 1, UnknownMeans::Unknown, &[C, W, W, O, O]), [C, C, W, W, O]);
        assert_eq!(run(3, 1, UnknownMeans::Unknown, &[C, O, W, O, O]), [C, C, C, W, W]);
    }

    #[test]
    fn unknown_breaks_rows_and_proves_nothing() {
        assert_eq!(run(1, 2, UnknownMeans::Unknown, &[O, C, U, C, U, U]), [O, O, O, O, O, U]);
        assert_eq!(run(2, 1, UnknownMeans::Unknown, &[O, U, O, O]), [U, U, U, O]);
    }

    #[test]
    fn unknown_means_what_the_configuration_says() {
        assert_eq!(run(1, 2, UnknownMeans::Critical, &[O, U, U]), [O, O, C]);
        assert_eq!(run(1, 1, UnknownMeans::Warn, &[U, O]), [W, O]);
    }

    #[test]
    fn zero_counts_as_one() {
        assert_eq!(run(0, 0, UnknownMeans::Unknown, &[O, C, O]), [O, C, O]);
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![Just(O), Just(W), Just(C), Just(U)]
    }

    proptest! {
        #[test]
        fn a_change_always_rests_on_a_row(
            rise in 1_usize..5,
            fall in 1_usize..5,
            findings in proptest::collection::vec(any_verdict(), 0..60),
        ) {
            let count = |n| u32::try_from(n).unwrap();
            let verdicts = run(count(rise), count(fall), UnknownMeans::Unknown, &findings);
            let mut before = U;
            for (at, verdict) in verdicts.iter().copied().enumerate() {
                if verdict != before {
                    let improves = verdict == O || (before == C && verdict == W);
                    let row = if improves { rise } else { fall };
                    prop_assert!(at + 1 >= row);
                    let newest = &findings[at + 1 - row..=at];
                    let rests = match (verdict, improves) {
                        (Verdict::Ok, _) => newest.iter().all(|f| *f == O),
                        (Verdict::Warn, true) => newest.iter().all(|f| matches!(f, O | W)),
                        (Verdict::Warn, false) => newest.iter().all(|f| matches!(f, W | C)),
                        (Verdict::Critical, _) => newest.iter().all(|f| *f == C),
                        (Verdict::Unknown, _) => newest.iter().all(|f| *f == U),
                    };
                    prop_assert!(rests, "{before} became {verdict} after {newest:?}");
                }
                before = verdict;
            }
        }
    }
}
