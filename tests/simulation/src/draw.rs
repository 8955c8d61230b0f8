//! A seed becomes a plan: a setting, and the faults with their times.

use crate::{
    clock::{MS, SECOND, Us},
    fault::{Fault, Planned, Wish},
    rng::Rng,
    stage::{C1, C2, NODES, Node, P1, S1, Setting, VOTERS, W},
};

/// Everything that a run does, known before it begins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// What differs besides the faults.
    pub setting: Setting,
    /// The faults.
    pub faults: Vec<Planned>,
    /// When all of them are over, counted from when everything was well.
    pub length: Us,
    /// Whether nothing in it may lead to a failover: each fault is shorter than a lease.
    pub mild: bool,
}

/// One run in so many has no fault that may lead to a failover.
const MILD: u64 = 5;
/// One run in so many has a pause of up to ten minutes.
const LONG_PAUSE: u64 = 150;

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let setting = Setting::draw(&mut rng);
        let mild = rng.between(1, MILD) == 1;
        let length = rng.between(3, 15) * SECOND;
        let lease = setting.lease.0 * MS;
        let mut plan = Self { seed, setting, faults: Vec::new(), length, mild };
        if mild {
            for _ in 0..rng.between(1, 6) {
                plan.add_mild(&mut rng, lease);
            }
        } else {
            if rng.permille(300) {
                plan.add_story(&mut rng, lease);
            }
            for _ in 0..rng.between(1, 8) {
                plan.add(&mut rng, lease);
            }
            if rng.between(1, LONG_PAUSE) == 1 {
                let fault = Fault::Pause(rng.pick(&[C1, C2, W, P1, S1]).unwrap_or(P1));
                let at = rng.between(0, length);
                plan.faults.push(Planned { at, until: at + rng.between(30, 600) * SECOND, fault });
            }
        }
        plan.faults.sort_by_key(|planned| (planned.at, planned.until));
        let over = plan.faults.iter().map(|planned| planned.until).max().unwrap_or(0);
        plan.length = plan.length.max(over);
        plan
    }

    fn put(&mut self, at: Us, span: Us, fault: Fault) {
        self.faults.push(Planned { at, until: at + span, fault });
    }

    /// A fault that no failover may follow: a cut, a pause or a delay well below
    /// the lease, or loss that no five heartbeats in a row fall to.
    fn add_mild(&mut self, rng: &mut Rng, lease: Us) {
        let (from, to) = pair(rng);
        let at = rng.between(0, self.length);
        let short = rng.between(MS, lease * 4 / 10);
        let long = rng.between(100 * MS, 5 * SECOND);
        let node = (rng.between(0, NODES as u64 - 1)) as Node;
        match rng.between(0, 6) {
            0 => self.put(at, short, Fault::Cut(from, to)),
            1 => self.put(at, long, Fault::Loss(from, to, rng.between(1, 30))),
            2 => self.put(at, long, Fault::Twice(from, to, rng.between(1, 500))),
            3 => self.put(at, long, Fault::Slow(from, to, rng.between(MS, lease / 10))),
            4 => self.put(at, short, Fault::Pause(node)),
            5 => self.put(at, long, Fault::SlowDisk(node, rng.between(MS, lease / 20))),
            _ => self.put(at, 0, Fault::Step(node, step(rng))),
        }
    }

    fn add(&mut self, rng: &mut Rng, lease: Us) {
        let (from, to) = pair(rng);
        let node = (rng.between(0, NODES as u64 - 1)) as Node;
        let host = rng.pick(&[P1, S1]).unwrap_or(P1);
        let at = rng.between(0, self.length);
        let span = span(rng, lease);
        match rng.between(0, 19) {
            0..=3 => self.put(at, span, Fault::Cut(from, to)),
            4 => self.put(at, span, Fault::Isolate(node)),
            5 => self.put(at, span, Fault::Loss(from, to, rng.between(50, 900))),
            6 => self.put(at, span, Fault::Twice(from, to, rng.between(50, 900))),
            7 => self.put(at, span, Fault::Slow(from, to, rng.between(MS, 3 * lease))),
            8 | 9 => self.put(at, span, Fault::Crash(node)),
            10 => self.put(at, span, Fault::PowerOff(host)),
            11..=13 => {
                let writes = rng.between(1, 12);
                let kept = rng.permille(500);
                self.put(at, span, Fault::DiesAtWrite(node, writes, kept));
            }
            14 | 15 => self.put(at, span, Fault::Pause(node)),
            16 => self.put(at, span, Fault::SlowDisk(node, rng.between(10 * MS, 2 * SECOND))),
            17 => {
                let fault = match rng.between(0, 2) {
                    0 => Fault::ServiceDies(host),
                    1 => Fault::StartsFail(host, 1 + (rng.between(0, 2) as u32)),
                    _ => Fault::Step(node, step(rng)),
                };
                self.put(at, 0, fault);
            }
            _ => {
                let wishes = [
                    Wish::Switchover,
                    Wish::Failback,
                    Wish::Failover(host),
                    Wish::Hold,
                    Wish::Resume,
                ];
                let wish = rng.pick(&wishes).unwrap_or(Wish::Switchover);
                self.ask(at, wish);
            }
        }
    }

    /// Faults that belong together.
    fn add_story(&mut self, rng: &mut Rng, lease: Us) {
        let at = rng.between(0, self.length / 2);
        let later = at + rng.between(0, 2 * lease);
        let long = span(rng, lease) + 2 * lease;
        match rng.between(0, 12) {
            // The whole of the coordinators is gone, then the active host too.
            0 => {
                self.put(at, long, Fault::Crash(C1));
                self.put(at, long, Fault::Crash(C2));
                self.put(later, long, Fault::Isolate(P1));
            }
            // Primary and leading coordinator die together.
            1 => {
                self.put(at, long, Fault::PowerOff(P1));
                self.put(at, long, Fault::Crash(C1));
            }
            // The primary does not see the coordinators; a leader dies meanwhile.
            2 => {
                for voter in 0..VOTERS {
                    self.put(at, long, Fault::Cut(P1, voter));
                }
                self.put(later, long, Fault::Crash(rng.pick(&[C1, C2]).unwrap_or(C1)));
            }
            // A leader that is cut off from the quorum, and not from the hosts.
            3 => {
                for (one, other) in [(C1, C2), (C1, W)] {
                    self.put(at, long, Fault::Cut(one, other));
                    self.put(at, long, Fault::Cut(other, one));
                }
                self.put(later, long, Fault::Cut(P1, C2));
            }
            // The agent stands still while its container trades; a crash at the return.
            4 => {
                self.put(at, long, Fault::Pause(P1));
                self.put(at + long, lease, Fault::Crash(P1));
            }
            // A move, and a death in the middle of it.
            5 => {
                self.ask(at, Wish::Switchover);
                let node = rng.pick(&[C1, C2, W, P1, S1]).unwrap_or(S1);
                let writes = rng.between(1, 8);
                self.put(at, long, Fault::DiesAtWrite(node, writes, rng.permille(500)));
            }
            6..=8 => self.add_promises(rng, (at, long), lease),
            9 | 10 => self.add_return(rng, at, lease),
            11 => self.add_bad_start(rng, at, lease),
            // A flapping link.
            _ => {
                let (from, to) = pair(rng);
                let mut next = at;
                for _ in 0..rng.between(3, 12) {
                    let (off, on) = (rng.between(MS, lease), rng.between(MS, lease));
                    self.put(next, off, Fault::Cut(from, to));
                    next += off + on;
                }
            }
        }
    }

    /// Whoever leads answers; the operator's tool asks both.
    fn ask(&mut self, at: Us, wish: Wish) {
        self.put(at, 0, Fault::Ask(C1, wish));
        self.put(at, 0, Fault::Ask(C2, wish));
    }

    /// There and back, with a death or a cut on the way back.
    fn add_return(&mut self, rng: &mut Rng, at: Us, lease: Us) {
        self.ask(at, Wish::Switchover);
        let back = at + rng.between(2 * lease, 6 * lease);
        self.ask(back, Wish::Failback);
        let node = rng.pick(&[C1, C2, W, P1, S1]).unwrap_or(P1);
        let (writes, kept) = (rng.between(1, 8), rng.permille(500));
        match rng.between(0, 3) {
            0 => {}
            1 => self.put(back, 2 * lease, Fault::DiesAtWrite(node, writes, kept)),
            2 => self.put(back + rng.between(0, lease), lease, Fault::PowerOff(P1)),
            _ => self.put(back, rng.between(MS, 2 * lease), Fault::Isolate(node)),
        }
    }

    /// A standby on which nothing starts, so that the plan waits for a person, who
    /// sends everything back when the old host is there again.
    fn add_bad_start(&mut self, rng: &mut Rng, at: Us, lease: Us) {
        self.put(at, 0, Fault::StartsFail(S1, 50));
        self.put(at, 4 * lease, Fault::PowerOff(P1));
        let back = at + rng.between(6 * lease, 10 * lease);
        self.ask(back, rng.pick(&[Wish::Failover(P1), Wish::Failback]).unwrap_or(Wish::Failback));
    }

    /// An active host that no coordinator hears, and that goes on by promises.
    fn add_promises(&mut self, rng: &mut Rng, (at, long): (Us, Us), lease: Us) {
        match rng.between(0, 2) {
            // No coordinator hears the primary, which goes on by promises; whoever
            // promised dies and comes back.
            0 | 1 => {
                for voter in 0..VOTERS {
                    self.put(at, long, Fault::Cut(P1, voter));
                    self.put(at, long, Fault::Cut(voter, P1));
                }
                let crash = at + rng.between(0, 2 * lease);
                self.put(crash, rng.between(MS, lease), Fault::Crash(S1));
            }
            // The same after a move, so that who promised was active before.
            _ => {
                self.ask(at, Wish::Switchover);
                let cut = at + rng.between(0, 4 * lease);
                for voter in 0..VOTERS {
                    self.put(cut, long, Fault::Cut(S1, voter));
                    self.put(cut, long, Fault::Cut(voter, S1));
                }
                let crash = cut + rng.between(0, 2 * lease);
                let kept = rng.permille(300);
                match rng.between(0, 2) {
                    0 => self.put(crash, rng.between(MS, lease), Fault::Crash(P1)),
                    1 => self.put(crash, lease, Fault::DiesAtWrite(P1, 1, kept)),
                    _ => self.put(cut, 2 * lease, Fault::SlowDisk(P1, lease)),
                }
            }
        }
    }
}

fn pair(rng: &mut Rng) -> (Node, Node) {
    let from = rng.between(0, NODES as u64 - 1);
    let to = (from + rng.between(1, NODES as u64 - 1)) % NODES as u64;
    (from as Node, to as Node)
}

/// From a moment to many leases, shorter ones more often.
fn span(rng: &mut Rng, lease: Us) -> Us {
    match rng.between(0, 3) {
        0 => rng.between(MS, lease / 2),
        1 => rng.between(lease / 2, lease * 2),
        2 => rng.between(lease, lease * 4),
        _ => rng.between(MS, 8 * SECOND),
    }
}

/// An hour, one way or the other.
fn step(rng: &mut Rng) -> i64 {
    if rng.permille(500) { 3_600_000 } else { -3_600_000 }
}
