//! A policy that demands proof level 4: nobody moves before a fence hook says
//! that the old host is off, and then at once.

use crate::{FAILOVER, SOON, closed, completed, play};
use anyhow::{Context, ensure};
use std::{fs, time::Duration};
use tests::{
    config::{Options, STANDBY},
    journal, view, wait, webhook,
};

fn needs_power_off() -> Options {
    Options { needs: 4, policy: "fence = [\"power\"]", ..Options::default() }
}

#[test]
fn a_fence_hook_that_confirms_is_a_proof_of_level_4() {
    play(needs_power_off(), |cluster| {
        fs::write(cluster.folder().join("fence-verdict"), "confirmed")?;
        cluster.node_mut("p1")?.power_off()?;
        cluster.served_by(STANDBY, FAILOVER)?;
        let plan = completed(cluster, "failover")?;
        ensure!(view::number(&plan, "proof_level")? == 4, "{plan}");
        ensure!(view::text(&plan, "proof")?.contains("power"), "{plan}");
        closed(cluster, view::number(&plan, "incident")?)?;
        let calls = webhook::read_lines(&cluster.folder().join("fence-calls"))?;
        let call = &calls.first().context("the hook was not called")?["input"];
        ensure!(call["host"] == "p1" && call["epoch"] == plan["epoch_before"], "{call}");
        ensure!(call["level"] == 4 && call["hook"] == "power", "{call}");
        ensure!(cluster.dual_active_ms()? == 0, "both sites were sending at once");
        Ok(())
    });
}

#[test]
fn a_fence_hook_that_cannot_confirm_moves_nothing() {
    play(needs_power_off(), |cluster| {
        cluster.node_mut("p1")?.power_off()?;
        let calls = cluster.folder().join("fence-calls");
        wait::until("the hook to be called", FAILOVER, || {
            ensure!(!webhook::read_lines(&calls)?.is_empty(), "no call");
            Ok(())
        })?;
        let since = journal::boot_ms()?;
        wait::throughout("the standby's silence", Duration::from_secs(3), || {
            let sent = cluster.journal("s1")?.ticks_since(since);
            ensure!(sent == 0, "{sent} ticks without the proof that the policy needs");
            Ok(())
        })?;
        cluster.status_where("nothing to be active anew", SOON, |status| {
            let group = view::named(status, "groups", "fx")?;
            ensure!(view::number(group, "epoch")? == 1, "{group}");
            Ok(())
        })?;
        Ok(())
    });
}
