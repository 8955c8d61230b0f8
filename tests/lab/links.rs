//! Single links are cut: nothing moves, and trading goes on.

use crate::{SOON, play};
use anyhow::Result;
use std::time::Duration;
use tests::{
    config::{GROUP, PRIMARY},
    lab::{Lab, checker, config::Options},
    view, wait,
};

/// With a lease that outlasts an election on a machine that is busy besides.
fn patient() -> Options {
    Options { lease: "5s".into(), ..Options::gated() }
}

/// The primary is the active site for as long.
fn active(lab: &Lab, span: Duration) -> Result<()> {
    wait::throughout("the primary's part", span, || view::active_on(&lab.status()?, GROUP, PRIMARY))
}

/// C6: a host that only the leader does not hear loses nothing.
#[test]
fn c6_a_cut_between_the_leader_and_the_host_alone_disturbs_nobody() {
    play(patient(), |lab| {
        let leader = lab.leader(SOON)?;
        lab.network.cut(&[("p1", leader.as_str()), (leader.as_str(), "p1")])?;
        let trading = active(lab, Duration::from_secs(8));
        lab.network.mend_all()?;
        trading?;
        checker::undisturbed(lab, PRIMARY, 0)
    });
}

#[test]
fn no_cut_of_a_single_link_moves_anything() {
    let ends = ["p1", "s1", "c1", "c2", "w1"];
    let later = |at: usize| ends[at + 1..].iter().map(move |other| (ends[at], *other));
    let mut links: Vec<(&str, &str)> = (0..ends.len()).flat_map(later).collect();
    links.push(("p1", "venue"));
    play(patient(), |lab| {
        for (one, other) in links {
            for cut in [vec![(one, other)], vec![(other, one)], vec![(one, other), (other, one)]] {
                lab.timeline.note(format!("cut {cut:?}"));
                lab.network.cut(&cut)?;
                let span = wait::throughout("a second", Duration::from_secs(1), || Ok(()));
                lab.network.mend(&cut)?;
                span?;
                lab.ordering(PRIMARY, SOON)?;
            }
        }
        checker::undisturbed(lab, PRIMARY, 0)
    });
}
