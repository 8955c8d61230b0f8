//! An isolated host: what is active there ends, and orders are carried out once.

use super::*;
use crate::guard::Admission;
use model::{HostDeed, HostOrder, OrderId, StopDeed, StopOrder, Wall};
use std::time::Instant;

const T: Millis = Millis(60_000);

fn breach() -> Standing {
    Standing {
        profile: Some(isolation::Profile::Breach),
        confirmed: false,
        words: "by ann: an odd process".into(),
        order: None,
    }
}

#[tokio::test]
async fn a_host_under_breach_gives_up_its_lease_and_takes_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, _disk, _) = promoted(dir.path(), &Watchdog::open(None), T).await;
    assert!(driver.groups[&group()].lease.live(now()));
    // A way out that is blocked alone leaves the lease to a person.
    let blocked = Standing { profile: Some(isolation::Profile::EgressBlock), ..breach() };
    driver.on_barred(&blocked, &Stops::default(), now());
    assert!(driver.groups[&group()].lease.live(now()));
    assert!(driver.isolation.starts_with("egress-block, not confirmed, by ann"));

    driver.on_barred(&breach(), &Stops::default(), now());
    let known = &driver.groups[&group()];
    assert!(!known.lease.live(now()) && !known.may_ask(driver.ledger.memory()));
    assert!(known.barred.contains("isolated after a breach, by ann: an odd process"));
    let action = Action::Promote { site: SiteId::new("p1").unwrap() };
    let command = Command { action, epoch: Epoch(2), deadline: T, ..fence() };
    let waiting = crate::keeper::Waiting { until: now() + T, command, from: PEER };
    let refused = driver.admit(&waiting, now());
    assert!(matches!(refused, Admission::Refuse(model::Refusal::Barred { .. })), "{refused:?}");
    // A fence is never refused.
    let waiting = crate::keeper::Waiting { command: fence(), ..waiting };
    assert!(matches!(driver.admit(&waiting, now()), Admission::Run(_)));

    driver.on_barred(&Standing::default(), &Stops::default(), now());
    assert!(driver.groups[&group()].may_ask(driver.ledger.memory()), "it may ask again");
    assert!(driver.isolation.is_empty());
}

#[tokio::test]
async fn an_order_is_refused_by_agent_toml_and_told_from_what_was_saved() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, _disk) = driver(dir.path());
    let id = OrderId { number: 3, at: Wall(7) };
    let order = HostOrder { id, deed: HostDeed::Release, by: "ann".into(), reason: String::new() };
    let (groups, stops) = (vec![], vec![]);
    let heard = Heard::Assignment { groups, term: Term(1), order: Some(order.clone()), stops };
    driver.on_heard(PEER, heard).unwrap();
    assert_eq!(driver.ordered, Some(id));
    let host = isolation::Host::of(&config_in(dir.path()));
    let told = tokio::task::spawn_blocking(move || host.carry_out(&order, false).unwrap());
    let told = told.await.unwrap();
    assert!(!told.done && told.detail.contains("remote = true"), "{told:?}");
    // What the keeper reads is what the heartbeat says; and it is not done again.
    driver.on_barred(
        &Standing { order: Some(told.clone()), ..Standing::default() },
        &Stops::default(),
        now(),
    );
    assert_eq!(driver.order, Some(told));
}

#[tokio::test]
async fn a_session_from_before_the_isolation_counts_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, _disk) = driver(dir.path());
    assert!(driver.peers.knows(PEER));
    driver.on_barred(&breach(), &Stops::default(), now());
    assert!(!driver.peers.knows(PEER) && driver.redialled == PEER);
    assert!(driver.peers.knows(PEER + 1), "it is called anew");
    let confirmed = Standing { confirmed: true, ..breach() };
    driver.on_barred(&confirmed, &Stops::default(), now());
    assert!(driver.peers.knows(PEER + 1), "once is enough");
}

#[tokio::test]
async fn a_stop_through_the_coordinators_holds_at_once_and_is_told_once_it_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let (mut driver, _disk, _) = promoted(dir.path(), &Watchdog::open(None), T).await;
    assert!(driver.groups[&group()].lease.live(now()));
    let order = |number, deed| StopOrder {
        id: OrderId { number, at: Wall(number) },
        group: group(),
        deed,
        by: "ann".into(),
        reason: "wrong orders".into(),
    };
    let tell = |driver: &mut Driver, order: &StopOrder| {
        let (groups, stops) = (vec![], vec![order.clone()]);
        let heard = Heard::Assignment { groups, term: Term(1), order: None, stops };
        driver.on_heard(PEER, heard).unwrap();
    };
    let stop = order(7, StopDeed::Stop);
    tell(&mut driver, &stop);
    let known = &driver.groups[&group()];
    assert!(!known.lease.live(now()) && !known.may_ask(driver.ledger.memory()) && known.stopped);
    assert!(known.barred.contains("by ann through the coordinators: wrong orders"));
    assert_eq!(driver.stops.taken_up(&group()), None, "not before the disk has it");
    // The file is what lasts; nobody released it in the memory alone.
    driver.on_barred(&Standing::default(), &Stops::default(), now());
    assert!(driver.groups[&group()].stopped);
    let until = Instant::now() + Duration::from_secs(10);
    while Stops::load(dir.path()).orders.is_empty() {
        assert!(Instant::now() < until, "never durable");
        tokio::task::yield_now().await;
    }
    driver.on_barred(&Standing::default(), &Stops::load(dir.path()), now());
    assert_eq!(driver.stops.taken_up(&group()), Some(stop.id));
    // Told again it changes nothing; the release ends it.
    tell(&mut driver, &stop);
    tell(&mut driver, &order(8, StopDeed::Release));
    while Stops::load(dir.path()).why(&group()).is_some() {
        assert!(Instant::now() < until, "never released");
        tokio::task::yield_now().await;
    }
    driver.on_barred(&Standing::default(), &Stops::load(dir.path()), now());
    let known = &driver.groups[&group()];
    assert!(!known.stopped && known.barred.is_empty() && known.may_ask(driver.ledger.memory()));
}
