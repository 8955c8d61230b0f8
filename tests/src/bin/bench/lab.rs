//! The figures of a move, measured in the lab: what the venue sees of an
//! unplanned failover, a switchover, every fault, and the loss of a container.
//!
//! Each trial hits whichever site is active, so that the lab is brought up once.

use crate::{LabArgs, Measured, StandbyWord, agent};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;
use tests::{
    cluster::host_of,
    config::{GROUP, PRIMARY, SERVICE, STANDBY},
    journal,
    lab::{
        Lab, checker,
        config::{Driver, Options, Standby},
        fault::Fault,
        orders,
    },
    stats::Figures,
    view, wait,
};

/// Far beyond any failover, for leases of a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which site is active in a trial, and which one is next.
#[derive(Clone, Copy)]
struct Sides {
    active: &'static str,
    other: &'static str,
}

impl Sides {
    const FIRST: Self = Self { active: PRIMARY, other: STANDBY };

    const fn swapped(self) -> Self {
        Self { active: self.other, other: self.active }
    }
}

fn options(args: &LabArgs) -> Options {
    Options {
        lease: args.lease.clone(),
        dwell: args.dwell.clone(),
        standby: match args.standby {
            StandbyWord::Stopped => Standby::Stopped,
            StandbyWord::Gated => Standby::Gated,
        },
        driver: if args.process { Driver::Process } else { Driver::Bridged },
        gate: args.gate,
        needs: args.needs,
        ..Options::default()
    }
}

fn configuration(args: &LabArgs, lab: &Lab, trial: &str) -> Result<Value> {
    Ok(json!({
        "profile": agent::profile(),
        "lease": args.lease,
        "dwell": args.dwell.as_deref().unwrap_or("default"),
        "standby": args.standby.word(),
        "gate": args.gate,
        "proof_needed": args.needs,
        "service": if args.process { "process" } else { "container, bridged" },
        "orders_per_second": 100,
        "timing": lab.ctl.json(&["timing", GROUP])?["bounds"],
        "trial": trial,
    }))
}

/// Makes both sites ready for the next trial: the group active on one and not
/// held, the other heard and standing by.
fn ready(lab: &mut Lab, sides: Sides) -> Result<()> {
    checker::settled(lab)?;
    lab.served_by(sides.active, PATIENCE)?;
    lab.steady(sides.active, PATIENCE)?;
    let (active, other) = (host_of(sides.active), host_of(sides.other));
    lab.status_where("both sites to be ready", PATIENCE, |status| {
        for host in [active, other] {
            let state = view::text(view::named(status, "hosts", host)?, "state")?;
            ensure!(state == "alive", "{host} is {state}");
        }
        let group = view::named(status, "groups", GROUP)?;
        ensure!(group["ready"] == true, "not ready: {}", group["readiness"]);
        ensure!(view::service(status, active, SERVICE)? == "running", "the trader does not run");
        Ok(())
    })?;
    Ok(())
}

/// One fault, until the other site's first order; that time in ms.
fn strike(lab: &mut Lab, sides: Sides, fault: Fault) -> Result<f64> {
    let at = fault.strike(lab, host_of(sides.active))?;
    let first = wait::until("the first order of the other site", PATIENCE, || {
        let orders = lab.orders()?;
        let first = orders::first_since(&orders, sides.other, at);
        first.map(|order| order.at_us).context("none yet")
    })?;
    Ok(ms(first.saturating_sub(at)))
}

