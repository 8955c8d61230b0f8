//! What needs no coordinator: help, usage, generated files, `init`.

use assert_cmd::Command;
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

fn coordctl() -> Command {
    let mut command = Command::cargo_bin("coordctl").unwrap();
    command
        .env_remove("UNDERSTUDY_CONTEXT")
        .env("HOME", "/nonexistent")
        .env_remove("XDG_CONFIG_HOME");
    command
}

/// Standard error of a run that ended with this code.
fn ends(args: &[&str], code: i32) -> String {
    let output = coordctl().args(args).output().unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {talk}");
    talk
}

#[test]
fn every_verb_has_help() {
    for verb in [
        "init",
        "status",
        "failover",
        "switchover",
        "failback",
        "hold",
        "resume",
        "doctor",
        "explain",
        "timing",
        "incident",
        "incident list",
        "incident show",
        "incident report",
        "plan",
        "plan list",
        "plan show",
        "apply",
        "diff",
        "export",
        "members",
        "members list",
        "members remove",
        "members transfer",
        "token",
        "token create",
        "certs",
        "certs list",
        "certs revoke",
        "notify",
        "notify outbox",
        "completions",
        "man",
    ] {
        let mut args: Vec<&str> = verb.split(' ').collect();
        args.push("--help");
        let output = coordctl().args(&args).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{verb}");
        assert!(help.contains(&format!("Usage: coordctl {verb}")), "{verb}: {help}");
        assert!(help.contains("--json"), "{verb}: {help}");
    }
    let output = coordctl().arg("--help").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("3 refused by a safety rule"));
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    ends(&[], 2);
    ends(&["frobnicate"], 2);
    ends(&["failover", "fx"], 2);
    ends(&["failover", "--to", "standby", "--accept-proof", "1", "--yes"], 2);
    ends(&["failover", "--to", "standby", "--accept-proof", "9", "--reason", "x", "--yes"], 2);
    ends(&["status", "--watch", "--json"], 2);
    ends(&["explain"], 2);
    ends(&["hold", "fx", "--all"], 2);
    ends(&["export", "--force"], 2);
    ends(&["--timeout", "soon", "status"], 2);
    ends(&["certs", "revoke", "0a"], 2);
    ends(&["token", "create", "--host", "p1", "--role", "king"], 2);
}

#[test]
fn without_a_context_the_next_command_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let talk = ends(&["status", "--context", dir.path().to_str().unwrap()], 2);
    assert!(talk.contains("there is no context in"), "{talk}");
    assert!(talk.contains("hint: run `coordctl init`"), "{talk}");
    let output = coordctl().arg("status").env("UNDERSTUDY_CONTEXT", dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let talk = ends(&["status"], 2);
    assert!(talk.contains("/nonexistent/.config/understudy"), "{talk}");
}

#[test]
fn a_move_without_a_terminal_needs_yes() {
    for verb in [&["failover", "--to", "s"][..], &["switchover", "--to", "s"], &["failback"]] {
        let talk = ends(verb, 2);
        assert!(talk.contains("no terminal") && talk.contains("--yes"), "{talk}");
    }
}

#[test]
fn completions_and_man_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        let output = coordctl().args(["completions", shell]).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("failover"), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    let man = dir.path().join("man/man1");
    ends(&["man", man.to_str().unwrap()], 0);
    for page in ["coordctl.1", "coordctl-failover.1", "coordctl-incident-report.1"] {
        let text = fs::read_to_string(man.join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = std::process::Command::new(assert_cmd::cargo::cargo_bin("coordctl"))
        .args(["completions", "bash"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn init(root: &Path) -> Vec<String> {
    let state = root.join("state").display().to_string();
    let context = root.join("context").display().to_string();
    ["init", "--installation", "lab", "--coordinator", "c1", "--advertise", "192.0.2.1:7443"]
        .map(String::from)
        .into_iter()
        .chain(["--coordinator-state".into(), state, "--context".into(), context])
        .collect()
}

#[test]
fn init_makes_an_installation_once() {
    let root = tempfile::tempdir().unwrap();
    let args = init(root.path());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let talk = ends(&args, 0);
    for next in ["understudy-coordinator run", "status", "token create --role witness"] {
        assert!(talk.contains(next), "{talk}");
    }
    let mode =
        |name: &str| fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("state"), 0o700);
    assert_eq!(mode("state/pki/authority.key"), 0o600);
    assert_eq!(mode("context/identity.key"), 0o600);
    let talk = ends(&args, 1);
    assert!(talk.contains("authority.key is there already"), "{talk}");
}

#[test]
fn init_prints_one_json_document() {
    let root = tempfile::tempdir().unwrap();
    let output = coordctl().args(init(root.path())).arg("--json").output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["installation"], "lab");
    assert_eq!(document["operator"], "admin");
    assert_eq!(document["authority"].as_str().unwrap().len(), 64);
}

#[test]
fn nobody_there_ends_with_4() {
    let root = tempfile::tempdir().unwrap();
    let mut args = init(root.path());
    // Below every range of ports that the system gives out: nobody listens there.
    let free = "127.0.0.1:1";
    let at = args.iter().position(|arg| arg == "192.0.2.1:7443").unwrap();
    args[at] = free.into();
    ends(&args.iter().map(String::as_str).collect::<Vec<_>>(), 0);
    let context = root.path().join("context");
    let context = context.to_str().unwrap();
    let talk = ends(&["status", "--context", context, "--timeout", "300ms"], 4);
    assert!(talk.contains("no leading coordinator was found"), "{talk}");
    assert!(talk.contains(free) && talk.contains("refused"), "{talk}");
}
