//! The network: every direction of every pair of nodes by itself.

use crate::{
    clock::Us,
    rng::Rng,
    stage::{NODES, Node},
};

/// One direction between two nodes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    /// Cuts in force; nothing passes while there is one.
    pub(crate) cuts: u32,
    /// Of a thousand messages so many are lost.
    pub(crate) loss: u64,
    /// Of a thousand so many come twice.
    pub(crate) twice: u64,
    /// What the way takes longer at most, in microseconds.
    pub(crate) slow: Us,
    /// Since when it has been cut, while it is.
    pub(crate) since: Us,
}

/// All of them.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    links: [[Link; NODES]; NODES],
    delay: (Us, Us),
}

impl Network {
    /// Everything passes, within these limits of delay.
    #[must_use]
    pub(crate) fn new(delay: (Us, Us)) -> Self {
        Self { links: [[Link::default(); NODES]; NODES], delay }
    }

    /// One direction, to be changed.
    pub(crate) const fn link_mut(&mut self, from: Node, to: Node) -> &mut Link {
        &mut self.links[from][to]
    }

    /// Cuts one direction.
    pub(crate) fn cut(&mut self, from: Node, to: Node, now: Us) {
        let link = &mut self.links[from][to];
        if link.cuts == 0 {
            link.since = now;
        }
        link.cuts += 1;
    }

    /// Takes one cut away.
    pub(crate) const fn heal(&mut self, from: Node, to: Node) {
        let link = &mut self.links[from][to];
        link.cuts = link.cuts.saturating_sub(1);
    }

    /// For how long the two could not both hear each other.
    #[must_use]
    pub(crate) fn broken_for(&self, one: Node, other: Node, now: Us) -> Us {
        let age = |link: &Link| if link.cuts > 0 { now.saturating_sub(link.since) } else { 0 };
        age(&self.links[one][other]).max(age(&self.links[other][one]))
    }

    /// When copies of a message arrive: none, one or two delays.
    pub(crate) fn carry(&self, from: Node, to: Node, rng: &mut Rng) -> [Option<Us>; 2] {
        let link = &self.links[from][to];
        if link.cuts > 0 || rng.permille(link.loss) {
            return [None, None];
        }
        let slow = if link.slow > 0 { rng.between(0, link.slow) } else { 0 };
        let first = rng.between(self.delay.0, self.delay.1) + slow;
        let second = rng.permille(link.twice).then(|| first + rng.between(0, 20 * self.delay.1));
        [Some(first), second]
    }
}
