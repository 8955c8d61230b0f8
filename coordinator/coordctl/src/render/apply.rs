//! Faults of group files as compilers print them, and changes field by field.

use super::words;
use proto::v1::{Change, Fault};

/// Every fault: `file:line:col: field: message`, its hint below.
pub(crate) fn faults(faults: &[Fault]) -> String {
    let mut lines = Vec::new();
    for fault in faults {
        let place = match (fault.line, fault.column) {
            (0, _) => fault.file.clone(),
            (line, 0) => format!("{}:{line}", fault.file),
            (line, column) => format!("{}:{line}:{column}", fault.file),
        };
        let field =
            if fault.field.is_empty() { String::new() } else { format!("{}: ", fault.field) };
        lines.push(format!("{place}: {field}{}", fault.message));
        if !fault.hint.is_empty() {
            lines.push(format!("  hint: {}", fault.hint));
        }
    }
    lines.push(format!("{}; nothing was changed", words::count(faults.len(), "fault")));
    lines.join("\n")
}

/// Every change, its lines below it.
pub(crate) fn changes(changes: &[Change]) -> String {
    if changes.iter().all(|change| change.kind == "unchanged") {
        return "nothing differs from what is in force".into();
    }
    let mut lines = Vec::new();
    for change in changes {
        lines.push(format!("group {}: {}", change.group, change.kind));
        lines.extend(change.lines.iter().map(|line| format!("  {line}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_point_into_their_file() {
        let fault = Fault {
            file: "groups/fx.toml".into(),
            line: 3,
            column: 9,
            field: "group.lease".into(),
            message: "`5 parsecs` is no length of time".into(),
            hint: "use for example \"5s\"".into(),
        };
        let of_file = Fault {
            file: "groups/x.toml".into(),
            message: "no [group]".into(),
            ..Default::default()
        };
        assert_eq!(
            faults(&[fault, of_file]),
            "groups/fx.toml:3:9: group.lease: `5 parsecs` is no length of time\n  \
             hint: use for example \"5s\"\n\
             groups/x.toml: no [group]\n\
             2 faults; nothing was changed"
        );
    }

    #[test]
    fn changes_are_listed_by_field() {
        let change = |kind: &str, lines: &[&str]| Change {
            group: "fx".into(),
            kind: kind.into(),
            lines: lines.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(
            changes(&[change("changed", &["lease: 5s -> 2s"])]),
            "group fx: changed\n  lease: 5s -> 2s"
        );
        assert_eq!(changes(&[change("unchanged", &[])]), "nothing differs from what is in force");
        assert_eq!(changes(&[]), "nothing differs from what is in force");
    }
}
