//! What the verbs say to a person.

use super::{Init, Listed, Proven, Ran};
use crate::{prune::Pruned, restore::Restored, run::Done};

/// Bytes in the unit that people compare.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, length)| bytes >= *length) {
        Some((unit, length)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*length);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

fn lines(lines: &[String], none: &str) -> String {
    if lines.is_empty() { none.into() } else { lines.join("\n") }
}

/// Columns as wide as their widest cell.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |at: usize| all.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &&Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

pub(super) fn init(all: &[Init]) -> String {
    let one = |of: &Init| {
        let made = if of.repository_made { "made" } else { "was there" };
        let mut words = format!("repository {}: {made}, {}", of.repository, of.path);
        let key = of.password_file.display();
        if of.password_made {
            words.push_str(&format!(
                "\nkey: made, {key}\nnext: copy {key} off this host; without it nothing can be read"
            ));
        }
        words
    };
    lines(&all.iter().map(one).collect::<Vec<_>>(), "nothing to do")
}

pub(super) fn ran(ran: &Ran) -> String {
    let one = |done: &Done| {
        let vanished = match done.vanished {
            0 => String::new(),
            count => format!(", {count} vanished while they were read"),
        };
        format!(
            "{}: snapshot {} in {}, {} files, {} ({} added), {:.1} s{vanished}; verified: level {}",
            done.source,
            &done.snapshot[..8],
            done.repository,
            done.files,
            size(done.bytes),
            size(done.added_bytes),
            std::time::Duration::from_millis(done.took_ms).as_secs_f64(),
            done.verified_level
        )
    };
    lines(&ran.done.iter().map(one).collect::<Vec<_>>(), "no snapshot was made")
}

pub(super) fn listed(all: &[Listed]) -> String {
    let number = |of: Option<u64>| of.map_or("-".into(), |of| of.to_string());
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|of| {
            let verified = match (of.verified_level, of.verified_at) {
                (Some(2), Some(at)) => {
                    format!("2 ({} %), {}", of.verified_percent.unwrap_or(0), time(at))
                }
                (Some(level), Some(at)) => format!("{level}, {}", time(at)),
                _ => "never".into(),
            };
            vec![
                of.snapshot.clone(),
                of.source.clone().unwrap_or_else(|| "(not ours)".into()),
                of.host.clone(),
                time(of.at),
                number(of.files),
                of.bytes.map_or("-".into(), size),
                verified,
                of.repository.clone(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no snapshots; next: understudy-agent backup run".into();
    }
    table(&["SNAPSHOT", "SOURCE", "HOST", "TIME", "FILES", "SIZE", "VERIFIED", "REPOSITORY"], &rows)
}

pub(super) fn proven(all: &[Proven]) -> String {
    let one = |of: &Proven| {
        let read = if of.level == 2 {
            format!(", {} % read back", of.read_percent)
        } else {
            String::new()
        };
        format!(
            "{}: snapshot {} in {} is good: level {}{read}",
            of.source, of.snapshot, of.repository, of.level
        )
    };
    lines(&all.iter().map(one).collect::<Vec<_>>(), "nothing was proven")
}

pub(super) fn restored(of: &Restored) -> String {
    let plan = &of.plan;
    let verified = plan.verified_level.map_or("never".into(), |level| format!("level {level}"));
    let mut words = vec![
        format!(
            "{}: snapshot {} of {} of host {}",
            plan.source,
            plan.snapshot,
            time(plan.taken),
            plan.host
        ),
        format!("  verified: {verified}"),
        format!("  to: {}", plan.to.display()),
    ];
    for live in &plan.replaces {
        words.push(format!("  replaces: {}", live.display()));
    }
    for name in &plan.waits {
        words.push(format!("  stops and starts: container {name}"));
    }
    words.push(format!(
        "  {} files, {}; {} free",
        plan.files,
        size(plan.bytes),
        size(plan.free_bytes)
    ));
    words.extend(plan.notes.iter().map(|note| format!("  note: {note}")));
    words.extend(plan.problems.iter().map(|problem| format!("  in the way: {problem}")));
    if of.done {
        words.push(format!(
            "restored {} files, {}, in {} ms; containers waited {} ms",
            of.files,
            size(of.bytes),
            of.took_ms,
            of.blackout_ms
        ));
        if let Some(safety) = &of.safety_copy {
            words.push(format!("what was there before: {}", safety.display()));
        }
    } else if plan.problems.is_empty() {
        words.push("nothing was changed (dry run); it could be done".into());
    } else {
        words.push("nothing was changed (dry run); it could not be done".into());
    }
    words.join("\n")
}

pub(super) fn pruned(all: &[Pruned]) -> String {
    let rows: Vec<Vec<String>> = all
        .iter()
        .flat_map(|of| &of.fates)
        .map(|of| {
            let fate = if of.kept_by.is_empty() { "goes" } else { "stays" };
            vec![
                of.snapshot.clone(),
                of.source.clone(),
                of.host.clone(),
                time(of.at),
                of.verified_level.map_or("never".into(), |level| level.to_string()),
                fate.into(),
                of.kept_by.join(", "),
            ]
        })
        .collect();
    let mut text =
        table(&["SNAPSHOT", "SOURCE", "HOST", "TIME", "VERIFIED", "FATE", "KEPT BY"], &rows);
    if all.iter().any(|of| of.dry_run) {
        text.push_str("\nnothing was changed (dry run)");
    } else {
        let unused = all.iter().map(|of| of.unused_bytes).sum();
        text.push_str(&format!(
            "\n{} of data are no longer needed; the disk gets them back at a prune a day from now",
            size(unused)
        ));
    }
    for by in all.iter().filter_map(|of| of.pruned_by.as_ref()) {
        text.push_str(&format!(
            "\nrepository {}: host {} prunes it; run understudy-agent backup prune over there",
            by.repository, by.host
        ));
    }
    text
}
