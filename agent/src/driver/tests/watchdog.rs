//! The watchdog through the loop: armed before a promotion is reported, fed by
//! a healthy loop alone, stopped on a wanted stop.

use super::*;
use crate::watchdog::tests::fake;
use model::WatchdogState;
use std::sync::mpsc::Receiver;

/// The longest lease.
const T: Millis = Millis(60_000);
/// Longer than any feed takes, under load as well.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough to see that nothing comes.
const NOTHING: Duration = Duration::from_millis(200);

fn next(tell: &Receiver<u8>) -> char {
    char::from(tell.recv_timeout(PATIENCE).unwrap())
}

#[tokio::test]
async fn a_watchdog_is_armed_before_a_promotion_is_reported_and_fed_by_a_healthy_loop_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (watchdog, tell) = fake();
    assert_eq!(watchdog.state(), WatchdogState::Disarmed);
    let (mut driver, _disk, report) = promoted(dir.path(), &watchdog, T).await;
    assert!(matches!(report.outcome, Outcome::Done { .. }), "{report:?}");
    assert_eq!(watchdog.state(), WatchdogState::Armed);
    assert_eq!(driver.watchdog.timeout(), Some(Millis(5000)), "as the heartbeat says it");
    assert_eq!((next(&tell), next(&tell)), ('o', '\0'));
    // Feeds that were under way.
    while tell.recv_timeout(NOTHING).is_ok() {}
    for _ in 0..3 {
        let due = driver.watchdog_due();
        driver.feed(due);
        assert_eq!(next(&tell), '\0');
    }
    // The loop hangs: nobody else feeds.
    assert!(tell.recv_timeout(NOTHING).is_err());
    // The lease is over and what runs is not confirmed stopped: left to starve.
    let over = now() + Millis(61_000);
    for group in driver.groups.values_mut() {
        assert!(group.lapse(over));
    }
    driver.feed(over);
    assert!(tell.recv_timeout(NOTHING).is_err());
}

#[tokio::test]
async fn a_watchdog_is_stopped_with_the_magic_letter_on_a_wanted_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (watchdog, tell) = fake();
    let (driver, _disk, _) = promoted(dir.path(), &watchdog, T).await;
    driver.end(&Ended::Asked).await;
    let bytes: Vec<u8> = std::iter::from_fn(|| tell.recv_timeout(PATIENCE).ok())
        .take_while(|byte| *byte != b'.')
        .collect();
    assert!(bytes.ends_with(b"V"), "{bytes:?}");
}

#[tokio::test]
async fn a_watchdog_is_stopped_once_a_fence_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let (watchdog, tell) = fake();
    let (mut driver, mut disk, _) = promoted(dir.path(), &watchdog, T).await;
    let id = CommandId { part: 1, ..fence().id };
    driver.hear(Command { id: id.clone(), ..fence() });
    while driver.ledger.memory().command(&id).is_none_or(|known| known.outcome.is_none()) {
        disk.settle();
        driver.next_done().await;
    }
    driver.go_on(now()).unwrap();
    let bytes: Vec<u8> = std::iter::from_fn(|| tell.recv_timeout(PATIENCE).ok())
        .take_while(|byte| *byte != b'.')
        .collect();
    assert!(bytes.ends_with(b"V"), "{bytes:?}");
}
