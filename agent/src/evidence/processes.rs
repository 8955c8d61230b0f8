//! Every process, from /proc: what runs, as whom, since when, and from which file.

use std::{fmt::Write, fs, path::Path};

/// Processes that are listed: beyond, a fork bomb is the evidence.
const PROCESSES_MAX: usize = 32_768;
/// How much of a command line is shown.
const COMMAND_MAX: usize = 4096;

/// One process a line.
pub(super) fn list() -> String {
    let mut text = "pid ppid uid state started_ticks exe -> command\n".to_owned();
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .map(|entries| {
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names.filter_map(|name| name.parse().ok()).take(PROCESSES_MAX).collect()
        })
        .unwrap_or_default();
    pids.sort_unstable();
    for pid in pids {
        if let Some(line) = line(pid) {
            text.push_str(&line);
        }
    }
    text
}

/// Nothing for one that has ended meanwhile.
fn line(pid: u32) -> Option<String> {
    let of = |name: &str| format!("/proc/{pid}/{name}");
    let stat = fs::read_to_string(of("stat")).ok()?;
    // The name in brackets may hold anything, brackets too (proc_pid_stat(5)).
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
    let (state, parent, started) = (fields.first()?, fields.get(1)?, fields.get(19)?);
    let status = fs::read_to_string(of("status")).unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let uid = uid.and_then(|rest| rest.split_whitespace().next()).unwrap_or("?");
    let exe = fs::read_link(of("exe"));
    let exe = exe.as_deref().map_or_else(|_| "?".into(), Path::to_string_lossy);
    let command = fs::read(of("cmdline")).unwrap_or_default();
    let command = command.get(..COMMAND_MAX).unwrap_or(&command);
    let words: Vec<String> = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| word.escape_ascii().to_string())
        .collect();
    let mut text = String::new();
    let words = words.join(" ");
    writeln!(text, "{pid} {parent} {uid} {state} {started} {exe} -> {words}").ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_process_is_there_with_its_file() {
        let own = std::env::current_exe().unwrap();
        let pid = format!("{} ", std::process::id());
        let text = list();
        let line = text.lines().find(|line| line.starts_with(&pid)).unwrap();
        assert!(line.contains(own.to_str().unwrap()), "{line}");
    }
}