/// Unplanned loss to the first order from the standby.
pub(crate) fn failover(trials: u32, args: &LabArgs) -> Result<Measured> {
    let mut lab = Lab::raise(options(args))?;
    let faults = args.fault.map_or(vec![Fault::Kill, Fault::Cut], |fault| vec![fault]);
    let mut sides = Sides::FIRST;
    let mut figures = Vec::new();
    for fault in &faults {
        let mut times = Vec::new();
        for trial in 1..=trials {
            ready(&mut lab, sides)?;
            let wall = journal::wall_ms();
            let took = strike(&mut lab, sides, *fault)?;
            fault.repair(&mut lab, host_of(sides.active))?;
            let plans = lab.ctl.json(&["plan", "list"])?;
            let steps = phases(view::newest(&plans).context("no plan")?, wall);
            eprintln!("{} {trial} of {trials}: {took:.0} ms;{steps}", fault.word());
            times.push(took);
            sides = sides.swapped();
        }
        figures.push((format!("{}_to_first_order_ms", fault.word()), Figures::of(&times)?));
    }
    ready(&mut lab, sides)?;
    let window = checker::verdict(&lab)?;
    figures.push(("dual_active_ms".into(), Figures::of(&[ms(window.dual_active_us)])?));
    // goals.md: these are what the figure is about, at these two leases only.
    let (p50, p99) = match args.lease.as_str() {
        "500ms" => (1000.0, 1500.0),
        _ => (3000.0, 5000.0),
    };
    let goals = figures
        .iter()
        .filter(|(name, _)| name.ends_with("_to_first_order_ms"))
        .map(|(name, of)| {
            let reached = of.p50 < p50 && of.p99 < p99;
            (name.clone(), format!("p50 < {p50} ms, p99 < {p99} ms"), reached)
        })
        .chain([("dual_active_ms".into(), "0 ms".into(), window.violations == 0)])
        .collect();
    let configuration = configuration(args, &lab, "one fault at the active host")?;
    Ok(Measured { configuration, figures, goals })
}

/// The silence at the venue in a planned move, and how soon the old site falls
/// silent once its fence has begun.
pub(crate) fn switchover(trials: u32, args: &LabArgs) -> Result<Measured> {
    let mut lab = Lab::raise(options(args))?;
    let mut sides = Sides::FIRST;
    let (mut blackout, mut isolation) = (Vec::new(), Vec::new());
    for trial in 1..=trials {
        ready(&mut lab, sides)?;
        let (at, asked) = (journal::boot_us()?, journal::wall_ms());
        lab.ctl.ok(&["switchover", GROUP, "--to", sides.other, "--yes"])?;
        lab.ordering(sides.other, PATIENCE)?;
        let orders = lab.orders()?;
        let first = orders::first_since(&orders, sides.other, at).context("no first order")?;
        let last = orders::last_before(&orders, sides.active, u64::MAX).context("no last order")?;
        let dark = ms(first.at_us.saturating_sub(last.at_us));
        let plans = lab.ctl.json(&["plan", "list"])?;
        let plan = view::newest(&plans).context("no plan")?;
        let steps = view::rows(plan, "steps");
        let fence = steps.iter().find(|step| step["kind"] == "fence").context("no fence")?;
        let began = view::number(fence, "started_unix_ms")?;
        let silent = ms(last.wall_ms.saturating_sub(began) * 1000);
        let steps = phases(plan, asked);
        eprintln!("{trial} of {trials}: dark {dark:.0} ms, silent after {silent:.0} ms;{steps}");
        blackout.push(dark);
        isolation.push(silent);
        sides = sides.swapped();
    }
    let window = checker::verdict(&lab)?;
    let (blackout, isolation) = (Figures::of(&blackout)?, Figures::of(&isolation)?);
    let goals = vec![
        (
            "blackout_ms".into(),
            "p50 < 300 ms, p99 < 1000 ms".into(),
            blackout.p50 < 300.0 && blackout.p99 < 1000.0,
        ),
        ("fence_to_last_order_ms".into(), "p99 < 50 ms".into(), isolation.p99 < 50.0),
        ("dual_active_ms".into(), "0 ms".into(), window.violations == 0),
    ];
    let configuration = configuration(args, &lab, "one switchover between two healthy sites")?;
    let figures = vec![
        ("blackout_ms".into(), blackout),
        ("fence_to_last_order_ms".into(), isolation),
        ("dual_active_ms".into(), Figures::of(&[ms(window.dual_active_us)])?),
    ];
    Ok(Measured { configuration, figures, goals })
}

