//! The lab's scenarios: the real programs on five machines of their own, real
//! containers, real faults, and a venue that sees every order.
//!
//! Each test says what must happen; afterwards the invariants are checked from
//! the venue's log and the journal. Where the machine cannot hold a lab (no
//! root, no Docker) a scenario says so and is left out, unless
//! `UNDERSTUDY_REQUIRE_ALL` is set.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "all of this is test code"
)]

mod clocks;
mod coordinators;
mod failsafe;
mod gate;
mod hosts;
mod isolation;
mod links;
mod operators;
mod processes;

use anyhow::{Result, ensure};
use std::time::Duration;
use tests::{
    lab::{Lab, checker, config::Options, machine},
    view,
};

/// How long a failover with a lease of three seconds may take on two busy cores:
/// the dwell of 3 s, proof 3.2 s after the last grant, a container's start, and an
/// election or two.
pub(crate) const FAILOVER: Duration = Duration::from_secs(25);

/// How long other things may take.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// Waits until a host is heard and its trader does not trade.
pub(crate) fn stands_by(lab: &mut Lab, host: &str) -> Result<()> {
    lab.status_where(&format!("{host} to stand by"), SOON, |status| {
        let state = view::text(view::named(status, "hosts", host)?, "state")?;
        ensure!(state == "alive", "{host} is {state}");
        let service = view::service(status, host, tests::config::SERVICE)?;
        // One that died there has not been asked to run since.
        let off = ["stopped", "failed"].contains(&service) || gate_closed(status, host);
        ensure!(off, "its service is {service}");
        let group = view::named(status, "groups", tests::config::GROUP)?;
        ensure!(group["ready"] == true, "not ready: {}", group["readiness"]);
        Ok(())
    })?;
    Ok(())
}

/// Whether the host says that its gate is closed.
fn gate_closed(status: &serde_json::Value, host: &str) -> bool {
    let Ok(host) = view::named(status, "hosts", host) else { return false };
    view::rows(host, "groups").iter().any(|group| group["gate"] == "closed")
}

/// Raises a lab, plays `body`, checks every invariant, and tells everything
/// when something fails.
pub(crate) fn play(options: Options, body: impl FnOnce(&mut Lab) -> Result<()>) {
    if let Err(why) = machine::available() {
        assert!(
            std::env::var_os("UNDERSTUDY_REQUIRE_ALL").is_none(),
            "nothing may be skipped: {why:#}"
        );
        eprintln!("left out: {why:#}");
        return;
    }
    let began = std::time::Instant::now();
    let mut lab = Lab::raise(options).unwrap();
    eprintln!("the lab is up after {} ms", began.elapsed().as_millis());
    let played = body(&mut lab).and_then(|()| checker::all(&lab));
    if let Err(why) = played {
        lab.tell_all();
        panic!("{why:#}");
    }
    eprintln!("played in {} ms", began.elapsed().as_millis());
}
