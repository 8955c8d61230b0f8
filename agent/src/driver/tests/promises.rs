//! A6 through the loop: a promise, the disk, and what a restart finds.

use super::*;
use crate::{ledger::Entry, peer::Asked};
use model::{Nonce, PromiseRefusal, PromiseReply, PromiseRequest};
use tokio::sync::oneshot;

fn promotion(epoch: u64) -> Vec<Entry> {
    let site = SiteId::new("p1").unwrap();
    vec![Entry::Promoted { group: group(), epoch: Epoch(epoch), site }]
}

impl Driver {
    /// s1 asks.
    fn asked_for(&mut self, epoch: u64) -> oneshot::Receiver<PromiseReply> {
        let (answer, answered) = oneshot::channel();
        let (host, epoch, lease) = (host("s1"), Epoch(epoch), Millis(5000));
        let request = PromiseRequest { group: group(), host, epoch, nonce: Nonce(7), lease };
        self.on_asked(Asked { request, answer }).unwrap();
        answered
    }

    /// No promise waits for the disk any more.
    async fn told(&mut self) {
        while self.untold > 0 {
            self.next_done().await;
        }
    }

    fn barred(&self) -> bool {
        self.groups[&group()].barrier.left(now()).is_some()
    }
}

/// Everything is on disk, and the agent is gone.
async fn crashed(mut driver: Driver) {
    assert!(driver.ledger.settled().unwrap().settled().await);
}

#[tokio::test]
async fn a6_a_promise_is_told_only_once_the_epoch_it_rests_on_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, mut disk) = driver(dir.path());
    driver.assign(assigned(2), 1);
    let mut answered = driver.asked_for(2);
    assert!(answered.try_recv().is_err(), "told before epoch 2 is on disk");
    assert!(driver.barred(), "it binds at once");
    disk.settle();
    driver.told().await;
    assert!(matches!(answered.try_recv(), Ok(PromiseReply::Promised { .. })));
    // A disk that fails: silence.
    let mut answered = driver.asked_for(2);
    drop(disk);
    driver.told().await;
    assert_eq!(answered.try_recv(), Err(oneshot::error::TryRecvError::Closed));
}

#[tokio::test]
async fn a6_a_disk_that_hangs_is_silence_and_never_fills_the_ledgers_queue() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, _disk) = driver(dir.path());
    driver.assign(assigned(2), 1);
    let answers: Vec<_> = (0..300).map(|_| driver.asked_for(2)).collect();
    assert_eq!(answers.len(), 300, "the agent goes on");
    driver.told().await;
    for mut answered in answers {
        assert_eq!(answered.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}

#[tokio::test]
async fn a6_a_host_that_promised_keeps_out_after_a_restart_whatever_it_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _failure) = Ledger::open(dir.path()).unwrap();
    assert!(ledger.append(promotion(1)).unwrap().settled().await);
    let mut driver = driver_with(dir.path(), ledger, Watchdog::open(None));
    assert!(!driver.barred(), "promoted under the highest epoch: it promised nobody anything");
    driver.assign(assigned(2), 1);
    let answered = driver.asked_for(2);
    driver.told().await;
    assert!(matches!(answered.await, Ok(PromiseReply::Promised { .. })));
    // Killed at once: what was only in memory is gone with it.
    drop(driver);

    let (ledger, _failure) = Ledger::open(dir.path()).unwrap();
    let mut driver = driver_with(dir.path(), ledger, Watchdog::open(None));
    assert!(driver.barred(), "it may have promised for epoch 2");
    driver.assign(assigned(2), 1);
    assert!(driver.barred());
    driver.assign(GroupAssignment { failsafe: None, ..assigned(1) }, 1);
    assert!(driver.barred(), "an older epoch's word frees nobody");
    crashed(driver).await;
}

#[tokio::test]
async fn a6_a_fence_forgotten_in_a_restart_promises_nothing_that_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _failure) = Ledger::open(dir.path()).unwrap();
    let mut driver = driver_with(dir.path(), ledger, Watchdog::open(None));
    driver.assign(GroupAssignment { fencing: true, ..assigned(2) }, 5);
    let refused = driver.asked_for(2).await.unwrap();
    let reason = |reply| match reply {
        PromiseReply::Refused { reason, .. } => reason,
        PromiseReply::Promised { .. } => panic!("promised"),
    };
    assert_eq!(reason(refused), PromiseRefusal::Fencing);
    crashed(driver).await;

    let (ledger, _failure) = Ledger::open(dir.path()).unwrap();
    let mut driver = driver_with(dir.path(), ledger, Watchdog::open(None));
    let refused = reason(driver.asked_for(2).await.unwrap());
    assert!(matches!(refused, PromiseRefusal::Unknown { .. }), "{refused:?}");
    // A leader that was elected since and knows of no plan.
    driver.assign(assigned(2), 6);
    let answered = driver.asked_for(2);
    driver.told().await;
    assert!(matches!(answered.await, Ok(PromiseReply::Promised { .. })));
    let site = SiteId::new("p1").unwrap();
    let promote = Command { epoch: Epoch(3), action: Action::Promote { site }, ..fence() };
    let until = now() + Millis(8000);
    let command = Command { term: Term(6), ..promote };
    let admission = driver.admit(&crate::keeper::Waiting { command, until, from: PEER }, now());
    let promised =
        matches!(admission, crate::guard::Admission::Refuse(model::Refusal::Promised { .. }));
    assert!(promised, "its own barrier refuses the promotion: {admission:?}");
}

#[tokio::test]
async fn a6_nothing_spins_while_a_peers_address_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let lease = Millis(2000);
    let (mut driver, _disk, report) = promoted(dir.path(), &Watchdog::open(None), lease).await;
    assert!(matches!(report.outcome, Outcome::Done { .. }), "{report:?}");
    let unknown = vec![PeerAddress { host: host("s1"), address: String::new() }];
    let site = Some(SiteId::new("p1").unwrap());
    driver
        .assign(GroupAssignment { active: site, failsafe: Some(unknown), lease, ..assigned(1) }, 1);
    let deadline = driver.groups[&group()].lease.deadline().unwrap();
    let mut rounds = 0;
    // As the loop does, over the second half of the lease, when questions are due.
    loop {
        let at = now();
        if at + Millis(100) >= deadline {
            break;
        }
        let pause = driver.wake(at).since(at).to_duration();
        sleep(pause).await;
        driver.go_on(now()).unwrap();
        rounds += 1;
    }
    // A heartbeat, a request and a look for stalls each 100 ms or 200 ms.
    assert!(rounds < 100, "{rounds} rounds in two seconds");
    assert!(!driver.groups[&group()].asker.engaged());
}