/// Every fault, `trials` times each: how long two sites were heard at once.
pub(crate) fn dual_active(trials: u32, args: &LabArgs) -> Result<Measured> {
    let faults = args.fault.map_or(Fault::ALL.to_vec(), |fault| vec![fault]);
    let mut lab = Lab::raise(options(args))?;
    let mut sides = Sides::FIRST;
    let (mut figures, mut goals) = (Vec::new(), Vec::new());
    for fault in faults {
        let mut windows = Vec::new();
        for trial in 1..=trials {
            ready(&mut lab, sides)?;
            let from = lab.orders()?.len();
            strike(&mut lab, sides, fault)?;
            // An old site that is still heard is given time to be heard.
            wait::throughout("the other site", Duration::from_secs(2), || Ok(()))?;
            fault.repair(&mut lab, host_of(sides.active))?;
            ready(&mut lab, sides.swapped())?;
            let orders = lab.orders()?;
            let window = orders::judge(&orders[from..], &lab.activations()?);
            let took = ms(window.dual_active_us);
            eprintln!("{} {trial} of {trials}: window {took:.1} ms", fault.word());
            windows.push(took);
            sides = sides.swapped();
        }
        let of = Figures::of(&windows)?;
        goals.push((format!("{}_window_ms", fault.word()), "0 ms".into(), of.max == 0.0));
        figures.push((format!("{}_window_ms", fault.word()), of));
    }
    let trial = "one fault at the active host, two seconds, and its repair";
    let configuration = configuration(args, &lab, trial)?;
    Ok(Measured { configuration, figures, goals })
}

/// From the death of the trader's container to the arrival, at the leader, of
/// the heartbeat that says so. `status` tells how long ago the newest one came,
/// so asking it costs the figure nothing as long as it is asked more often than
/// heartbeats come. The group stays where it is; Docker starts the trader again.
pub(crate) fn detection(trials: u32, args: &LabArgs) -> Result<Measured> {
    ensure!(!args.process, "it is a container's death that is measured");
    let mut lab = Lab::raise(Options { automatic: false, ..options(args) })?;
    let host = host_of(PRIMARY);
    let mut times = Vec::new();
    for trial in 1..=trials {
        lab.steady(PRIMARY, PATIENCE)?;
        seen(&mut lab, host, |state| state == "running")?;
        let died = journal::wall_ms();
        Fault::Trader.strike(&mut lab, host)?;
        let status = seen(&mut lab, host, |state| state != "running")?;
        let age = view::number(view::named(&status, "hosts", host)?, "heard_ms_ago")?;
        let heard = view::number(&status, "at_unix_ms")?.saturating_sub(age);
        let took = ms(heard.saturating_sub(died) * 1000);
        eprintln!("{trial} of {trials}: {took:.0} ms");
        times.push(took);
        lab.daemon(host)?.call(&["start", "trader"])?;
    }
    let figures = Figures::of(&times)?;
    let goals = vec![("death_to_view_ms".into(), "p99 < 200 ms".into(), figures.p99 < 200.0)];
    let configuration = configuration(args, &lab, "SIGKILL of the trader in its container")?;
    Ok(Measured { configuration, figures: vec![("death_to_view_ms".into(), figures)], goals })
}

/// A plan's steps with their lengths, and the waits before each, in ms; the
/// first wait is counted from `since` on the wall clock.
fn phases(plan: &Value, since: u64) -> String {
    let (mut words, mut before) = (String::new(), since);
    for step in view::rows(plan, "steps") {
        let began = step["started_unix_ms"].as_u64().unwrap_or(before);
        let ended = step["finished_unix_ms"].as_u64().unwrap_or(began);
        let kind = step["kind"].as_str().unwrap_or_default();
        let (gap, took) = (began.saturating_sub(before), ended.saturating_sub(began));
        words.push_str(&format!(" +{gap} {kind} {took}"));
        before = ended;
    }
    words
}

/// A status in which the trader's state fits.
fn seen(lab: &mut Lab, host: &str, fits: impl Fn(&str) -> bool) -> Result<Value> {
    lab.status_where("the trader's state to be seen", PATIENCE, |status| {
        let state = view::service(status, host, SERVICE)?;
        ensure!(fits(state), "it is {state}");
        Ok(())
    })
}

#[allow(clippy::cast_precision_loss, reason = "times are far below 2^52 microseconds")]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}
