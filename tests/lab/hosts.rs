//! The active host, or a part of it, is lost, or cannot be heard.

use crate::{FAILOVER, SOON, play};
use anyhow::{Result, ensure};
use tests::{
    cluster::host_of,
    config::{PRIMARY, STANDBY},
    lab::{Lab, checker, config::Options, fault::Fault},
};

/// Each fault hits whichever site is active; the other must follow.
pub(crate) fn there_and_back(lab: &mut Lab, faults: &[Fault]) -> Result<()> {
    let mut sites = [PRIMARY, STANDBY];
    for fault in faults {
        let [active, other] = sites;
        lab.steady(active, SOON)?;
        fault.strike(lab, host_of(active))?;
        lab.served_by(other, FAILOVER)?;
        fault.repair(lab, host_of(active))?;
        checker::settled(lab)?;
        // The next failover needs a target that is heard and stands by.
        crate::stands_by(lab, host_of(active))?;
        sites = [other, active];
    }
    ensure!(checker::moves(lab)? == faults.len(), "one loss, one move");
    Ok(())
}

#[test]
fn a_host_without_power_and_a_dead_trader_are_followed_by_the_other_site() {
    play(Options::default(), |lab| there_and_back(lab, &[Fault::Trader, Fault::Kill]));
}

/// A3, A4: the host that hears no coordinator stops by itself, whether or not
/// it still reaches the venue, and whichever direction is gone.
#[test]
fn a3_a_host_that_is_cut_off_stops_before_the_other_starts() {
    let faults = [Fault::CutCoordinators, Fault::Cut, Fault::CutOut, Fault::CutIn];
    play(Options::default(), |lab| there_and_back(lab, &faults));
}
