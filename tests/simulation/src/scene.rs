//! What every node acts through: true time, the queue of what is to come, the
//! network, the clocks, and the history that is being written.

use crate::{
    clock::{Clock, MS, Us},
    history::History,
    message::Message,
    network::Network,
    rng::Rng,
    stage::{NAMES, NODES, Names, Node, Setting},
};
use failover::{Event, Now};
use model::Mono;
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

/// A lost message of a connection is sent again after this.
const RESEND: Us = 200 * MS;
/// A connection gives up after this (`TCP_USER_TIMEOUT`).
pub(crate) const GIVE_UP: Us = 4000 * MS;
/// Never.
const NEVER: Us = Us::MAX;

/// What is to come.
#[derive(Debug)]
pub(crate) enum Coming {
    /// A node's own timer.
    Wake(Node),
    /// A message, and when it was sent first.
    Arrive { from: Node, to: Node, message: Box<Message> },
    /// A lost message of a connection is tried again.
    Again { from: Node, to: Node, message: Box<Message>, since: Us },
    /// An effect's result, for this start of a voter's process.
    Result { node: Node, incarnation: u32, event: Box<Event> },
    /// The notification channel takes a message.
    Accept(u64),
    /// A durable write of an agent's has ended.
    Durable { node: Node, incarnation: u32 },
    /// A service's state changes by itself.
    Service { node: Node, number: u64 },
    /// A fault begins.
    Fault(usize),
    /// A fault ends.
    Over(usize),
    /// A node that was down starts.
    Start(Node),
}

#[derive(Debug)]
struct Item {
    at: Us,
    number: u64,
    coming: Coming,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Item {}
impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Item {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What a durable write comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is durable.
    Well,
    /// The node dies before it is.
    LostWithNode,
    /// It is durable, and the node dies before it can act on that.
    KeptWithoutNode,
}

/// A node's process and its disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    /// Whether it runs.
    pub(crate) up: bool,
    /// Pauses in force.
    pub(crate) paused: u32,
    /// Which start of it this is.
    pub(crate) incarnation: u32,
    /// It has just died in the middle of something: nothing leaves it any more.
    pub(crate) dying: bool,
    /// How many more writes it survives, and whether the last is kept.
    pub(crate) dies_in: Option<(u64, bool)>,
    /// What a write takes longer.
    pub(crate) slow_disk: Us,
    /// Writes so far.
    pub(crate) writes: u64,
}

/// One line of a timeline.
#[derive(Debug, Clone)]
pub struct Line {
    /// When.
    pub at: Us,
    /// Who; `None` for the world itself.
    pub node: Option<Node>,
    /// What.
    pub what: String,
}

/// Everything that nodes share.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) now: Us,
    pub(crate) names: Names,
    pub(crate) setting: Setting,
    pub(crate) rng: Rng,
    pub(crate) clocks: [Clock; NODES],
    pub(crate) lives: [Life; NODES],
    pub(crate) network: Network,
    pub(crate) history: History,
    pub(crate) lines: Option<Vec<Line>>,
    pub(crate) messages: u64,
    queue: BinaryHeap<Reverse<Item>>,
    number: u64,
    wakes: [Us; NODES],
}

impl Scene {
    pub(crate) fn new(names: Names, setting: Setting, rng: Rng, told: bool) -> Self {
        let clock = |node: usize| {
            Clock::new(setting.base[node] * 1_000_000, setting.ppm[node], setting.wall[node])
        };
        Self {
            now: 0,
            clocks: std::array::from_fn(clock),
            lives: std::array::from_fn(|_| Life::default()),
            network: Network::new(setting.delay),
            names,
            setting,
            rng,
            history: History::default(),
            lines: told.then(Vec::new),
            messages: 0,
            queue: BinaryHeap::with_capacity(256),
            number: 0,
            wakes: [NEVER; NODES],
        }
    }

