//! Coordinators and the witness are lost, cut, stalled, or cannot write: the
//! group trades on where it was, and can still be moved.

use crate::{FAILOVER, SOON, play};
use anyhow::{Result, ensure};
use std::time::Duration;
use tests::{
    cluster::COORDINATORS,
    config::{GROUP, PRIMARY, STANDBY},
    lab::{Lab, checker, config::Options, fault::Fault, network::both_ways},
    view, wait,
};

/// Nothing may move here, so the lease is one that outlasts an election on a
/// machine that is busy with something else.
fn calm() -> Options {
    Options { lease: "5s".into(), ..Options::default() }
}

/// Waits until all three voters are level with their leader.
fn level(lab: &mut Lab) -> Result<()> {
    lab.status_where("three level voters", SOON, |status| {
        let leader = view::named(status, "members", view::text(status, "leader")?)?;
        let level = view::number(leader, "matched_index")?;
        for name in COORDINATORS {
            let matched = view::number(view::named(status, "members", name)?, "matched_index")?;
            ensure!(matched >= level, "{name} is at {matched} of {level}");
        }
        Ok(())
    })?;
    Ok(())
}

#[test]
fn the_end_of_each_voter_in_turn_disturbs_nobody() {
    play(calm(), |lab| {
        for name in COORDINATORS {
            lab.timeline.note(format!("kill -9 of {name}"));
            lab.node_mut(name)?.kill9()?;
            lab.leader(SOON)?;
            lab.ordering(PRIMARY, SOON)?;
            lab.node_mut(name)?.start()?;
            level(lab)?;
        }
        checker::undisturbed(lab, PRIMARY, 0)
    });
}

#[test]
fn primary_and_leading_coordinator_lost_together_are_followed_by_the_standby() {
    play(Options::default(), |lab| {
        let leader = lab.leader(SOON)?;
        lab.timeline.note(format!("kill -9 of {leader}"));
        lab.node_mut(&leader)?.kill9()?;
        Fault::Kill.strike(lab, "p1")?;
        lab.served_by(STANDBY, FAILOVER)?;
        lab.node_mut(&leader)?.start()?;
        Fault::Kill.repair(lab, "p1")?;
        level(lab)
    });
}

/// C5: what one voter sees alone is no reason for anything.
#[test]
fn c5_a_flapping_witness_and_cuts_between_voters_disturb_nobody() {
    play(calm(), |lab| {
        for _ in 0..4 {
            lab.network.cut(&both_ways("w1", &["c1", "c2", "p1"]))?;
            wait::throughout("trading", Duration::from_millis(300), || Ok(()))?;
            lab.network.mend_all()?;
            wait::throughout("trading", Duration::from_millis(200), || Ok(()))?;
        }
        for pair in [both_ways("c1", &["c2"]), both_ways("c1", &["w1"]), both_ways("c2", &["w1"])] {
            lab.timeline.note(format!("cut {pair:?}"));
            lab.network.cut(&pair)?;
            lab.leader(SOON)?;
            lab.ordering(PRIMARY, SOON)?;
            lab.network.mend_all()?;
        }
        level(lab)?;
        checker::undisturbed(lab, PRIMARY, 0)
    });
}

/// A voter that stands still for two seconds, as one whose disk does not answer
/// a flush, is waited for by nobody.
#[test]
fn a_leader_that_stalls_for_two_seconds_disturbs_nobody() {
    play(calm(), |lab| {
        let stalled = lab.leader(SOON)?;
        lab.timeline.note(format!("{stalled} is stopped for two seconds"));
        lab.node(&stalled)?.freeze()?;
        let waited = wait::throughout("trading", Duration::from_secs(2), || Ok(()));
        lab.node(&stalled)?.thaw()?;
        waited?;
        level(lab)?;
        checker::undisturbed(lab, PRIMARY, 0)?;
        let disk = lab.leader(SOON)?;
        own_disk(lab, &disk, DISK)?;
        level(lab)?;
        flush_stall(lab, &disk)?;
        level(lab)?;
        checker::undisturbed(lab, PRIMARY, 0)
    });
}

#[test]
fn a_full_disk_of_the_leader_stops_neither_trading_nor_a_failover() {
    play(calm(), |lab| {
        let leader = lab.leader(SOON)?;
        own_disk(lab, &leader, "mount -t tmpfs -o size=24m lab")?;
        level(lab)?;
        // The one with the small disk leads when it fills.
        let _ = lab.ctl.run(&["members", "transfer-leadership", "--to", &leader])?;
        lab.timeline.note(format!("the disk of {leader} is full"));
        let filler = lab.node(&leader)?.folder().join("state/filler").display().to_string();
        let filled = lab.machine(&leader)?.run("dd", &["if=/dev/zero", &format!("of={filler}")]);
        ensure!(filled.is_err(), "the disk took everything");
        // A record, which the full disk cannot take: another must lead by then.
        wait::until("a record beside the full disk", SOON, || {
            lab.ctl.ok(&["hold", GROUP, "--reason", "a full disk"])
        })?;
        wait::until("a second record", SOON, || lab.ctl.ok(&["resume", GROUP]))?;
        checker::undisturbed(lab, PRIMARY, 0)?;
        Fault::Kill.strike(lab, "p1")?;
        lab.served_by(STANDBY, FAILOVER)?;
        lab.machine(&leader)?.run("rm", &[&filler])?;
        let _ = lab.node_mut(&leader)?.kill9();
        lab.node_mut(&leader)?.start()?;
        level(lab)
    });
}

/// Makes a disk that can be frozen, and mounts it on what follows.
const DISK: &str = "truncate -s 64M disk && mkfs.ext4 -q disk && mount -o loop disk";

/// Moves a coordinator's state to a file system of its own, made by `mount`.
fn own_disk(lab: &mut Lab, name: &str, mount: &str) -> Result<()> {
    lab.node_mut(name)?.kill9()?;
    let folder = lab.node(name)?.folder().to_path_buf();
    let (state, kept) = (folder.join("state"), folder.join("state-kept"));
    let at = |path: &std::path::Path| path.display().to_string();
    let machine = lab.machine(name)?;
    machine.run("cp", &["-a", &at(&state), &at(&kept)])?;
    machine.run("sh", &["-c", &format!("cd {} && {mount} {}", at(&folder), at(&state))])?;
    machine.run("sh", &["-c", &format!("cp -a {}/. {}/", at(&kept), at(&state))])?;
    lab.node_mut(name)?.start()
}

/// Every write to a coordinator's disk hangs for two seconds, while the rest of
/// it runs on. One shell does both, so that nothing stays frozen when we end.
fn flush_stall(lab: &mut Lab, name: &str) -> Result<()> {
    lab.timeline.note(format!("the disk of {name} stalls for two seconds"));
    let state = lab.node(name)?.folder().join("state").display().to_string();
    let script = format!("fsfreeze -f {state} && sleep 2; fsfreeze -u {state}");
    lab.machine(name)?.run("sh", &["-c", &script]).map(|_| ())
}
