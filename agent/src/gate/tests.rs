//! The gate against the real kernel, in network namespaces of its own.

mod deadline;
pub(crate) mod docker;
pub(crate) mod lab;
mod others;
mod process;

use lab::{Lab, Net, PATIENCE, blocked, can, facts, fx, inside, passes};
use model::GateState;
use std::{
    io::Write,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn gate_a1_is_closed_until_a_renewal_and_again_after_a_close() {
    if !can() {
        return;
    }
    let net = Net::new();
    assert!(passes(&net.protected, "10.77.0.2"), "the world does not work");
    let lab = Lab::with(&net.host, "understudy", facts());
    // Out, to the host, in, and from the host; both families.
    let ways = [
        (&net.protected, "10.77.0.2"),
        (&net.protected, "fd77::2"),
        (&net.protected, "10.78.0.1"),
        (&net.protected, "10.77.0.1"),
        (&net.outside, "10.78.0.2"),
        (&net.outside, "fd78::2"),
        (&net.host, "10.78.0.2"),
        (&net.host, "fd78::2"),
    ];
    for (from, to) in ways {
        assert!(blocked(from, to), "{from} reached {to} through a closed gate");
    }
    lab.open_for(HOUR);
    for (from, to) in ways {
        assert!(passes(from, to), "{from} does not reach {to}");
    }
    lab.close();
    for (from, to) in ways {
        assert!(blocked(from, to), "{from} reached {to} through a closed gate");
    }
    assert_eq!(lab.gate.why(&fx()), "");
}

#[test]
fn gate_a1_what_is_not_protected_is_never_in_its_way() {
    if !can() {
        return;
    }
    let net = Net::new();
    let lab = Lab::with(&net.host, "understudy", facts());
    for (from, to) in [
        (&net.other, "10.77.0.2"),
        (&net.other, "fd77::2"),
        (&net.outside, "10.78.0.3"),
        (&net.outside, "fd78::3"),
        (&net.host, "10.78.0.3"),
        (&net.host, "10.77.0.2"),
        (&net.outside, "fd77::1"),
        (&net.host, "127.0.0.1"),
        // Inside the bridge, and from a container to itself.
        (&net.other, "10.78.0.2"),
        (&net.protected, "127.0.0.1"),
    ] {
        assert!(passes(from, to), "{from} does not reach {to}");
    }
    drop(lab);
}

#[test]
fn gate_a1_an_address_that_is_not_known_yet_is_held_back() {
    if !can() {
        return;
    }
    let net = Net::new();
    let mut known = facts();
    known.free.clear();
    known.addresses.clear();
    let lab = Lab::with(&net.host, "understudy", known);
    for from in [&net.other, &net.protected] {
        assert!(blocked(from, "10.77.0.2") && blocked(from, "fd77::2"));
    }
    lab.open_for(HOUR);
    assert!(passes(&net.other, "10.77.0.2") && passes(&net.protected, "fd77::2"));
    lab.close();
    // Once it is known, at once.
    lab.found(facts());
    lab.settled();
    assert!(passes(&net.other, "10.77.0.2") && passes(&net.other, "fd77::2"));
    assert!(blocked(&net.protected, "10.77.0.2"));
}

#[test]
fn gate_a3_an_established_flow_is_cut_and_resumes() {
    if !can() {
        return;
    }
    let net = Net::new();
    let lab = Lab::with(&net.host, "understudy", facts());
    lab.open_for(HOUR);
    let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, ended) = (Arc::clone(&sent), Arc::clone(&stop));
    // More than any buffer between the two, so that what is not carried stops it.
    let sender = inside(&net.protected, move || {
        let mut stream = TcpStream::connect(("10.77.0.2", lab::PORT)).unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let block = vec![0; 64 * 1024];
        while !ended.load(Ordering::Relaxed) {
            if stream.write(&block).is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let grows = |by: u64, within: Duration| {
        let (start, until) = (sent.load(Ordering::Relaxed), Instant::now() + within);
        while Instant::now() < until {
            if sent.load(Ordering::Relaxed) >= start + by {
                return true;
            }
            thread::yield_now();
        }
        false
    };
    assert!(grows(200, PATIENCE));
    lab.close();
    // What the buffers take is at most some megabytes.
    assert!(!grows(300, Duration::from_secs(1)), "the flow went on through a closed gate");
    assert!(!grows(1, Duration::from_secs(1)), "the flow went on through a closed gate");
    lab.open_for(HOUR);
    assert!(grows(200, PATIENCE), "the flow did not resume");
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
}

#[test]
fn gate_when_the_agent_ends_the_table_stays_closed() {
    if !can() {
        return;
    }
    let net = Net::new();
    let lab = Lab::with(&net.host, "understudy", facts());
    lab.open_for(HOUR);
    assert!(passes(&net.protected, "10.77.0.2"));
    let Lab { gate, state, .. } = lab;
    drop(gate);
    assert!(blocked(&net.protected, "10.77.0.2") && passes(&net.other, "10.77.0.2"));
    // And so it comes up after a boot, before anybody asked Docker.
    net.nft("delete table inet understudy");
    let docker =
        lab::service("driver = \"docker\"\ncontainer = \"c\"\nsocket = \"/nonexistent/docker\"");
    let config = super::GateConfig::default();
    let told = inside(&net.host, move || {
        let loaded = super::command::load(&config, std::slice::from_ref(&docker), state.path());
        assert_eq!(loaded.unwrap(), super::command::LoadOutcome::Loaded);
        let told = super::command::status(&config, &[docker]).unwrap();
        (told, super::command::remove(&config, state.path(), false).unwrap())
    });
    let (told, removed) = told.join().unwrap();
    assert_eq!((told.groups[0].gate, told.loaded, told.kept), (GateState::Closed, true, false));
    assert!(removed && net.nft("list tables").is_empty());
}

#[test]
fn gate_a_boot_holds_back_the_bridges_that_were_known() {
    if !can() {
        return;
    }
    let net = Net::new();
    let lab = Lab::with(&net.host, "understudy", facts());
    let saved = lab.state.path().join("gate.nft");
    let until = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&saved).is_ok_and(|text| text.contains(lab::BRIDGE)) {
        assert!(Instant::now() < until, "never saved");
        thread::yield_now();
    }
    let Lab { gate, state, .. } = lab;
    drop(gate);
    net.nft("delete table inet understudy");
    // By hand, as an operator may, and by the subcommand.
    net.nft(&format!("-f {}", saved.display()));
    assert!(blocked(&net.protected, "10.77.0.2") && blocked(&net.other, "fd77::2"));
    net.nft("delete table inet understudy");
    let docker =
        lab::service("driver = \"docker\"\ncontainer = \"c\"\nsocket = \"/nonexistent/docker\"");
    let config = super::GateConfig::default();
    inside(&net.host, move || super::command::load(&config, &[docker], state.path()).unwrap())
        .join()
        .unwrap();
    assert!(blocked(&net.protected, "10.77.0.2") && blocked(&net.outside, "fd78::2"));
    assert!(passes(&net.host, "10.77.0.2"));
}
