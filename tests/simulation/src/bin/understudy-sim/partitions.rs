//! Cut patterns, many of them, in a way that can be interrupted: how far it
//! came is in a file, which is durable before it is counted.

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde_json::{Value, json};
use simulation::{
    partitions::{self, PATTERNS, Phase},
    scene,
};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Instant,
};

/// Patterns between two writes of the progress file: some seconds' worth.
const SLICE: u32 = 2048;

/// Which patterns, over which phase.
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// What is going on when the links are cut: steady, failover or failback.
    #[arg(long)]
    phase: String,
    /// The first, as they are visited.
    #[arg(long, default_value_t = 0)]
    from: u32,
    /// The one after the last; all 2^20 without it.
    #[arg(long, default_value_t = PATTERNS)]
    to: u32,
    /// Where the progress is kept; a run with the same file goes on from there.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Tell the story of the first alone.
    #[arg(long)]
    tell: bool,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

/// Plays them; whether every promise was kept.
pub(crate) fn run(wanted: &Wanted) -> Result<bool> {
    let phase =
        Phase::ALL.into_iter().find(|phase| phase.word() == wanted.phase).with_context(|| {
            format!("no phase `{}`; there are: steady, failover, failback", wanted.phase)
        })?;
    if wanted.tell {
        return tell(phase, wanted.from);
    }
    let to = wanted.to.min(PATTERNS);
    let (mut next, mut violations) = resume(wanted, phase)?;
    let (begun, first) = (Instant::now(), next);
    let mut simulated = 0.0;
    while next < to {
        let end = to.min(next + SLICE);
        let (found, seconds) = slice(phase, next, end)?;
        (next, violations) = (end, violations + found);
        simulated += seconds;
        if let Some(path) = &wanted.state {
            let done = json!({
                "phase": phase.word(), "from": wanted.from, "next": next, "violations": violations,
            });
            keep(path, &done)?;
        }
        eprintln!("{phase}: {next} of {to}, {violations} violations");
    }
    let took = begun.elapsed().as_secs_f64();
    let played = next.saturating_sub(first);
    println!(
        "{phase}: patterns {} to {to}, {played} played now in {took:.1} s ({:.1}/s), {violations} violations",
        wanted.from,
        f64::from(played) / took
    );
    if wanted.json {
        let object = json!({
            "benchmark": "partitions",
            "configuration": {
                "phase": phase.word(), "from": wanted.from, "to": to, "cores": crate::cores(),
            },
            "violations": violations,
            "patterns": to - wanted.from.min(to),
            "played_now": played,
            "seconds": took,
            "patterns_per_second": f64::from(played) / took,
            "simulated_seconds_per_second": simulated / took,
            "load": crate::load(),
        });
        println!("{object}");
    }
    Ok(violations == 0)
}

/// Where an earlier run with this file ended.
fn resume(wanted: &Wanted, phase: Phase) -> Result<(u32, u64)> {
    let begin = (wanted.from, 0);
    let Some(path) = wanted.state.as_ref().filter(|path| path.exists()) else { return Ok(begin) };
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let done: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    if done["phase"] != phase.word() || done["from"] != wanted.from {
        return Err(anyhow!("{} is of another run; remove it or name another", path.display()));
    }
    let next = done["next"].as_u64().and_then(|next| u32::try_from(next).ok());
    let violations = done["violations"].as_u64();
    next.zip(violations).with_context(|| format!("{} is damaged", path.display()))
}

/// Durable before it counts: written beside, synced, renamed.
fn keep(path: &Path, done: &Value) -> Result<()> {
    let beside = path.with_extension("new");
    let mut file =
        File::create(&beside).with_context(|| format!("writing {}", beside.display()))?;
    writeln!(file, "{done}")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    Ok(())
}

fn slice(phase: Phase, from: u32, to: u32) -> Result<(u64, f64)> {
    let next = AtomicU32::new(from);
    let work = || -> Result<(u64, f64)> {
        let (mut violations, mut simulated) = (0, 0.0);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= to {
                return Ok((violations, simulated));
            }
            let pattern = partitions::pattern(index);
            let outcome = partitions::play(phase, pattern, false)?;
            for violation in &outcome.violations {
                println!("VIOLATION {phase}, pattern {pattern:#07x}: {violation}");
                println!("again: {}", partitions::again(phase, index));
            }
            violations += outcome.violations.len() as u64;
            simulated += outcome.stats.simulated as f64 / 1e6;
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..crate::cores()).map(|_| scope.spawn(work)).collect();
        let mut sum = (0, 0.0);
        for thread in threads {
            let part = thread.join().map_err(|_| anyhow!("a run panicked"))??;
            sum = (sum.0 + part.0, sum.1 + part.1);
        }
        Ok(sum)
    })
}

fn tell(phase: Phase, index: u32) -> Result<bool> {
    let outcome = partitions::play(phase, partitions::pattern(index), true)?;
    print!("{}", scene::print(&outcome.lines));
    println!("{:?}", outcome.stats);
    for violation in &outcome.violations {
        println!("VIOLATION {violation}");
    }
    Ok(outcome.violations.is_empty())
}
