//! An emergency stop with real programs and the real kernel gate, beside a gate
//! that goes on renewing, and with nobody there at all.

use super::*;
use crate::{
    config::Config,
    gate::tests::lab::{self, Lab, Net, PATIENCE, can, inside},
};
use daemon::{clock::boottime_ms, config::Source};
use model::{GateState, Mono, StopDeed, StopOrder, Wall};
use std::time::Instant;

fn fx() -> GroupId {
    GroupId::new("fx").unwrap()
}

fn config(state: &Path, rest: &str) -> Config {
    let text = format!("host = \"p1\"\nstate_dir = \"{}\"\n{rest}", state.display());
    Config::of(&Source::new("agent.toml", text)).unwrap()
}

#[test]
fn what_is_stopped_stays_stopped_until_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Stops::load(dir.path()).why(&fx()), None);
    Stops::begin(dir.path(), &[fx()].into(), "ann", "wrong orders").unwrap();
    Stops::begin(dir.path(), &[fx()].into(), "bob", "again").unwrap();
    let why = Stops::load(dir.path()).why(&fx()).unwrap();
    assert!(why.contains("by ann: wrong orders"), "{why}");
    let other = GroupId::new("metals").unwrap();
    assert_eq!(Stops::load(dir.path()).why(&other), None);
    assert_eq!(Stops::release(dir.path(), Some(&other)).unwrap(), BTreeSet::new());
    assert_eq!(Stops::release(dir.path(), None).unwrap(), [fx()].into());
    assert_eq!(Stops::load(dir.path()), Stops::default());
    // What cannot be read stops everything, and is released as a whole.
    std::fs::write(path(dir.path()), "{").unwrap();
    assert!(Stops::load(dir.path()).why(&other).unwrap().contains("damaged"));
    assert!(Stops::release(dir.path(), Some(&fx())).is_err());
    assert!(Stops::release(dir.path(), None).unwrap().is_empty());
    assert_eq!(Stops::load(dir.path()).why(&fx()), None);
}

fn order(number: u64, deed: StopDeed) -> StopOrder {
    let id = OrderId { number, at: Wall(number) };
    StopOrder { id, group: fx(), deed, by: "ann".into(), reason: "wrong orders".into() }
}

#[test]
fn an_order_is_carried_out_once_and_never_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let why = || Stops::load(dir.path()).why(&fx());
    let stop = order(4, StopDeed::Stop);
    assert_eq!(take_up(dir.path(), &stop).unwrap(), Taken::Stopped);
    assert!(why().unwrap().contains("by ann through the coordinators: wrong orders"));
    assert_eq!(Stops::load(dir.path()).orders[&fx()], stop.id);
    // What was released on this host is not stopped anew by the same order.
    Stops::release(dir.path(), None).unwrap();
    assert_eq!((take_up(dir.path(), &stop).unwrap(), why()), (Taken::Known, None));
    assert_eq!(take_up(dir.path(), &order(5, StopDeed::Stop)).unwrap(), Taken::Stopped);
    // A release that was on its way for long ends nothing that came after it.
    assert_eq!(take_up(dir.path(), &order(3, StopDeed::Release)).unwrap(), Taken::Known);
    assert!(why().is_some());
    assert_eq!(take_up(dir.path(), &order(6, StopDeed::Release)).unwrap(), Taken::Released);
    assert_eq!(why(), None);
    // Coordinators that were founded anew count from 1.
    let anew = StopOrder { id: OrderId { number: 1, at: Wall(99) }, ..order(1, StopDeed::Stop) };
    assert_eq!(take_up(dir.path(), &anew).unwrap(), Taken::Stopped);
}

