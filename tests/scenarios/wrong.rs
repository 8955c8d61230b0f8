//! Wrong input: each is refused in words that name the place and the fix.

use crate::{SOON, play};
use anyhow::{Context, Result, ensure};
use std::{fs, process::Output};
use tests::{cluster::Cluster, config::Options, view, wait};

/// Everything up but the group: enough to be refused by.
fn raised(body: impl FnOnce(&mut Cluster) -> Result<()>) {
    let mut cluster = Cluster::prepare(Options::default()).unwrap();
    let played = cluster.found().and_then(|()| body(&mut cluster));
    if let Err(why) = played {
        cluster.tell();
        panic!("{why:#}");
    }
}

/// Only the files; nothing runs.
fn prepared(body: impl FnOnce(&mut Cluster) -> Result<()>) {
    let mut cluster = Cluster::prepare(Options::default()).unwrap();
    if let Err(why) = body(&mut cluster) {
        panic!("{why:#}");
    }
}

fn words(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn a_wrong_configuration_is_refused_with_file_line_and_field() {
    prepared(|cluster| {
        for (name, good, bad, field) in [
            ("p1", "exclusive = true", "exclusive = \"perhaps\"", "exclusive"),
            ("p1", "kind = \"zeromq\"", "kind = \"seromq\"", "seromq"),
            ("p1", "driver = \"process\"", "driver = \"process\"\nfavourite = 1", "favourite"),
            ("c1", "attempts = 3", "attempts = 99", "attempts"),
            ("c1", "role = \"coordinator\"", "role = \"conductor\"", "role"),
        ] {
            let node = cluster.node(name)?;
            let text = fs::read_to_string(node.config())?;
            ensure!(text.contains(good), "{name} has no `{good}`");
            let changed = text.replacen(good, bad, 1);
            let wrong = bad.lines().last().context("no line")?;
            let line = changed.lines().position(|line| line == wrong).context("gone")? + 1;
            fs::write(node.config(), &changed)?;
            let output = node.command("check").output()?;
            let said = words(&output);
            ensure!(!output.status.success(), "`{bad}` was accepted: {said}");
            let file = node.config().file_name().context("no name")?.display().to_string();
            for part in [file.as_str(), &line.to_string(), field] {
                ensure!(said.contains(part), "`{bad}`: nothing about {part}:\n{said}");
            }
            fs::write(node.config(), &text)?;
            let output = node.command("check").output()?;
            ensure!(output.status.success(), "the good file is refused: {}", words(&output));
        }
        Ok(())
    });
}

#[test]
fn an_absent_configuration_is_named() {
    prepared(|cluster| {
        for name in ["p1", "c1"] {
            let node = cluster.node(name)?;
            fs::remove_file(node.config())?;
            let output = node.command("run").output()?;
            ensure!(!output.status.success(), "{name} ran without a configuration");
            let said = words(&output);
            ensure!(said.contains(&node.config().display().to_string()), "{said}");
        }
        Ok(())
    });
}

#[test]
fn a_wrong_group_file_is_refused_whole() {
    raised(|cluster| {
        let folder = cluster.folder().join("groups");
        let good = fs::read_to_string(folder.join("fx.toml"))?;
        let line = good.lines().position(|line| line.starts_with("lease")).context("lease")? + 1;
        fs::write(
            folder.join("zz.toml"),
            good.replace("lease = \"1s\"", "lease = \"1 parsec\"").replace("\"fx\"", "\"other\""),
        )?;
        let path = folder.display().to_string();
        let answer = cluster.ctl.run(&["apply", "-f", &path])?;
        ensure!(answer.code != 0, "it was accepted: {answer:?}");
        let said = format!("{}{}", answer.stdout, answer.stderr);
        for part in ["zz.toml", &format!(":{line}"), "lease"] {
            ensure!(said.contains(part), "nothing about {part}:\n{said}");
        }
        let status = cluster.status()?;
        ensure!(view::rows(&status, "groups").is_empty(), "half of it was applied: {status}");
        Ok(())
    });
}

#[test]
fn certificates_of_another_installation_are_refused() {
    raised(|cluster| {
        let mut foreign = Cluster::prepare(Options::default())?;
        foreign.found()?;
        // The foreign operator knows our address and has its own papers.
        let stranger = cluster.folder().join("stranger");
        fs::create_dir(&stranger)?;
        for entry in fs::read_dir(&foreign.ctl.context)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), stranger.join(entry.file_name()))?;
            }
        }
        fs::copy(cluster.ctl.context.join("context.toml"), stranger.join("context.toml"))?;
        let ctl = cluster.ctl.with_context(&stranger);
        let answer = ctl.run(&["status", "--timeout", "2s"])?;
        ensure!(answer.code == 4, "{answer:?}");
        ensure!(answer.stderr.contains("certificate"), "no reason: {answer:?}");

        // And a token of the one does not open the door of the other.
        let token = foreign.ctl.ok(&["token", "create", "--host", "p1"])?;
        foreign.node_mut("c1")?.kill9()?;
        let refused = cluster.node("p1")?.enrol(token.trim());
        ensure!(refused.is_err(), "a foreign token was accepted");
        Ok(())
    });
}

