//! The bounds of a search for the leader, and what is told when it fails.

use super::dial::Refusal;
use crate::{context::Context, end::Failure};
use daemon::backoff::Backoff;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A search that is under way.
#[derive(Debug)]
pub(super) struct Search {
    begun: Instant,
    timeout: Duration,
    /// How many coordinators there are to ask.
    coordinators: usize,
    backoff: Backoff,
    /// Address to what came of it last.
    heard: BTreeMap<String, String>,
    /// Those who will not have this operator's certificate, however often they are asked.
    hopeless: BTreeMap<String, String>,
}

impl Search {
    pub(super) fn new(timeout: Duration, coordinators: usize) -> Self {
        // An election takes 0.3 s at the default timing: look again about that often.
        let backoff = Backoff::from_os(Duration::from_millis(100), Duration::from_millis(500), 30);
        Self {
            begun: Instant::now(),
            timeout,
            coordinators,
            backoff,
            heard: BTreeMap::new(),
            hopeless: BTreeMap::new(),
        }
    }

    /// What is left of the time.
    pub(super) fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.begun.elapsed())
    }

    /// Waits for `work`, but not beyond the end of the search.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(self.left(), work).await.ok()
    }

    /// It answered, but not with what is looked for.
    pub(super) fn silent(&mut self, address: String, words: String) {
        self.hopeless.remove(&address);
        self.note(address, words);
    }

    /// It could not be dialled.
    pub(super) fn not_dialled(&mut self, address: String, refusal: Refusal) {
        if refusal.for_good {
            self.hopeless.insert(address.clone(), refusal.words.clone());
        }
        self.note(address, refusal.words);
    }

    /// The last word of each counts, but not that the end of the search cut it off.
    fn note(&mut self, address: String, words: String) {
        if !self.left().is_zero() || !self.heard.contains_key(&address) {
            self.heard.insert(address, words);
        }
    }

    /// Waits a little; whether there is time, and any sense, in another round.
    pub(super) async fn another_round(&mut self) -> bool {
        if self.hopeless.len() >= self.coordinators {
            return false;
        }
        let wait = self.backoff.wait();
        if wait >= self.left() {
            return false;
        }
        tokio::time::sleep(wait).await;
        true
    }

    /// Nobody leads, or nobody answers: who said what.
    pub(super) fn failure(&self, context: &Context) -> Failure {
        let mut lines: Vec<String> = context
            .coordinators
            .iter()
            .filter(|address| !self.heard.contains_key(*address))
            .map(|address| format!("  {address}: no answer"))
            .collect();
        lines.extend(self.heard.iter().map(|(address, words)| format!("  {address}: {words}")));
        let message = if self.hopeless.len() >= self.coordinators {
            "no coordinator accepts this context's certificate, or shows one that it trusts"
        } else {
            "no leading coordinator was found"
        };
        let hint = if self.hopeless.len() >= self.coordinators {
            format!(
                "the context is {}; use another with --context DIR, or renew its certificate",
                context.dir.display()
            )
        } else {
            "look at each with `systemctl status understudy-coordinator`; two of three must run to \
             elect a leader; --timeout TIME looks for longer"
                .to_owned()
        };
        Failure::unreachable(format!("{message}\n{}", lines.join("\n"))).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context { dir: "/ctx".into(), coordinators: vec!["a:1".into(), "b:2".into()] }
    }

    #[tokio::test]
    async fn refusals_for_good_end_the_search_at_once() {
        let mut search = Search::new(Duration::from_secs(600), 2);
        let refusal = || Refusal { words: "the certificate has expired".into(), for_good: true };
        search.not_dialled("a:1".into(), refusal());
        assert!(search.another_round().await);
        search.not_dialled("b:2".into(), refusal());
        assert!(!search.another_round().await);
        let failure = search.failure(&context());
        assert_eq!(failure.end.code(), 4);
        assert!(failure.message.contains("b:2: the certificate has expired"), "{failure}");
        assert!(failure.hint.contains("/ctx"), "{}", failure.hint);
    }

    #[tokio::test]
    async fn a_search_ends_and_says_who_said_what() {
        let mut search = Search::new(Duration::ZERO, 2);
        search.silent("a:1".into(), "it knows of no leader at the moment".into());
        search.silent("a:1".into(), "no answer within 3 ms".into());
        assert!(!search.another_round().await);
        let failure = search.failure(&context());
        assert_eq!(failure.end.code(), 4);
        assert!(failure.message.contains("b:2: no answer"), "{failure}");
        assert!(failure.message.contains("a:1: it knows of no leader"), "{failure}");
    }
}
