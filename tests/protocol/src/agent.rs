//! A1, A2, A6: what one agent remembers, and when its gate may open.
//!
//! Nothing here looks at another agent or at a coordinator: what an agent does
//! not know cannot help it.

use crate::{
    defect::{Defect, Rules},
    time::{HELD, LEASE, RATE_ERROR, Ticks, WAITED},
};

/// One of the two sites of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Site {
    /// Active at first.
    A,
    /// The standby.
    B,
}

impl Site {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The site that `epoch` makes active. Each activation goes to the other
    /// site: odd ones to A, even ones to B.
    #[must_use]
    pub const fn active_in(epoch: u8) -> Self {
        if epoch % 2 == 1 { Self::A } else { Self::B }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// A request of one tick, and what is under way to answer it. Its place in
/// [`Agent::asked`] is its age, so the place is the nonce and tells `t_send`.
///
/// The same request goes to every coordinator and to the other site's agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Request {
    /// It was sent, is remembered, and may arrive anywhere at any time.
    pub sent: bool,
    /// A coordinator granted it; the answer may arrive at any time.
    pub granted: bool,
    /// The other agent promised; the answer may arrive at any time.
    pub promised: bool,
}

/// What keeps a gate open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A coordinator's grant (A2).
    Grant,
    /// The other site's promise (A6).
    Promise,
}

/// One agent, with the kernel gate of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Agent {
    /// The highest epoch seen; on disk.
    pub epoch: u8,
    /// What is left of the lease that a coordinator granted. In the kernel.
    pub granted: Ticks,
    /// What is left of the lease that a promise allows. In the kernel.
    pub failsafe: Ticks,
    /// How long this agent must not open its gate, because it has promised so,
    /// or may have before it was restarted (A6).
    pub bound: Ticks,
    /// Whether it makes no new promises, because it told a coordinator that none
    /// is outstanding, or will be soon (C4). On disk, like the epoch.
    pub withholds: bool,
    /// The requests by age, youngest first. Older ones could extend nothing.
    pub asked: [Request; HELD as usize],
}

impl Agent {
    /// An agent that has seen `epoch`: closed (A1).
    #[must_use]
    pub fn new(epoch: u8) -> Self {
        Self {
            epoch,
            granted: 0,
            failsafe: 0,
            bound: 0,
            withholds: false,
            asked: [Request::default(); HELD as usize],
        }
    }

    /// Whether protected traffic may leave (A1).
    #[must_use]
    pub const fn open(&self) -> bool {
        self.granted > 0 || self.failsafe > 0
    }

    /// Takes note of a committed epoch. A lower one is refused; a higher one
    /// closes the gate, and no answer to a request of before counts (A1).
    pub fn adopt(&mut self, epoch: u8) {
        if epoch <= self.epoch {
            return;
        }
        self.epoch = epoch;
        self.withholds = false;
        self.close();
    }

    /// Closes the gate and makes what is under way count for nothing: on command
    /// (A3), after a stall (A5), or because the clock is better than feared.
    pub fn close(&mut self) {
        self.granted = 0;
        self.failsafe = 0;
        self.asked = [Request::default(); HELD as usize];
    }

    /// Sends a request; `t_send` is this tick (A2). Only the site that its own
    /// highest epoch makes active asks (A1).
    pub fn ask(&mut self, me: Site) {
        if Site::active_in(self.epoch) == me {
            self.asked[0].sent = true;
        }
    }

    /// Takes the answer to the request of `age` ticks ago.
    pub fn take(&mut self, age: usize, source: Source, rules: Rules) {
        // A6: while bound, the gate does not open under any epoch.
        if self.bound > 0 && !rules.lack(Defect::A6NotEnforced) {
            return;
        }
        let Some(left) = self.left(age, rules) else { return };
        let lease = match source {
            Source::Grant => &mut self.granted,
            Source::Promise => &mut self.failsafe,
        };
        *lease = left.max(*lease);
    }

    /// A2: the deadline is `t_send + T` by this host's slow clock, where `t_send`
    /// belongs to the request with the answer's nonce, and to no other.
    fn left(&self, age: usize, rules: Rules) -> Option<Ticks> {
        let sent = if rules.lack(Defect::A2FromReceipt) {
            0
        } else if rules.lack(Defect::A2AnyNonce) {
            self.asked.iter().position(|request| request.sent)?
        } else {
            age
        };
        Some(HELD - Ticks::try_from(sent).ok()?)
    }

    /// A6: promises the site that is active under `epoch` not to open this gate,
    /// counted from the receipt, or refuses: where a higher epoch is known, this
    /// gate is open, or promises are withheld. Each promise is good for one
    /// request, so one refusal or silence ends failsafe by itself.
    pub fn promise(&mut self, epoch: u8, rules: Rules) -> bool {
        self.adopt(epoch);
        if self.epoch > epoch || self.open() || self.withholds {
            return false;
        }
        // What a fast clock makes of T alone, where the rule is broken.
        let length = if rules.lack(Defect::A6TooShort) { LEASE - RATE_ERROR } else { WAITED };
        self.bound = self.bound.max(length);
        true
    }

    /// The process starts again. Nonces are forgotten; the gate is in the
    /// kernel. A6: a promise may have been forgotten too, so the agent is bound
    /// as if it had just made one; where the gate is open it can have made none.
    pub fn restart(&mut self, rules: Rules) {
        self.asked = [Request::default(); HELD as usize];
        self.bound = if self.open() || rules.lack(Defect::A6Forgotten) { 0 } else { WAITED };
        if rules.lack(Defect::C4ReportForgotten) {
            self.withholds = false;
        }
        if rules.lack(Defect::A1EpochForgotten) {
            self.epoch = 1;
        }
    }

    /// A tick passes: the kernel closes the gate in time, whatever the agent does.
    pub fn tick(&mut self) {
        self.granted = self.granted.saturating_sub(1);
        self.failsafe = self.failsafe.saturating_sub(1);
        self.bound = self.bound.saturating_sub(1);
        self.asked.rotate_right(1);
        self.asked[0] = Request::default();
    }
}
