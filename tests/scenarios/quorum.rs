//! Without a quorum nothing starts anywhere, and what runs stops by itself (A3).

use crate::{FAILOVER, SOON, play};
use anyhow::ensure;
use std::time::Duration;
use tests::{
    config::{Options, PRIMARY},
    journal, view, wait,
};

/// The lease, and room for killing a process on two busy cores.
const STOPS_WITHIN: Duration = Duration::from_secs(3);

#[test]
fn a3_without_a_quorum_the_active_site_stops_and_no_other_starts() {
    play(Options::default(), |cluster| {
        for voter in ["c2", "w1"] {
            cluster.node_mut(voter)?.kill9()?;
        }
        wait::until("the primary's service to stop", STOPS_WITHIN, || silent(cluster, "p1"))?;
        let since = journal::boot_ms()?;
        wait::throughout("silence on both sites", Duration::from_secs(3), || {
            for host in ["p1", "s1"] {
                let sent = cluster.journal(host)?.ticks_since(since);
                ensure!(sent == 0, "{host} sent {sent} ticks without a quorum");
            }
            Ok(())
        })?;
        let answer = cluster.ctl.run(&["status", "--timeout", "1s"])?;
        ensure!(answer.code == 4, "a leader without a quorum answered: {answer:?}");

        for voter in ["c2", "w1"] {
            cluster.node_mut(voter)?.start()?;
        }
        served_by_one(cluster)
    });
}

/// A cut of one voter at a time is no loss of quorum: the group goes on.
#[test]
fn each_single_voter_can_be_lost_in_turn() {
    play(Options { automatic: false, ..Options::default() }, |cluster| {
        for voter in ["w1", "c2", "c1"] {
            cluster.node_mut(voter)?.kill9()?;
            cluster.leader(SOON)?;
            cluster.served_by(PRIMARY, SOON)?;
            cluster.node_mut(voter)?.start()?;
            cluster.status_where(&format!("{voter} to catch up"), SOON, |status| {
                let member = view::named(status, "members", voter)?;
                let heard = member["leader"] == true
                    || member["last_contact_ms"].as_u64().is_some_and(|ms| ms < 1000);
                ensure!(heard, "{voter}: {member}");
                Ok(())
            })?;
        }
        ensure!(cluster.dual_active_ms()? == 0, "both sites were sending at once");
        Ok(())
    });
}

/// Nothing was sent for longer than the pace of the ticks.
fn silent(cluster: &tests::cluster::Cluster, host: &str) -> anyhow::Result<()> {
    let sent = cluster.journal(host)?.ticks_since(journal::boot_ms()?.saturating_sub(500));
    ensure!(sent == 0, "{host} sent {sent} ticks in half a second");
    Ok(())
}

/// One site serves again, whichever; and at no time did both.
pub(crate) fn served_by_one(cluster: &mut tests::cluster::Cluster) -> anyhow::Result<()> {
    let status = cluster.status_where("the group to be active", FAILOVER, |status| {
        let group = view::named(status, "groups", "fx")?;
        ensure!(group["state"] == "active", "it is {}: {}", group["state"], group["decision"]);
        Ok(())
    })?;
    let site = view::text(view::named(&status, "groups", "fx")?, "active_site")?.to_owned();
    // The decision may still fall while everybody comes back.
    let served = cluster.served_by(&site, FAILOVER);
    if served.is_err() {
        let other = if site == PRIMARY { tests::config::STANDBY } else { PRIMARY };
        cluster.served_by(other, FAILOVER)?;
    }
    ensure!(cluster.dual_active_ms()? == 0, "both sites were sending at once");
    Ok(())
}
