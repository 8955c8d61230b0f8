//! Wall time of the demo once built, from its start to its end.

use crate::{Measured, agent};
use anyhow::{Result, ensure};
use serde_json::json;
use std::{
    process::{Command, Stdio},
    time::Instant,
};
use tests::{programs::Programs, stats::Figures};

/// The goal in seconds.
const GOAL_S: f64 = 30.0;

/// Runs the demo `trials` times.
pub(crate) fn measure(trials: u32) -> Result<Measured> {
    let demo = Programs::find()?.path("understudy-demo");
    let mut seconds = Vec::new();
    for trial in 1..=trials {
        let began = Instant::now();
        let done = Command::new(&demo).arg("--json").stdin(Stdio::null()).output()?;
        ensure!(
            done.status.success(),
            "trial {trial}: the demo failed:\n{}{}",
            String::from_utf8_lossy(&done.stderr),
            String::from_utf8_lossy(&done.stdout)
        );
        seconds.push(began.elapsed().as_secs_f64());
        eprintln!("trial {trial} of {trials}: {:.1} s", began.elapsed().as_secs_f64());
    }
    let figures = Figures::of(&seconds)?;
    let reached = figures.max < GOAL_S;
    Ok(Measured {
        configuration: json!({"profile": agent::profile(), "driver": "process"}),
        figures: vec![("wall_seconds".into(), figures)],
        goals: vec![("wall_seconds".into(), format!("max < {GOAL_S} s"), reached)],
    })
}