    /// Puts something into the queue.
    pub(crate) fn at(&mut self, at: Us, coming: Coming) {
        self.number += 1;
        self.queue.push(Reverse(Item { at, number: self.number, coming }));
    }

    /// What comes next, if it comes before `until`; true time goes there.
    pub(crate) fn next(&mut self, until: Us) -> Option<Coming> {
        if self.queue.peek().is_none_or(|Reverse(item)| item.at > until) {
            self.now = until;
            return None;
        }
        let Reverse(item) = self.queue.pop()?;
        self.now = item.at;
        Some(item.coming)
    }

    /// The node wants to be woken when its own clock shows `mono`, and not for
    /// what it wanted before.
    pub(crate) fn wake(&mut self, node: Node, mono: Mono) {
        let at = self.clocks[node].when(mono).max(self.now);
        if at != self.wakes[node] {
            self.wakes[node] = at;
            self.at(at, Coming::Wake(node));
        }
    }

    /// Whether the timer that rings now is the one that the node wants.
    pub(crate) fn rings(&mut self, node: Node) -> bool {
        let wanted = self.wakes[node] == self.now;
        if wanted {
            self.wakes[node] = NEVER;
        }
        wanted
    }

    /// The node's clock.
    pub(crate) fn mono(&self, node: Node) -> Mono {
        self.clocks[node].mono(self.now)
    }

    /// The node's clocks.
    pub(crate) fn clock(&self, node: Node) -> Now {
        Now { mono: self.mono(node), wall: self.clocks[node].wall(self.now) }
    }

    /// Sends a message, `after` a while.
    pub(crate) fn send(&mut self, from: Node, to: Node, message: Message, after: Us) {
        self.carry(from, to, message, after, self.now);
    }

    fn carry(&mut self, from: Node, to: Node, message: Message, after: Us, since: Us) {
        if self.lives[from].dying {
            return;
        }
        self.messages += 1;
        let [first, second] = self.network.carry(from, to, &mut self.rng);
        if let Some(delay) = second {
            let again = Box::new(message.clone());
            self.at(self.now + after + delay, Coming::Arrive { from, to, message: again });
        }
        let message = Box::new(message);
        match first {
            Some(delay) => {
                self.at(self.now + after + delay, Coming::Arrive { from, to, message });
            }
            None if message.insists() => {
                self.at(self.now + RESEND, Coming::Again { from, to, message, since });
            }
            None => {}
        }
    }

    /// A lost message of a connection is tried again, for as long as one lasts.
    pub(crate) fn again(&mut self, from: Node, to: Node, message: Message, since: Us) {
        if self.lives[from].up && self.now < since + GIVE_UP {
            self.carry(from, to, message, 0, since);
        }
    }

    /// How long a durable write takes.
    pub(crate) fn disk(&mut self, node: Node) -> Us {
        let (low, high) = self.setting.disk;
        self.rng.between(low, high) + self.lives[node].slow_disk
    }

    /// What becomes of the write that ends now.
    pub(crate) fn fate(&mut self, node: Node) -> Fate {
        let life = &mut self.lives[node];
        life.writes += 1;
        let Some((left, kept)) = &mut life.dies_in else { return Fate::Well };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return Fate::Well;
        }
        let fate = if *kept { Fate::KeptWithoutNode } else { Fate::LostWithNode };
        life.dies_in = None;
        life.dying = true;
        fate
    }

    /// A line of the timeline, made only where somebody reads it.
    pub(crate) fn say(&mut self, node: Node, what: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(Line { at: self.now, node: Some(node), what: what() });
        }
    }

    /// A line about the world.
    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(Line { at: self.now, node: None, what: what() });
        }
    }
}

/// A timeline as text.
#[must_use]
pub fn print(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        let who = line.node.map_or("  *", |node| NAMES[node]);
        let (s, ms, us) = (line.at / 1_000_000, line.at / 1000 % 1000, line.at % 1000);
        text.push_str(&format!("{s:>4}.{ms:03}{us:03} {who:>3}  {}\n", line.what));
    }
    text
}
