//! Beside others: whoever removes or changes our table, and those whose tables
//! are not ours to touch.

use super::{
    HOUR,
    lab::{self, Lab, Net, PATIENCE, blocked, can, facts, fx, passes},
};
use model::GateState;
use std::{thread, time::Instant};
use tokio::sync::watch;

/// Waits until the gate has told that it was restored; how long that took.
fn restored(lab: &Lab, told: &watch::Receiver<u64>, begun: Instant) -> (String, u128) {
    loop {
        let why = lab.gate.why(&fx());
        if why.contains("restored closed") && told.has_changed().unwrap() {
            return (why, begun.elapsed().as_millis());
        }
        assert!(begun.elapsed() < PATIENCE, "never restored: {why}");
        thread::yield_now();
    }
}

#[test]
fn gate_a1_a_flushed_ruleset_is_restored_closed_and_told() {
    if !can() {
        return;
    }
    let net = Net::new();
    for deed in [
        "flush ruleset",
        "delete table inet understudy",
        "flush table inet understudy",
        "flush chain inet understudy gate_fx",
        "insert rule inet understudy forward accept",
        "add element inet understudy free4 '{ \"br-gate\" . 10.78.0.2 }'",
        "add element inet understudy open_fx '{ ipv4, ipv6 }'",
        "flush set inet understudy bridges",
    ] {
        let lab = Lab::with(&net.host, "understudy", facts());
        if !deed.contains("open_fx") {
            lab.open_for(HOUR);
            assert!(passes(&net.protected, "10.77.0.2"));
        }
        let told = lab.gate.changed();
        let begun = Instant::now();
        net.nft(deed);
        let (why, took) = restored(&lab, &told, begun);
        eprintln!("{deed}: restored after {took} ms (nft's own time included): {why}");
        assert_eq!(lab.gate.state(&fx()), GateState::Closed, "{deed}");
        assert!(blocked(&net.protected, "10.77.0.2"), "{deed}");
        assert!(why.contains("nft"), "{why}");
        // Only a renewal that comes afterwards opens it.
        lab.open_for(HOUR);
        assert!(passes(&net.protected, "10.77.0.2"));
    }
}

#[test]
fn gate_others_tables_stay_as_they_are_and_bypass_nothing() {
    if !can() {
        return;
    }
    let net = Net::new();
    // As Docker and an operator make them: DNAT of a published port, and accepting
    // everything where Docker lets users do so.
    let theirs = "table ip nat {\n chain PREROUTING { type nat hook prerouting priority dstnat; \
                  tcp dport 8080 dnat to 10.78.0.2:7000; }\n}\n\
                  table ip filter {\n chain DOCKER-USER { accept\n }\n chain FORWARD { \
                  type filter hook forward priority filter; policy drop; jump DOCKER-USER; }\n}\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), theirs).unwrap();
    net.nft(&format!("-f {}", file.path().display()));
    let before = net.nft("list ruleset");
    let published = |limit| {
        lab::inside(&net.outside, move || {
            let to = "10.77.0.1:8080".parse().unwrap();
            std::net::TcpStream::connect_timeout(&to, limit).is_ok()
        })
        .join()
        .unwrap()
    };
    assert!(published(PATIENCE), "the world does not work");
    let lab = Lab::with(&net.host, "understudy", facts());
    assert!(!published(lab::BLOCKED), "a published port passed a closed gate");
    assert!(blocked(&net.protected, "10.77.0.2"), "DOCKER-USER passed a closed gate");
    lab.open_for(HOUR);
    assert!(published(PATIENCE) && passes(&net.protected, "10.77.0.2"));
    // A second agent, with a table of its own, in the same namespace.
    let second = Lab::with(&net.host, "understudy_b", facts());
    assert!(blocked(&net.protected, "10.77.0.2"));
    second.open_for(HOUR);
    assert!(passes(&net.protected, "10.77.0.2"));
    for _ in 0..20 {
        lab.open_for(HOUR);
        second.open_for(HOUR);
    }
    assert_eq!((lab.gate.why(&fx()), second.gate.why(&fx())), (String::new(), String::new()));
    drop((lab, second));
    let config = |table: &str| super::super::GateConfig { enabled: true, table: table.into() };
    for table in ["understudy", "understudy_b"] {
        let config = config(table);
        let state = tempfile::tempdir().unwrap();
        let removed = lab::inside(&net.host, move || {
            super::super::command::remove(&config, state.path(), false).unwrap()
        });
        assert!(removed.join().unwrap());
    }
    assert_eq!(net.nft("list ruleset"), before);
}

#[test]
fn gate_a_table_that_another_agent_keeps_is_left_to_it() {
    if !can() {
        return;
    }
    let net = Net::new();
    let first = Lab::with(&net.host, "understudy", facts());
    let docker =
        lab::service("driver = \"docker\"\ncontainer = \"c\"\nsocket = \"/nonexistent/docker\"");
    let second = Lab::open(&net.host, "understudy", vec![docker]);
    let until = Instant::now() + PATIENCE;
    while !second.gate.why(&fx()).contains("another agent keeps the table") {
        assert!(Instant::now() < until, "{}", second.gate.why(&fx()));
        thread::yield_now();
    }
    assert_eq!(second.gate.state(&fx()), GateState::Absent);
    let state = tempfile::tempdir().unwrap();
    let refused = lab::inside(&net.host, move || {
        super::super::command::remove(&super::super::GateConfig::default(), state.path(), false)
            .unwrap_err()
            .to_string()
    });
    assert!(refused.join().unwrap().contains("the agent is running"));
    first.open_for(HOUR);
    assert_eq!(first.gate.why(&fx()), "");
}
