//! Resident memory and processor time of the primary's agent: at rest (enrolled,
//! heard, no group yet) and under the demo's load (active, one process service,
//! one feed at 20 ticks a second, one disk probe).

use crate::Measured;
use anyhow::{Context, Result};
use serde_json::json;
use std::time::{Duration, Instant};
use tests::{
    cluster::Cluster,
    config::{Options, PRIMARY},
    process,
    stats::Figures,
    view, wait,
};

/// Each trial looks at one stretch of this length.
const STRETCH: Duration = Duration::from_secs(1);
/// Stretches before the first trial, so that starting up is not measured.
const WARM_UP: u32 = 3;
/// The goal for the demo's load.
const GOAL_MIB: f64 = 20.0;

/// Measures `trials` stretches of each kind.
pub(crate) fn measure(trials: u32) -> Result<Measured> {
    let options = Options::default();
    let lease = options.lease;
    let mut cluster = Cluster::prepare(options)?;
    cluster.found()?;
    cluster.join_coordinators()?;
    cluster.join_agents()?;
    cluster.status_where("both agents to be heard", Duration::from_secs(20), |status| {
        for host in ["p1", "s1"] {
            let heard = view::named(status, "hosts", host).is_ok()
                || view::rows(status, "unassigned_hosts").iter().any(|name| name == host);
            anyhow::ensure!(heard, "{host} is not heard");
        }
        Ok(())
    })?;
    let pid = cluster.node("p1")?.pid().context("the agent does not run")?;
    let (rest_memory, rest_cpu) = look(pid, trials)?;
    cluster.apply()?;
    cluster.served_by(PRIMARY, Duration::from_secs(20))?;
    let (load_memory, load_cpu) = look(pid, trials)?;
    let reached = load_memory.max < GOAL_MIB;
    Ok(Measured {
        configuration: json!({
            "profile": profile(),
            "lease": lease,
            "trial": "one second",
            "at_rest": "enrolled and heard by three coordinators, no group",
            "under_load": "active, one process service, one feed at 20 ticks/s, one disk probe",
        }),
        figures: vec![
            ("resident_mib_at_rest".into(), rest_memory),
            ("cpu_percent_of_a_core_at_rest".into(), rest_cpu),
            ("resident_mib_under_load".into(), load_memory),
            ("cpu_percent_of_a_core_under_load".into(), load_cpu),
        ],
        goals: vec![("resident_mib_under_load".into(), format!("max < {GOAL_MIB} MiB"), reached)],
    })
}

/// The profile that we, and so the programs beside us, were built in.
pub(crate) const fn profile() -> &'static str {
    if cfg!(debug_assertions) { "dev" } else { "release" }
}

fn look(pid: u32, trials: u32) -> Result<(Figures, Figures)> {
    let (mut memory, mut cpu) = (Vec::new(), Vec::new());
    for trial in 0..WARM_UP + trials {
        let (began, before) = (Instant::now(), process::cpu_ticks(pid)?);
        wait::throughout("the agent's life", STRETCH, || process::resident_bytes(pid).map(|_| ()))?;
        let used = process::cpu_ticks(pid)?.saturating_sub(before);
        if trial < WARM_UP {
            continue;
        }
        // A tick is 10 ms, so a percent of a core for one second.
        cpu.push(as_float(used) / began.elapsed().as_secs_f64());
        memory.push(as_float(process::resident_bytes(pid)?) / (1024.0 * 1024.0));
    }
    Ok((Figures::of(&memory)?, Figures::of(&cpu)?))
}

#[allow(clippy::cast_precision_loss, reason = "sizes and times are far below 2^52")]
fn as_float(number: u64) -> f64 {
    number as f64
}
