//! Operators, more than one of them, and a planned move.

use crate::{FAILOVER, play};
use anyhow::ensure;
use tests::{
    config::{GROUP, PRIMARY, STANDBY},
    lab::{checker, config::Options},
    view,
};

/// Exit code of what a safety rule refuses.
const REFUSED: i32 = 3;

#[test]
fn two_operators_make_one_failover_and_the_way_back_is_a_switchover() {
    play(Options { automatic: false, ..Options::default() }, |lab| {
        let words = ["failover", GROUP, "--to", STANDBY, "--yes"];
        lab.timeline.note("two operators ask for a failover");
        let first = lab.ctl.begin(&words)?;
        let second = lab.ctl.begin(&words)?;
        let codes = [first.finish()?.code, second.finish()?.code];
        ensure!(codes.contains(&0), "neither came through: {codes:?}");
        ensure!(codes.iter().all(|code| [0, REFUSED].contains(code)), "{codes:?}");
        lab.served_by(STANDBY, FAILOVER)?;
        ensure!(checker::moves(lab)? == 1, "one wish, two moves");
        lab.ctl.ok(&["switchover", GROUP, "--to", PRIMARY, "--yes"])?;
        lab.served_by(PRIMARY, FAILOVER)?;
        let plans = lab.ctl.json(&["plan", "list"])?;
        let newest = view::newest(&plans).cloned().unwrap_or_default();
        ensure!(view::number(&newest, "proof_level")? == 3, "both were healthy: {newest}");
        Ok(())
    });
}
