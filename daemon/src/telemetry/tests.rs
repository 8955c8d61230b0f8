//! The lines as they leave a real process, and filters that cannot be read.

use super::*;
use std::process::Command;

/// Set in the child processes of the tests below.
const CHILD: &str = "UNDERSTUDY_TEST_LOGS";

/// The process of the tests below; nothing when run by itself.
#[test]
fn child_that_logs() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let json = std::env::var_os("AS_JSON").is_some();
    if let Err(error) = init("understudy-agent", json, "") {
        tracing_free_print(&error.to_string());
        return;
    }
    assert!(matches!(init("again", json, ""), Err(TelemetryError::Twice { .. })));
    tracing::info!(group = "fx", "lease \"kept\"");
    tracing::debug!("not for everyone");
    let _ = std::panic::catch_unwind(|| panic!("went wrong"));
}

fn tracing_free_print(words: &str) {
    eprintln!("{words}");
}

fn lines(variables: &[(&str, &str)]) -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "telemetry::tests::child_that_logs", "--nocapture"])
        .env(CHILD, "1")
        .env_remove(FILTER_VARIABLE)
        .env_remove("JOURNAL_STREAM")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stderr).unwrap().lines().map(String::from).collect()
}

#[test]
fn a_terminal_gets_program_and_time_and_the_journal_neither() {
    let plain = lines(&[]);
    assert_eq!(plain.len(), 2, "{plain:?}");
    assert!(plain[0].starts_with("understudy-agent: 2"), "{}", plain[0]);
    assert!(plain[0].ends_with("lease \"kept\" group=\"fx\""), "{}", plain[0]);
    assert!(plain[1].contains("panic: went wrong"), "{}", plain[1]);
    let journal = lines(&[("JOURNAL_STREAM", "8:1")]);
    assert!(journal[0].trim_start().starts_with("INFO"), "{}", journal[0]);
    assert_eq!(lines(&[(FILTER_VARIABLE, "debug")]).len(), 3);
}

#[test]
fn json_carries_the_program_first() {
    let lines = lines(&[("AS_JSON", "1")]);
    assert!(
        lines[0].starts_with("{\"program\":\"understudy-agent\",\"timestamp\":\""),
        "{lines:?}"
    );
    assert!(lines[0].contains("\"message\":\"lease \\\"kept\\\"\""), "{lines:?}");
    assert!(lines[0].ends_with('}'), "{lines:?}");
}

#[test]
fn a_filter_that_cannot_be_read_says_so() {
    let lines = lines(&[(FILTER_VARIABLE, "info,=x=y")]);
    assert!(lines[0].contains("UNDERSTUDY_LOG=`info,=x=y`"), "{lines:?}");
    assert!(filter(Some("  ".into()), "openraft=error").is_ok());
}
