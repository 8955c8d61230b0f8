//! What may go wrong, as data: a run's faults are a list that can be printed.

use crate::{
    clock::{MS, Us},
    stage::{NAMES, Node},
};
use std::fmt;

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// A planned move to the standby.
    Switchover,
    /// A planned return to the primary.
    Failback,
    /// An unplanned move to this host's site.
    Failover(Node),
    /// Automation stops.
    Hold,
    /// Automation goes on.
    Resume,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes in this direction.
    Cut(Node, Node),
    /// Nothing passes to or from this node.
    Isolate(Node),
    /// Of a thousand messages so many are lost.
    Loss(Node, Node, u64),
    /// Of a thousand messages so many come twice.
    Twice(Node, Node, u64),
    /// Messages take up to so much longer, and overtake each other.
    Slow(Node, Node, Us),
    /// The process ends and starts again.
    Crash(Node),
    /// The machine ends and starts again; its service starts by itself (`restart: always`).
    PowerOff(Node),
    /// The process ends at its nth write from now on, which is kept or lost.
    DiesAtWrite(Node, u64, bool),
    /// The process stands still.
    Pause(Node),
    /// Durable writes take so much longer.
    SlowDisk(Node, Us),
    /// The wall clock is set, by so many milliseconds.
    Step(Node, i64),
    /// The service ends by itself.
    ServiceDies(Node),
    /// The next starts of the service fail.
    StartsFail(Node, u32),
    /// Somebody asks a coordinator for something.
    Ask(Node, Wish),
}

/// A fault with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// From then on, counted from when everything was well.
    pub at: Us,
    /// Until then.
    pub until: Us,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Cut(from, to) => write!(f, "cut {} -> {}", NAMES[from], NAMES[to]),
            Self::Isolate(node) => write!(f, "isolate {}", NAMES[node]),
            Self::Loss(from, to, n) => {
                write!(f, "lose {n} of 1000, {} -> {}", NAMES[from], NAMES[to])
            }
            Self::Twice(from, to, n) => {
                write!(f, "double {n} of 1000, {} -> {}", NAMES[from], NAMES[to])
            }
            Self::Slow(from, to, us) => {
                write!(f, "delay up to {} ms, {} -> {}", us / MS, NAMES[from], NAMES[to])
            }
            Self::Crash(node) => write!(f, "crash {}", NAMES[node]),
            Self::PowerOff(node) => write!(f, "power off {}", NAMES[node]),
            Self::DiesAtWrite(node, n, kept) => {
                let fate = if kept { "kept" } else { "lost" };
                write!(f, "{} dies at write {n} from now, which is {fate}", NAMES[node])
            }
            Self::Pause(node) => write!(f, "pause {}", NAMES[node]),
            Self::SlowDisk(node, us) => {
                write!(f, "{}'s disk takes {} ms longer", NAMES[node], us / MS)
            }
            Self::Step(node, ms) => {
                write!(f, "{}'s wall clock steps by {} s", NAMES[node], ms / 1000)
            }
            Self::ServiceDies(node) => write!(f, "the service on {} ends", NAMES[node]),
            Self::StartsFail(node, n) => {
                write!(f, "the next {n} starts on {} fail", NAMES[node])
            }
            Self::Ask(node, wish) => match wish {
                Wish::Switchover => write!(f, "ask {} for a switchover", NAMES[node]),
                Wish::Failback => write!(f, "ask {} for a failback", NAMES[node]),
                Wish::Failover(to) => {
                    write!(f, "ask {} to fail over to {}", NAMES[node], NAMES[to])
                }
                Wish::Hold => write!(f, "ask {} to hold automation", NAMES[node]),
                Wish::Resume => write!(f, "ask {} to resume automation", NAMES[node]),
            },
        }
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: Us| format!("{}.{:03}", us / MS / 1000, us / MS % 1000);
        write!(f, "{} to {} s: {}", ms(self.at), ms(self.until), self.fault)
    }
}
