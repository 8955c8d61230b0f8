//! The rules that can be broken, one at a time: a checker that finds nothing
//! is worth something only where it is seen to find.

/// A rule that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Defect {
    /// A1: the highest epoch is not on disk.
    A1EpochForgotten,
    /// A2: the deadline counts from the receipt of the answer.
    A2FromReceipt,
    /// A2: an answer counts for the newest request, whatever its nonce.
    A2AnyNonce,
    /// A6: the active goes on when nobody answers, without a promise.
    A6NoPromise,
    /// A6: the agent that promised opens its gate all the same.
    A6NotEnforced,
    /// A6: a restarted agent forgets that it may have promised.
    A6Forgotten,
    /// A6: a promise binds for T alone.
    A6TooShort,
    /// C2: renewals are granted without a quorum round.
    C2NoRound,
    /// C2: a round serves requests that came after it, too.
    C2EarlierRound,
    /// C4: a lapse is concluded at once.
    C4AtOnce,
    /// C4: a new leader, which has granted nothing, takes it that nothing was granted.
    C4ForgetsOthers,
    /// C4: a lapse is concluded after T(1+rho), without m.
    C4WithoutMargin,
    /// C4: a lapse is concluded without the target's word on its promises.
    C4WithoutReport,
    /// C4: a restarted agent forgets that it gave that word, and promises again.
    C4ReportForgotten,
}

/// The rules, all of them or all but one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules(Option<Defect>);

impl Rules {
    /// Every rule is kept.
    pub const KEPT: Self = Self(None);

    /// One rule is not.
    #[must_use]
    pub const fn without(defect: Defect) -> Self {
        Self(Some(defect))
    }

    /// Whether this is the one that is not kept.
    #[must_use]
    pub fn lack(self, defect: Defect) -> bool {
        self.0 == Some(defect)
    }
}
