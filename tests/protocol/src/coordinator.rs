//! C1 to C4: rounds, grants, the proof of a lapse, and the record that activates.
//!
//! A leader here is what one leadership knows. The newest leader knows all that
//! is committed; a former one knows what was committed while it led.

use crate::{
    defect::{Defect, Rules},
    time::{HELD, MARGIN, Ticks, WAITED},
};

/// One leadership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Leader {
    /// The committed epoch, as far as known.
    pub epoch: u8,
    /// Whether a plan is committed that fences the active site.
    pub fencing: bool,
    /// C2: how long ago the last confirmed round began, up to where no request
    /// that it could serve is left.
    pub round: Option<Ticks>,
    /// C4: ticks since the last grant or, where there was none, the election; up
    /// to where more of them change nothing.
    pub since: Ticks,
    /// C4: the target's agent has reported that no promise of its own is
    /// outstanding.
    pub reported: bool,
}

/// C3, C4: the proof that no lease of the old site can live. It is made by
/// [`Leader::conclude`] alone, and the record that activates takes it by value.
#[derive(Debug, PartialEq, Eq)]
pub struct FenceProof(());

impl Leader {
    /// The first leader, which granted the active site its lease just now.
    #[must_use]
    pub const fn first() -> Self {
        Self { epoch: 1, fencing: false, round: None, since: 0, reported: false }
    }

    /// The next leader. It has granted nothing, but the one before it may have,
    /// up to this moment: C4 counts from the own election.
    #[must_use]
    pub fn elected(self, rules: Rules) -> Self {
        let since = if rules.lack(Defect::C4ForgetsOthers) { WAITED } else { 0 };
        Self { round: None, since, reported: false, ..self }
    }

    /// What is left of a leader when the next one is elected: it grants, if it
    /// may; a record of its own is committed no more.
    #[must_use]
    pub const fn deposed(self) -> Self {
        Self { since: 0, reported: false, ..self }
    }

    /// C2: whether this leader grants a request of `age` ticks for `epoch`: it is
    /// the committed one, no plan is fencing the site, and a quorum has confirmed
    /// this leader in a round begun after the request had arrived. A request that
    /// had arrived by then was sent by then, so it is no younger than the round.
    #[must_use]
    pub fn grants(&self, epoch: u8, age: Ticks, rules: Rules) -> bool {
        let confirmed = match self.round {
            None => rules.lack(Defect::C2NoRound),
            Some(round) => round <= age || rules.lack(Defect::C2EarlierRound),
        };
        epoch == self.epoch && !self.fencing && confirmed
    }

    /// C4: concludes that the lease of the old site has lapsed, or not yet. It
    /// takes `T(1+rho) + m` since the last moment at which a renewal may have been
    /// granted, and, as the group allows failsafe, the target's word.
    #[must_use]
    pub fn conclude(&self, rules: Rules) -> Option<FenceProof> {
        let wait = if rules.lack(Defect::C4AtOnce) {
            0
        } else if rules.lack(Defect::C4WithoutMargin) {
            WAITED - MARGIN
        } else {
            WAITED
        };
        let lapsed = self.since >= wait;
        let reported = self.reported || rules.lack(Defect::C4WithoutReport);
        (self.fencing && lapsed && reported).then_some(FenceProof(()))
    }

    /// The record is committed: the next epoch, which ends the plan.
    pub const fn activated(&mut self) {
        self.epoch += 1;
        self.fencing = false;
        self.reported = false;
    }

    /// A tick passes.
    pub fn tick(&mut self, leads: bool) {
        if leads {
            self.since = WAITED.min(self.since + 1);
        }
        self.round = self.round.map(|round| round + 1).filter(|round| *round < HELD);
    }
}
