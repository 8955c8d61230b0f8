//! Backups: what a loss would lose now, source by source.

use super::{Paper, finish, or_dash, words};
use comfy_table::Cell;
use proto::v1::{Host, HostBackup, StatusReply};

/// One row a source, the worst first.
pub(crate) fn rpo(hosts: &[Host], paper: Paper) -> String {
    let mut table = paper.table(&[
        "host",
        "source",
        "group",
        "rpo",
        "target",
        "max",
        "state",
        "snapshot",
        "level",
        "last run",
        "went well",
        "next",
    ]);
    let mut rows: Vec<(&Host, &HostBackup)> =
        hosts.iter().flat_map(|host| host.backups.iter().map(move |b| (host, b))).collect();
    rows.sort_by_key(|(host, backup)| (order(&backup.state), &host.name, &backup.source));
    if rows.is_empty() {
        return String::new();
    }
    for (host, backup) in rows {
        let level = if backup.level == 0 { "-".into() } else { backup.level.to_string() };
        table.add_row(vec![
            Cell::new(&host.name),
            Cell::new(&backup.source),
            Cell::new(or_dash(&backup.group)),
            Cell::new(words::span_or_dash(backup.rpo_ms)),
            Cell::new(words::span_or_dash(backup.target_ms)),
            Cell::new(words::span_or_dash(backup.max_ms)),
            paper.state(&backup.state),
            Cell::new(or_dash(&backup.snapshot)),
            Cell::new(level),
            Cell::new(last(backup)),
            Cell::new(format!("{} of {}", backup.runs_well, backup.runs)),
            Cell::new(
                backup.next_in_ms.map_or("-".into(), |left| format!("in {}", words::span(left))),
            ),
        ]);
    }
    finish(&table)
}

fn order(state: &str) -> u8 {
    match state {
        "failed" => 0,
        "unknown" => 1,
        "warn" => 2,
        _ => 3,
    }
}

fn last(backup: &HostBackup) -> String {
    match (backup.last_run_ms_ago, backup.failed.is_empty()) {
        (None, _) => "never".into(),
        (Some(ago), true) => format!("{} ago", words::span(ago)),
        (Some(ago), false) => format!("failed {} ago", words::span(ago)),
    }
}

/// The worst source of each host and group, where one is beyond a bound.
pub(crate) fn warnings(reply: &StatusReply) -> Vec<String> {
    let mut lines = Vec::new();
    for host in &reply.hosts {
        let mut groups: Vec<&str> = host.backups.iter().map(|b| b.group.as_str()).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            let of = host.backups.iter().filter(|b| b.group == group);
            let bad: Vec<&HostBackup> =
                of.filter(|b| matches!(b.state.as_str(), "failed" | "warn")).collect();
            let worst = bad
                .iter()
                .min_by_key(|b| (order(&b.state), std::cmp::Reverse(b.rpo_ms.unwrap_or(u64::MAX))));
            lines.extend(worst.map(|worst| warning(host, worst, bad.len())));
        }
    }
    lines
}

fn warning(host: &Host, worst: &HostBackup, count: usize) -> String {
    let of = if worst.group.is_empty() { String::new() } else { format!(" of {}", worst.group) };
    let beyond = |bound: Option<u64>| {
        bound.filter(|bound| worst.rpo_ms.is_none_or(|age| age > *bound)).map(words::span)
    };
    let age = match worst.rpo_ms {
        Some(age) => format!("the newest proven copy that survives is {} old", words::span(age)),
        None => "no proven copy survives the host".into(),
    };
    let mut line = format!("backup: {}: {}{of}: {age}", host.name, worst.source);
    if let Some(max) = beyond(worst.max_ms) {
        line.push_str(&format!(", at most {max} is acceptable"));
    } else if let Some(target) = beyond(worst.target_ms) {
        line.push_str(&format!(", the target is {target}"));
    }
    if !worst.failed.is_empty() {
        line.push_str(&format!("; the last run failed: {}", worst.failed));
    }
    if count > 1 {
        line.push_str(&format!("; and {} more", count - 1));
    }
    line.push_str("; coordctl backup rpo");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::PLAIN;

    fn backup(source: &str, state: &str, rpo_ms: Option<u64>) -> HostBackup {
        HostBackup {
            source: source.into(),
            group: "fx".into(),
            state: state.into(),
            rpo_ms,
            target_ms: Some(60_000),
            max_ms: Some(3_600_000),
            last_run_ms_ago: Some(5000),
            runs: 10,
            runs_well: 9,
            ..Default::default()
        }
    }

    fn host(backups: Vec<HostBackup>) -> Host {
        Host { name: "p1".into(), backups, ..Default::default() }
    }

    #[test]
    fn the_worst_of_each_group_is_told_and_the_rest_counted() {
        let all = vec![
            backup("etc", "ok", Some(1000)),
            backup("db", "warn", Some(120_000)),
            backup("keys", "failed", None),
        ];
        let reply = StatusReply { hosts: vec![host(all)], ..Default::default() };
        assert_eq!(
            warnings(&reply),
            [
                "backup: p1: keys of fx: no proven copy survives the host, at most 1 h 0 min is acceptable; \
                 and 1 more; coordctl backup rpo"
            ]
        );
        let mut late = backup("db", "warn", Some(120_000));
        late.failed = "the disk is full".into();
        let reply = StatusReply { hosts: vec![host(vec![late])], ..Default::default() };
        let line = &warnings(&reply)[0];
        assert!(
            line.contains("2 min 0 s old, the target is 1 min 0 s; the last run failed: the disk"),
            "{line}"
        );
        let fine = StatusReply {
            hosts: vec![host(vec![backup("etc", "ok", Some(1))])],
            ..Default::default()
        };
        assert!(warnings(&fine).is_empty());
    }

    #[test]
    fn the_table_has_the_worst_first() {
        let all = vec![backup("etc", "ok", Some(1000)), backup("keys", "failed", None)];
        let text = rpo(&[host(all)], PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("HOST") && lines[1].contains("keys"), "{text}");
        let cells: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(&cells[..4], ["p1", "etc", "fx", "1"], "{text}");
        assert!(lines[2].contains("9 of 10") && lines[2].contains("5 s ago"), "{text}");
        assert_eq!(rpo(&[], PLAIN), "");
    }
}
