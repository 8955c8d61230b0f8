//! The trader as a process under the agent's holder: each of the three dies or
//! stands still.

use crate::{FAILOVER, hosts::there_and_back, play};
use anyhow::ensure;
use nix::sys::signal::Signal;
use tests::{
    config::STANDBY,
    lab::{
        checker,
        config::{Driver, Options},
        fault::Fault,
    },
    process,
};

fn by_process() -> Options {
    Options { driver: Driver::Process, lease: "2s".into(), ..Options::default() }
}

/// A3: the holder ends what the agent no longer can.
#[test]
fn a3_the_trader_of_a_dead_or_frozen_agent_stops_before_the_other_starts() {
    let faults = [Fault::Agent, Fault::Freeze, Fault::Trader, Fault::Kill];
    play(by_process(), |lab| there_and_back(lab, &faults));
}

/// Without its holder nothing would end the trader in time, so it goes with it.
#[test]
fn a3_a_trader_does_not_outlive_its_holder() {
    play(by_process(), |lab| {
        let trader = lab.program("p1", "trader")?;
        let holder = process::parent_of(trader);
        ensure!(holder != lab.node("p1")?.pid(), "the trader has no holder");
        lab.timeline.note("kill -9 of the holder");
        process::signal(holder.unwrap_or(trader), Signal::SIGKILL)?;
        lab.served_by(STANDBY, FAILOVER)?;
        ensure!(checker::moves(lab)? == 1, "one loss, one move");
        Ok(())
    });
}
