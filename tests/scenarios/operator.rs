//! The operator's hand: failover, failback and switchover, tried dry first,
//! and what is refused.

use crate::{FAILOVER, SOON, closed, completed, count, play};
use anyhow::{Result, ensure};
use std::{collections::BTreeSet, fs, path::Path, process::Command};
use tests::{
    cluster::Cluster,
    config::{GROUP, Options, PRIMARY, STANDBY},
    programs::Programs,
    view,
};

/// Exit code of what a safety rule refuses.
const REFUSED: i32 = 3;

fn by_hand() -> Options {
    Options { automatic: false, ..Options::default() }
}

#[test]
fn a_group_is_moved_there_and_back_by_hand() {
    play(by_hand(), |cluster| {
        dry(cluster, "failover")?;
        let told = cluster.ctl.ok(&["failover", GROUP, "--to", STANDBY, "--yes"])?;
        ensure!(told.contains("RTO"), "no RTO at the end:\n{told}");
        cluster.served_by(STANDBY, FAILOVER)?;
        let plan = completed(cluster, "failover")?;
        ensure!(plan["by"] != "automatic", "{plan}");
        closed(cluster, view::number(&plan, "incident")?)?;

        cluster.ctl.ok(&["failback", GROUP, "--yes"])?;
        cluster.served_by(PRIMARY, FAILOVER)?;
        completed(cluster, "failback")?;

        dry(cluster, "switchover")?;
        cluster.ctl.ok(&["switchover", GROUP, "--to", STANDBY, "--yes"])?;
        cluster.served_by(STANDBY, FAILOVER)?;
        let plan = completed(cluster, "switchover")?;
        ensure!(view::number(&plan, "proof_level")? == 3, "both were healthy: {plan}");
        ensure!(cluster.dual_active_ms()? == 0, "both sites were sending at once");
        Ok(())
    });
}

/// A dry run says what would be done, and does nothing.
fn dry(cluster: &Cluster, kind: &str) -> Result<()> {
    let before = count(cluster, kind)?;
    let told = cluster.ctl.json(&[kind, GROUP, "--to", STANDBY, "--dry-run"])?;
    ensure!(!view::rows(&told["plan"], "steps").is_empty(), "no steps: {told}");
    ensure!(view::number(&told, "proof_reachable")? >= 1, "{told}");
    ensure!(!view::rows(&told, "bounds").is_empty(), "no bounds: {told}");
    ensure!(count(cluster, kind)? == before, "a dry run made a plan");
    let calls = cluster.hook.calls()?;
    ensure!(
        !calls.iter().any(|call| call["to"] == STANDBY) || before > 0 || kind != "failover",
        "a dry run called the DNS hook in earnest"
    );
    Ok(())
}

#[test]
fn a_switchover_to_a_dead_site_is_refused_and_says_why() {
    play(by_hand(), |cluster| {
        cluster.node_mut("s1")?.power_off()?;
        cluster.status_where("s1 to be missed", SOON, |status| {
            let host = view::named(status, "hosts", "s1")?;
            ensure!(host["state"] == "lost", "s1 is {}", host["state"]);
            Ok(())
        })?;
        let answer = cluster.ctl.run(&["switchover", GROUP, "--to", STANDBY, "--yes"])?;
        ensure!(answer.code == REFUSED, "{answer:?}");
        ensure!(answer.stderr.contains("s1") || answer.stderr.contains(STANDBY), "{answer:?}");
        ensure!(count(cluster, "switchover")? == 0, "a refused plan was made");
        Ok(())
    });
}

#[test]
fn two_operators_with_the_same_wish_make_one_plan() {
    play(by_hand(), |cluster| {
        let words = ["failover", GROUP, "--to", STANDBY, "--yes"];
        let first = cluster.ctl.begin(&words)?;
        let second = cluster.ctl.begin(&words)?;
        let codes = [first.finish()?.code, second.finish()?.code];
        ensure!(codes.contains(&0), "neither came through: {codes:?}");
        ensure!(codes.iter().all(|code| [0, REFUSED].contains(code)), "{codes:?}");
        cluster.served_by(STANDBY, FAILOVER)?;
        ensure!(count(cluster, "failover")? == 1, "one wish, two plans");
        ensure!(cluster.dual_active_ms()? == 0, "both sites were sending at once");
        Ok(())
    });
}

#[test]
fn a_held_group_is_not_moved_by_itself_until_it_is_resumed() {
    play(Options::default(), |cluster| {
        cluster.ctl.ok(&["hold", GROUP, "--reason", "a test"])?;
        cluster.node_mut("p1")?.power_off()?;
        cluster.status_where("the loss to be seen and held", SOON, |status| {
            let host = view::named(status, "hosts", "p1")?;
            ensure!(host["state"] == "lost", "p1 is {}", host["state"]);
            let held = view::text(view::named(status, "groups", GROUP)?, "held")?;
            ensure!(held.contains("a test"), "held: {held:?}");
            Ok(())
        })?;
        let why = cluster.ctl.ok(&["explain", "--now", GROUP])?;
        ensure!(why.contains("a test") || why.contains("hold"), "{why}");
        ensure!(count(cluster, "failover")? == 0, "a held group was moved");
        cluster.ctl.ok(&["resume", GROUP])?;
        cluster.served_by(STANDBY, FAILOVER)?;
        Ok(())
    });
}

#[test]
fn every_look_is_there_as_text_and_as_json() {
    play(by_hand(), |cluster| {
        let looks: [&[&str]; 12] = [
            &["status"],
            &["status", GROUP],
            &["timing", GROUP],
            &["explain", "--now", GROUP],
            &["incident", "list"],
            &["plan", "list"],
            &["members", "list"],
            &["certs", "list"],
            &["notify", "outbox"],
            &["export"],
            &["doctor", GROUP],
            &["plan", "show", "1"],
        ];
        for look in looks {
            let text = cluster.ctl.ok(look)?;
            ensure!(!text.trim().is_empty(), "{look:?} said nothing");
            cluster.ctl.json(look)?;
        }
        Ok(())
    });
}

#[test]
fn every_verb_in_the_documents_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut verbs = BTreeSet::new();
    let mut folders = vec![root.to_path_buf(), root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path.starts_with(root.join("docs")) {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                verbs.extend(verbs_in(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let coordctl = Programs::find().unwrap().path("coordctl");
    let unknown: Vec<&String> = verbs
        .iter()
        .filter(|verb| {
            let help = Command::new(&coordctl).args([verb.as_str(), "--help"]).output().unwrap();
            !help.status.success()
        })
        .collect();
    assert!(unknown.is_empty(), "documents name verbs that coordctl has not: {unknown:?}");
}

/// The verbs of calls in code: after a backtick, a prompt, or at a line's beginning.
fn verbs_in(text: &str) -> Vec<String> {
    text.match_indices("coordctl ")
        .filter(|(at, _)| {
            let before = text[..*at].chars().next_back();
            let line = text[..*at].rsplit('\n').next().unwrap_or_default();
            before == Some('`')
                || line.trim().is_empty() && !line.is_empty()
                || line.ends_with("$ ")
        })
        .map(|(at, name)| {
            let rest = &text[at + name.len()..];
            let verb = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-');
            verb.collect::<String>().trim_matches('-').to_owned()
        })
        .filter(|verb| !verb.is_empty())
        .collect()
}
