//! Wall clocks that are set, as by an operator or a time server that was away:
//! nothing that is decided hangs on them.

use crate::{FAILOVER, SOON, play};
use anyhow::{Result, ensure};
use std::time::Duration;
use tests::{
    config::{GROUP, PRIMARY, STANDBY},
    journal,
    lab::{Lab, checker, config::Options, hardship::set_clock},
    view, wait,
};

/// In seconds.
const HOUR: i64 = 3600;

/// As far as a clock that is an hour ahead is seen to be, with the time that
/// looking takes.
const NEARLY_MS: u64 = 3_500_000;

/// All who have a clock that counts, the hosts first.
const NODES: [&str; 5] = ["p1", "s1", "c1", "c2", "w1"];

/// How far ahead the clock of the leading coordinator is, by its own word.
fn ahead_ms(lab: &Lab) -> Result<u64> {
    Ok(view::number(&lab.status()?, "at_unix_ms")?.saturating_sub(journal::wall_ms()))
}

/// Trading for more than a lease of it.
fn trades_on(lab: &Lab) -> Result<()> {
    lab.ordering(PRIMARY, SOON)?;
    wait::throughout("trading", Duration::from_secs(6), || Ok(()))?;
    lab.ordering(PRIMARY, SOON)
}

#[test]
fn clocks_that_are_set_by_an_hour_disturb_nobody() {
    let options = Options { own_clocks: true, lease: "5s".into(), ..Options::gated() };
    play(options, |lab| {
        for name in NODES {
            lab.timeline.note(format!("the clock of {name} goes forward by an hour"));
            set_clock(lab.node(name)?, HOUR)?;
            lab.ordering(PRIMARY, SOON)?;
        }
        trades_on(lab)?;
        ensure!(ahead_ms(lab)? > NEARLY_MS, "the leader's clock was not set");
        lab.timeline.note("all clocks go back by an hour");
        for name in NODES {
            set_clock(lab.node(name)?, 0)?;
        }
        trades_on(lab)?;
        ensure!(ahead_ms(lab)? < NEARLY_MS, "the leader's clock was not set back");
        checker::undisturbed(lab, PRIMARY, 0)?;
        // Hosts that disagree with each other and with everybody else.
        set_clock(lab.node("p1")?, HOUR)?;
        set_clock(lab.node("s1")?, -HOUR / 60)?;
        lab.ctl.ok(&["switchover", GROUP, "--to", STANDBY, "--yes"])?;
        lab.served_by(STANDBY, FAILOVER)?;
        set_clock(lab.node("p1")?, 0)?;
        lab.ctl.ok(&["switchover", GROUP, "--to", PRIMARY, "--yes"])?;
        lab.served_by(PRIMARY, FAILOVER)
    });
}
