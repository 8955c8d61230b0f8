//! Everything is lost and comes back in any order: the group is served again,
//! by exactly one site.

use crate::{play, quorum::served_by_one};
use anyhow::{Result, ensure};
use tests::{
    cluster::{COORDINATORS, Cluster, HOSTS},
    config::Options,
    view,
};

#[test]
fn everything_restarts_in_one_order() {
    restart_in_order_of(1);
}

#[test]
fn everything_restarts_in_another_order() {
    restart_in_order_of(20);
}

#[test]
fn everything_restarts_in_a_third_order() {
    restart_in_order_of(300);
}

fn restart_in_order_of(seed: u64) {
    play(Options::default(), |cluster| {
        let epoch = epoch(cluster)?;
        let down = shuffled(seed);
        let up = shuffled(seed + 1);
        eprintln!("seed {seed}: down {down:?}, up {up:?}");
        for name in down {
            // Hosts lose their power, services and all.
            cluster.node_mut(name)?.power_off()?;
        }
        for name in up {
            cluster.node_mut(name)?.start()?;
        }
        served_by_one(cluster)?;
        let now = self::epoch(cluster)?;
        ensure!(now >= epoch, "the epoch went from {epoch} to {now}");
        Ok(())
    });
}

fn epoch(cluster: &Cluster) -> Result<u64> {
    view::number(view::named(&cluster.status()?, "groups", "fx")?, "epoch")
}

/// All nodes in an order that the seed alone decides (Fisher and Yates, with
/// the quick generator of Numerical Recipes).
fn shuffled(seed: u64) -> Vec<&'static str> {
    let mut names: Vec<&str> = COORDINATORS.into_iter().chain(HOSTS).collect();
    let mut state = seed;
    for last in (1..names.len()).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(state >> 33).unwrap_or(0) % (last + 1);
        names.swap(last, other);
    }
    names
}
