//! What the voters say of the hosts, as the leader keeps it (C5): who votes,
//! each voter's newest observation, and when it came.
//!
//! Opinion, never journaled by itself; a decision copies it into its evidence.
//! Bounded by the number of voters: an observation of anybody else is dropped.

use crate::{
    policy::Timing,
    sight::{ObserverSight, Opinion},
    suspicion::FIRST_CONTACT,
};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::{Derived, HostId, Millis, Mono, Observation};

/// One voter's newest word.
#[derive(Debug, Clone)]
struct Word {
    at: Mono,
    watched: Millis,
    abstains: bool,
    hosts: BTreeMap<HostId, Millis>,
    /// What its bounds are, where they differ from those derived here.
    differs: Option<Derived>,
}

/// What this node knows of one host by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    /// Since its last heartbeat.
    pub(crate) silence: Option<Millis>,
    /// For how long this node has been watching without a stall of its own.
    pub(crate) steady: Millis,
}

/// The voters and their words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observers {
    own: String,
    voters: Vec<String>,
    words: BTreeMap<String, Word>,
}

impl Observers {
    /// Takes in who votes; what was heard of others is forgotten.
    pub(crate) fn learn(&mut self, own: String, mut voters: Vec<String>) {
        voters.sort();
        voters.dedup();
        self.words.retain(|name, _| voters.contains(name));
        (self.own, self.voters) = (own, voters);
    }

    /// Takes in what another voter sees.
    pub(crate) fn observed(&mut self, observation: Observation, now: Mono) {
        let Observation { observer, watched, abstains, hosts, derived } = observation;
        if observer == self.own || !self.voters.contains(&observer) {
            return;
        }
        let differs = (derived != Derived::of(derived.lease)).then_some(derived);
        let hosts = hosts.into_iter().map(|one| (one.host, one.silence)).collect();
        self.words.insert(observer, Word { at: now, watched, abstains, hosts, differs });
    }

    /// Every voter; empty as long as they are not known.
    pub(crate) fn voters(&self) -> &[String] {
        &self.voters
    }

    /// Every voter's opinion of `host`.
    pub(crate) fn of(
        &self,
        host: &HostId,
        own: Own,
        timing: &Timing,
        now: Mono,
    ) -> Vec<ObserverSight> {
        let one = |name: &String| {
            let opinion = if *name == self.own {
                judge(own.silence, own.steady, timing)
            } else if let Some(word) = self.words.get(name) {
                word.opinion(host, timing, now)
            } else {
                Opinion::Silent { why: "it has not said anything to this leader".into() }
            };
            ObserverSight { name: name.clone(), opinion }
        };
        self.voters.iter().map(one).collect()
    }

    /// How long ago another voter heard `host` at last, as far as it said: the
    /// dwell begins there, whoever heard it (C5).
    pub(crate) fn heard_ago(&self, host: &HostId, now: Mono) -> Option<Millis> {
        self.words
            .values()
            .filter(|word| !word.abstains && word.differs.is_none())
            .filter_map(|word| Some(now.since(word.at) + *word.hosts.get(host)?))
            .min()
    }
}

impl Word {
    fn opinion(&self, host: &HostId, timing: &Timing, now: Mono) -> Opinion {
        let age = now.since(self.at);
        if let Some(theirs) = self.differs {
            return Opinion::Differs { there: theirs, here: Derived::of(theirs.lease) };
        }
        if age >= timing.suspicion {
            let why = format!("its last word is {age} old, more than {}", timing.suspicion);
            return Opinion::Silent { why };
        }
        if self.abstains {
            return Opinion::Abstains { why: "its own tick was late".to_string() };
        }
        judge(self.hosts.get(host).copied(), self.watched, timing)
    }
}

/// What a silence means that an observer tells after watching for `watched`.
fn judge(silence: Option<Millis>, watched: Millis, timing: &Timing) -> Opinion {
    match silence {
        Some(silence) if silence < timing.suspicion => Opinion::Sees { silence },
        Some(_) if watched < timing.suspicion => {
            Opinion::Abstains { why: format!("it has watched without a stall for {watched} only") }
        }
        None if watched < FIRST_CONTACT + timing.suspicion => Opinion::Abstains {
            why: format!("it has not heard the host yet, and has watched for {watched} only"),
        },
        silence => Opinion::Lost { silence },
    }
}
