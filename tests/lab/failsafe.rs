//! A6: the hosts without their coordinators.

use crate::{FAILOVER, SOON, play};
use anyhow::{Result, ensure};
use std::time::Duration;
use tests::{
    config::{PRIMARY, STANDBY},
    journal,
    lab::{
        Lab, checker,
        config::Options,
        network::{both_ways, island},
    },
    wait,
};

fn failsafe() -> Options {
    Options { failsafe: true, ..Options::gated() }
}

/// More than two leases: without promises trading would have stopped.
const LONG: Duration = Duration::from_secs(8);

/// Kills the pair; the witness alone is no quorum.
fn lose_the_pair(lab: &mut Lab) -> Result<()> {
    lab.timeline.note("kill -9 of both coordinators");
    for name in ["c1", "c2"] {
        lab.node_mut(name)?.kill9()?;
    }
    Ok(())
}

fn restore_the_pair(lab: &mut Lab) -> Result<()> {
    for name in ["c1", "c2"] {
        lab.node_mut(name)?.start()?;
    }
    lab.leader(SOON)?;
    Ok(())
}

/// Trading goes on at `PRIMARY` and nowhere else.
fn trades_on(lab: &Lab, span: Duration) -> Result<()> {
    let began = journal::boot_us()?;
    let mut seen = 0;
    let mut looked = journal::boot_us()?;
    wait::throughout("trading without coordinators", span, || {
        ensure!(lab.orders_since(STANDBY, began)? == 0, "the standby trades");
        // An order a second at the least.
        let sent = lab.orders_since(PRIMARY, began)?;
        if sent > seen {
            (seen, looked) = (sent, journal::boot_us()?);
        }
        ensure!(journal::boot_us()? - looked < 1_000_000, "no order for a second");
        Ok(())
    })
}

/// A6: without coordinators trading goes on, many leases long, while the hosts see
/// each other. One silence ends it, and what is stopped stays stopped until a
/// quorum is back.
#[test]
fn a6_without_coordinators_trading_goes_on_while_the_hosts_see_each_other() {
    play(failsafe(), |lab| {
        lose_the_pair(lab)?;
        trades_on(lab, LONG)?;
        restore_the_pair(lab)?;
        // A leader that has not heard the standby cannot tell the primary where it is.
        crate::stands_by(lab, "s1")?;
        checker::undisturbed(lab, PRIMARY, 0)?;
        lose_the_pair(lab)?;
        trades_on(lab, Duration::from_secs(4))?;
        lab.timeline.note("the hosts lose each other");
        lab.network.cut(&both_ways("p1", &["s1"]))?;
        wait::until("the primary to fall silent", Duration::from_secs(6), || {
            let since = journal::boot_us()?;
            wait::throughout("silence", Duration::from_millis(500), || {
                ensure!(lab.orders_since(PRIMARY, since)? == 0, "it trades");
                Ok(())
            })
        })?;
        let since = journal::boot_us()?;
        wait::throughout("silence everywhere", Duration::from_secs(3), || {
            for site in [PRIMARY, STANDBY] {
                ensure!(lab.orders_since(site, since)? == 0, "{site} trades");
            }
            Ok(())
        })?;
        lab.network.mend_all()?;
        restore_the_pair(lab)?;
        lab.leader(SOON)?;
        checker::settled(lab)
    });
}

/// A6, C4: with promises outstanding the lapse alone is no proof. The coordinators
/// come back while the active host is an island: the standby starts only after
/// its own promise has run out, and never beside the old one. They have not heard
/// the old one since they started, so they cannot know its gate: level 1.
#[test]
fn a6_a_promise_outlasts_the_coordinators_absence() {
    play(Options { needs: 1, ..failsafe() }, |lab| {
        lose_the_pair(lab)?;
        trades_on(lab, Duration::from_secs(4))?;
        let alone: Vec<(&str, &str)> = island("p1")
            .into_iter()
            .filter(|pair| pair.0 != "venue" && pair.1 != "venue")
            .collect();
        lab.timeline.note("p1 reaches the venue alone");
        lab.network.cut(&alone)?;
        restore_the_pair(lab)?;
        lab.served_by(STANDBY, FAILOVER)?;
        lab.network.mend_all()?;
        crate::stands_by(lab, "p1")
    });
}
