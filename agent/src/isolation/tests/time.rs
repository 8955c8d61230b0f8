//! Its end comes by itself: in time, whoever lives, and across a reboot.

use super::*;
use crate::isolation::{Keeper, Kept};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
};

/// Long enough that what is done within is done in time on a busy machine.
const SHORT: Duration = Duration::from_secs(3);

/// The host and state of [`isolation_child_keeps`].
const CHILD: &str = "UNDERSTUDY_ISOLATION_TEST";

/// Not a test: an agent's keeper, when the one below starts it.
#[test]
fn isolation_child_keeps() {
    let Ok(given) = std::env::var(CHILD) else { return };
    let (namespace, state) = given.split_once(' ').unwrap();
    lab::enter(namespace);
    let host = Host {
        config: IsolationConfig::default(),
        table: "understudy_isolation".into(),
        state_dir: state.into(),
        coordinators: None,
        peer_port: None,
    };
    let _keeper = Keeper::start(host);
    println!("\nkeeps");
    // Until it is killed.
    let (_never, end) = mpsc::channel::<()>();
    let _ = end.recv();
}

#[test]
fn isolation_reverts_by_the_kernel_when_the_agent_was_killed() {
    if !can() {
        return;
    }
    let mut world = World::new();
    let before = world.ruleset();
    world.host.config.confirm_within = SHORT;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "isolation::tests::time::isolation_child_keeps", "--nocapture"])
        .env(CHILD, format!("{} {}", world.net.host, world.state.path().display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "keeps"));
    let begun = Instant::now();
    world.isolate(Profile::Breach);
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    assert!(!connects(&world.net.outside, STRANGER4, HOST4, SSH));
    until("reverted", || connects(&world.net.outside, STRANGER4, HOST4, SSH));
    let took = begun.elapsed();
    assert!(took >= SHORT && took < SHORT + Duration::from_secs(3), "{took:?}");
    // The next agent, or the next boot, takes away what does nothing any more.
    assert_eq!(world.on_host(|host| host.keep().unwrap()), Kept::Ended);
    assert_eq!(world.ruleset(), before);
    let status = world.on_host(|host| host.status().unwrap());
    assert!(!status.isolated && !status.wanted && status.last.contains("not confirmed in time"));
}

#[test]
fn isolation_is_kept_by_the_agent_and_reverted_to_the_byte() {
    if !can() {
        return;
    }
    let mut world = World::new();
    let before = world.ruleset();
    world.host.config.confirm_within = Duration::from_secs(6);
    let keeper = world.on_host(Keeper::start);
    let mut told = keeper.standing();
    world.isolate(Profile::EgressBlock);
    until("told", || told.borrow_and_update().profile == Some(Profile::EgressBlock));
    // Who flushes everything does not release it.
    world.net.nft("flush ruleset");
    until("put back", || world.ruleset().contains("understudy_isolation"));
    assert!(lab::blocked(&world.net.host, STRANGER4));
    until("reverted", || world.ruleset() == before);
    until("told", || told.borrow_and_update().profile.is_none());
    assert!(lab::passes(&world.net.host, STRANGER4));
    // A table that nobody asked for goes as well.
    world.net.nft("add table inet understudy_isolation");
    until("removed", || world.ruleset() == before);
}

#[test]
fn isolation_survives_a_reboot_with_what_is_left_of_its_time() {
    if !can() {
        return;
    }
    let mut world = World::new();
    let before = world.ruleset();
    world.host.config.confirm_within = Duration::from_secs(8);
    let load = || world.on_host(|host| host.keep().unwrap());
    assert_eq!(load(), Kept::Nothing);
    world.isolate(Profile::Breach);
    assert_eq!(load(), Kept::Standing);
    let left = || world.on_host(|host| host.status().unwrap()).left_ms.unwrap();
    until("some of it is over", || left() < 7_000);
    // The kernel forgot everything, and nothing runs yet.
    world.net.nft("flush ruleset");
    assert!(reaches(&world.net.outside, STRANGER4, HOST4, SSH));
    assert_eq!(load(), Kept::Loaded);
    assert!(left() < 7_000, "a reboot gave it more time");
    assert!(!connects(&world.net.outside, STRANGER4, HOST4, SSH));
    assert!(reaches(&world.net.outside, ADMIN6, HOST6, SSH), "an administrator is locked out");
    until("reverted", || connects(&world.net.outside, STRANGER4, HOST4, SSH));
    // And a boot after its end loads nothing.
    world.net.nft("flush ruleset");
    assert_eq!((load(), world.ruleset()), (Kept::Ended, before));
    assert_eq!(load(), Kept::Nothing);
}

#[test]
fn isolation_for_a_time_ends_also_when_it_was_confirmed() {
    if !can() {
        return;
    }
    let world = World::new();
    let order = Order { span: Some(SHORT), ..order(Profile::Breach) };
    let begun = world.try_isolate(order).unwrap();
    assert!(begun.status.left_ms.is_some_and(|left| left <= 3_000), "{:?}", begun.status);
    let after = Talk::open(&world.net.outside, ADMIN4, HOST4, SSH).unwrap().session();
    let status = world.on_host(move |host| host.confirm("ann", &Proof::Ssh(Some(after))).unwrap());
    assert!(status.confirmed && status.left_ms.is_some_and(|left| left <= 3_000), "{status:?}");
    until("over", || connects(&world.net.outside, STRANGER4, HOST4, SSH));
}