#[test]
fn what_was_stopped_on_this_host_is_released_on_this_host() {
    let dir = tempfile::tempdir().unwrap();
    let why = || Stops::load(dir.path()).why(&fx());
    Stops::begin(dir.path(), &[fx()].into(), "bob", "odd prices").unwrap();
    assert_eq!(take_up(dir.path(), &order(1, StopDeed::Stop)).unwrap(), Taken::Stopped);
    assert_eq!(take_up(dir.path(), &order(2, StopDeed::Release)).unwrap(), Taken::StaysStopped);
    assert!(why().unwrap().contains("by bob: odd prices"));
    Stops::release(dir.path(), Some(&fx())).unwrap();
    assert_eq!(why(), None);
    // The same where somebody stops here what an order had stopped before.
    take_up(dir.path(), &order(3, StopDeed::Stop)).unwrap();
    Stops::begin(dir.path(), &[fx()].into(), "bob", "odd prices").unwrap();
    assert_eq!(take_up(dir.path(), &order(4, StopDeed::Release)).unwrap(), Taken::StaysStopped);
    // A file that cannot be read stops everything, and takes no order.
    std::fs::write(path(dir.path()), "{").unwrap();
    assert!(take_up(dir.path(), &order(5, StopDeed::Release)).is_err());
    assert!(why().unwrap().contains("damaged"));
}

#[test]
fn two_that_change_the_file_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let groups: Vec<GroupId> = (0..16).map(|n| GroupId::new(format!("g{n}")).unwrap()).collect();
    thread::scope(|scope| {
        for (n, group) in groups.iter().enumerate() {
            let dir = dir.path();
            scope.spawn(move || match n % 2 {
                0 => Stops::begin(dir, &[group.clone()].into(), "bob", "").unwrap(),
                _ => {
                    let order = StopOrder { group: group.clone(), ..order(1, StopDeed::Stop) };
                    take_up(dir, &order).map(|_| ()).unwrap();
                }
            });
        }
    });
    assert_eq!(Stops::load(dir.path()).groups.len(), groups.len());
}

#[test]
fn an_agent_hears_of_a_stop_within_its_pace_and_at_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let watch = Watch::start(dir.path()).unwrap();
    let told = watch.stops();
    assert_eq!(told.borrow().why(&fx()), None);
    Stops::begin(dir.path(), &[fx()].into(), "ann", "").unwrap();
    let until = Instant::now() + PATIENCE;
    while told.borrow().why(&fx()).is_none() {
        assert!(Instant::now() < until, "never told");
        thread::yield_now();
    }
    let again = Watch::start(dir.path()).unwrap();
    assert!(again.stops().borrow().why(&fx()).is_some(), "before the loop begins");
}

#[test]
fn gate_an_emergency_stop_closes_the_kernel_gate_beside_the_agent_that_opened_it() {
    if !can() {
        return;
    }
    let net = Net::new();
    let lab = Lab::with(&net.host, "understudy", lab::facts());
    lab.open_for(Duration::from_secs(3600));
    assert!(lab::passes(&net.protected, "10.77.0.2"));
    let rest = "[[service]]\nname = \"mt4\"\ngroup = \"fx\"\ndriver = \"docker\"\n\
                container = \"c\"\nsocket = \"/nonexistent/docker\"";
    let config = config(lab.state.path(), rest);
    // Docker is gone: the gate is closed all the same, and the rest is told.
    let stopped = inside(&net.host, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(stop(&config, &[fx()].into(), "ann", "wrong orders"))
    });
    let stopped = stopped.join().unwrap();
    assert!(stopped.durable.is_ok() && !stopped.is_certain(), "{stopped:?}");
    assert_eq!(stopped.gates, [(fx(), GateState::Closed)], "{stopped:?}");
    assert!(lab::blocked(&net.protected, "10.77.0.2"), "a container got out");
    // Where a table is gone and no agent keeps one, it is loaded closed.
    let Lab { gate, state, .. } = lab;
    gate.renew(&fx(), Mono(boottime_ms() + 1));
    drop(gate);
    net.nft("delete table inet understudy");
    let config = self::config(state.path(), rest);
    let loaded = inside(&net.host, move || {
        let of = (&config.gate, &config.services);
        crate::gate::command::load_missing(of.0, of.1, &config.state_dir).unwrap();
        crate::gate::command::close(of.0, &fx()).unwrap();
        crate::gate::command::status(of.0, of.1).unwrap().groups[0].gate
    });
    assert_eq!(loaded.join().unwrap(), GateState::Closed);
}
