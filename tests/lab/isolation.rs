//! A host that is cut off after a breach, through the coordinators and by the
//! program on the host: who stays, who goes, and that all is as before afterwards.

use crate::{SOON, play};
use anyhow::{Context, Result, ensure};
use std::{process::Output, time::Duration};
use tests::{
    config::PRIMARY,
    journal,
    lab::{
        Lab,
        config::{Driver, Options},
        network::address,
        talk::{self, Talk},
    },
    view, wait,
};

/// Where p1 and a stranger listen for what is like SSH.
const SSH: u16 = 7022;
/// Exit code of what a safety rule refuses.
const REFUSED: i32 = 3;
/// Longer than a word takes on two busy cores.
const WORD: Duration = Duration::from_secs(5);
/// Long enough that a word would have come back.
const NO_WORD: Duration = Duration::from_millis(700);

fn ruleset(lab: &Lab, host: &str) -> Result<String> {
    lab.machine(host)?.run("nft", &["list", "ruleset"])
}

fn isolation(lab: &mut Lab, what: &str, fits: impl Fn(&str) -> bool) -> Result<()> {
    lab.status_where(what, SOON, |status| {
        let host = view::named(status, "hosts", "p1")?;
        ensure!(host["state"] == "alive", "p1 is {}", host["state"]);
        let words = view::text(host, "isolation")?;
        ensure!(fits(words), "{words:?}");
        Ok(())
    })
    .map(|_| ())
}

/// Calls the agent's program on a host, as a person there would.
fn agent(lab: &Lab, host: &str, words: &[&str], more: &[&str]) -> Result<Output> {
    Ok(lab.node(host)?.call(words).args(more).output()?)
}

fn said(done: &Output) -> String {
    let words = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    words.concat()
}

#[test]
fn isolation_through_the_coordinators_cuts_reverts_stands_and_is_released() {
    let options = Options {
        driver: Driver::Process,
        automatic: false,
        isolation: true,
        ..Options::default()
    };
    play(options, |lab| {
        for machine in ["p1", "venue"] {
            talk::echo(lab.machine(machine)?, SSH)?;
        }
        let (p1, venue) = (address("p1")?, address("venue")?);
        let open = |lab: &Lab, from: &str, to: &str| Talk::open(lab.machine(from)?, to, SSH);
        let mut admin = open(lab, "operator", &p1)?;
        let (mut stranger, mut out) = (open(lab, "venue", &p1)?, open(lab, "p1", &venue)?);
        for (who, talk) in
            [("operator", &mut admin), ("stranger", &mut stranger), ("out", &mut out)]
        {
            ensure!(talk.answers(WORD), "{who}, before");
        }
        let before = ruleset(lab, "p1")?;
        lab.ctl.ok(&["isolate", "p1", "--reason", "an odd process"])?;
        let cut = journal::boot_us()?;
        ensure!(ruleset(lab, "p1")? != before, "no table was loaded");

        // The operator's session and the coordinators' stay, and a new one gets in.
        ensure!(admin.answers(WORD), "the operator's session was cut");
        ensure!(open(lab, "operator", &p1)?.answers(WORD), "the operator is locked out");
        isolation(lab, "p1 to be isolated and heard", |words| {
            words.starts_with("breach, not confirmed") && words.contains("an odd process")
        })?;
        // Everybody else is gone, both ways, and nothing is traded.
        ensure!(!stranger.answers(NO_WORD) && !out.answers(NO_WORD), "a stranger's session");
        ensure!(open(lab, "venue", &p1).is_err(), "a stranger got in");
        ensure!(open(lab, "p1", &venue).is_err(), "it got out");
        let sent = lab.orders_since(PRIMARY, cut)?;
        ensure!(sent == 0, "{sent} orders after the cut");

        // Nobody confirms it: it is over, by itself, and all is as it was.
        isolation(lab, "the isolation to revert", str::is_empty)?;
        wait::until("the table to be gone", SOON, || {
            ensure!(ruleset(lab, "p1")? == before, "{}", ruleset(lab, "p1")?);
            Ok(())
        })?;
        ensure!(open(lab, "venue", &p1)?.answers(WORD), "a stranger, after it");
        lab.served_by(PRIMARY, SOON)?;

        // Confirmed through the agent's new sessions, it stands until it is released.
        lab.ctl.ok(&["isolate", "p1", "--profile", "egress-block", "--reason", "again"])?;
        lab.ctl.ok(&["isolate", "confirm", "p1"])?;
        isolation(lab, "p1 to stay isolated", |words| words.starts_with("egress-block, by"))?;
        let shown = agent(lab, "p1", &["isolate", "status"], &["--json"])?;
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout)?;
        ensure!(shown["confirmed"] == true && shown["left_ms"].is_null(), "{shown}");
        ensure!(open(lab, "p1", &venue).is_err(), "it got out");
        lab.ctl.ok(&["release", "p1", "--reason", "clean"])?;
        ensure!(ruleset(lab, "p1")? == before, "{}", ruleset(lab, "p1")?);
        ensure!(open(lab, "p1", &venue)?.answers(WORD), "out, after it");

        // Where agent.toml does not let coordinators do it, they cannot.
        let answer = lab.ctl.run(&["isolate", "s1", "--reason", "an odd process"])?;
        ensure!(answer.code == REFUSED, "{answer:?}");
        ensure!(answer.stderr.contains("remote = true"), "{answer:?}");
        by_the_program(lab).context("by the program on s1")
    });
}

/// `understudy-agent isolate on | status | off` on a host without administrators.
fn by_the_program(lab: &mut Lab) -> Result<()> {
    let before = ruleset(lab, "s1")?;
    let on = ["isolate", "on"];
    let refused = agent(lab, "s1", &on, &["--reason", "an odd process"])?;
    ensure!(refused.status.code() == Some(REFUSED), "{}", said(&refused));
    ensure!(ruleset(lab, "s1")? == before, "a refusal changed something");
    let forced = agent(lab, "s1", &on, &["--reason", "an odd process", "--force"])?;
    ensure!(forced.status.success(), "{}", said(&forced));
    let s1 = address("s1")?;
    talk::echo(lab.machine("s1")?, SSH)?;
    ensure!(Talk::open(lab.machine("operator")?, &s1, SSH).is_err(), "somebody got in");
    let shown = agent(lab, "s1", &["isolate", "status"], &["--json"])?;
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout)?;
    ensure!(shown["isolated"] == true && shown["confirmed"] == false, "{shown}");
    let off = agent(lab, "s1", &["isolate", "off"], &["--reason", "clean"])?;
    ensure!(off.status.success(), "{}", said(&off));
    ensure!(ruleset(lab, "s1")? == before, "{}", ruleset(lab, "s1")?);
    ensure!(Talk::open(lab.machine("operator")?, &s1, SSH)?.answers(WORD), "after it");
    Ok(())
}