#[test]
fn a_revoked_agent_is_cut_off_and_both_sides_say_why() {
    raised(|cluster| {
        cluster.enrol("p1")?;
        cluster.node_mut("p1")?.start()?;
        let connected = |log: String| {
            ensure!(log.contains("agent connected"), "not yet");
            Ok(())
        };
        wait::until("the agent's session", SOON, || connected(cluster.node("c1")?.log_text()))?;
        let certificates = cluster.ctl.json(&["certs", "list"])?;
        let rows = view::rows(&certificates, "certificates");
        let of = |part: &str| {
            let found = rows
                .iter()
                .find(|row| row["identity"].as_str().is_some_and(|uri| uri.contains(part)));
            found.with_context(|| format!("no certificate of an {part}: {certificates}"))
        };
        // Whoever revokes their own locks themselves out: refused by rule.
        let own = view::text(of("operator")?, "serial")?;
        let answer = cluster.ctl.run(&["certs", "revoke", own, "--reason", "a test"])?;
        ensure!(answer.code == 3, "{answer:?}");

        let serial = view::text(of("agent")?, "serial")?;
        cluster.ctl.ok(&["certs", "revoke", serial, "--reason", "a test"])?;
        for name in ["c1", "p1"] {
            wait::until(&format!("{name} to say why"), SOON, || {
                let log = cluster.node(name)?.log_text().to_lowercase();
                ensure!(log.contains("revoked"), "{}", cluster.node(name)?.last_words(3));
                Ok(())
            })?;
        }
        Ok(())
    });
}

#[test]
fn a_token_works_once() {
    raised(|cluster| {
        let token = cluster.ctl.ok(&["token", "create", "--host", "p1"])?;
        let node = cluster.node("p1")?;
        node.enrol(token.trim())?;
        // Whoever else has it gets nothing.
        let other = cluster.node("s1")?;
        let refused = other.enrol(token.trim());
        ensure!(refused.is_err(), "a used token for another host was accepted");
        let fresh = cluster.ctl.ok(&["token", "create", "--host", "p1"])?;
        cluster.node("p1")?.enrol(fresh.trim()).context("a repeated enrolment repairs")
    });
}

#[test]
fn an_absent_docker_is_a_reading_and_not_an_end() {
    play(Options::default(), |cluster| {
        let node = cluster.node_mut("s1")?;
        node.terminate()?;
        let text = fs::read_to_string(node.config())?;
        let absent = node.folder().join("no-docker.sock");
        let with_docker = format!(
            "{text}\n[[service]]\nname = \"terminal\"\ngroup = \"fx\"\nexclusive = false\n\
             driver = \"docker\"\ncontainer = \"mt4\"\nsocket = \"{}\"\n",
            absent.display()
        );
        fs::write(node.config(), with_docker)?;
        node.start()?;
        cluster.status_where("the absent Docker to be told", SOON, |status| {
            let host = view::named(status, "hosts", "s1")?;
            ensure!(host["state"] == "alive", "s1 is {}", host["state"]);
            let service = view::named(host, "services", "terminal")?;
            ensure!(service["state"] == "unknown", "it is {}", service["state"]);
            let detail = view::text(service, "detail")?;
            ensure!(detail.to_lowercase().contains("docker"), "in words: {detail:?}");
            Ok(())
        })?;
        cluster.node_mut("s1")?.alive()
    });
}

#[test]
fn coordctl_says_what_to_type_when_nobody_answers() {
    prepared(|cluster| {
        let answer = cluster.ctl.run(&["status"])?;
        ensure!(answer.code != 0, "{answer:?}");
        ensure!(answer.stderr.contains("coordctl init"), "no next command: {answer:?}");
        let answer = cluster.ctl.run(&["failover"])?;
        ensure!(answer.code == 2, "usage is 2: {answer:?}");
        Ok(())
    });
}
