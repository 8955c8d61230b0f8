//! The small tables: bounds, checks, certificates, notifications.

use super::{Paper, finish, or_dash, paragraphs, words};
use comfy_table::Cell;
use proto::v1::{Bound, Certificate, DoctorReply, Notification, TimingReply};

/// Derived bounds with what they mean.
pub(crate) fn bounds(bounds: &[Bound], paper: Paper) -> String {
    let mut table = paper.table(&["bound", "time", "formula", "meaning"]);
    for bound in bounds {
        table.add_row(vec![
            Cell::new(&bound.name),
            Cell::new(words::span(bound.ms)),
            Cell::new(&bound.formula),
            Cell::new(&bound.meaning),
        ]);
    }
    finish(&table)
}

/// `coordctl timing`.
pub(crate) fn timing(reply: &TimingReply, paper: Paper) -> String {
    paragraphs(&[format!("group {}", reply.group), bounds(&reply.bounds, paper)])
}

/// `coordctl doctor`: the verdict, then every check, then what to do.
pub(crate) fn checks(group: &str, reply: &DoctorReply, paper: Paper) -> String {
    let verdict = if reply.ready {
        format!("{group} could fail over now: yes")
    } else {
        format!("{group} could fail over now: no")
    };
    let mut table = paper.table(&["check", "of", "result", "found"]);
    for check in &reply.checks {
        table.add_row(vec![
            Cell::new(&check.name),
            Cell::new(or_dash(&check.subject)),
            paper.state(&check.result),
            Cell::new(&check.found),
        ]);
    }
    let hints: Vec<String> = reply
        .checks
        .iter()
        .filter(|check| !check.hint.is_empty())
        .map(|check| format!("{}{}: {}", check.name, of(&check.subject), check.hint))
        .collect();
    let hints =
        if hints.is_empty() { String::new() } else { format!("what to do:\n{}", hints.join("\n")) };
    paragraphs(&[verdict, finish(&table), hints])
}

fn of(subject: &str) -> String {
    if subject.is_empty() { String::new() } else { format!(" ({subject})") }
}

/// `coordctl certs list`.
pub(crate) fn certificates(certificates: &[Certificate], paper: Paper) -> String {
    if certificates.is_empty() {
        return "no certificates are recorded".into();
    }
    let mut table =
        paper.table(&["serial", "identity", "state", "issued", "valid until", "reason"]);
    for certificate in certificates {
        table.add_row(vec![
            Cell::new(&certificate.serial),
            Cell::new(&certificate.identity),
            paper.state(&certificate.state),
            Cell::new(words::instant(certificate.issued_unix_ms)),
            Cell::new(words::instant(certificate.not_after_unix_ms)),
            Cell::new(&certificate.reason),
        ]);
    }
    finish(&table)
}

/// `coordctl notify outbox`: one row a delivery.
pub(crate) fn outbox(notifications: &[Notification], paper: Paper) -> String {
    if notifications.is_empty() {
        return "no notifications".into();
    }
    let mut table = paper.table(&[
        "id", "at", "group", "severity", "title", "channel", "state", "attempts", "detail",
    ]);
    for note in notifications {
        let start = || {
            vec![
                Cell::new(note.id),
                Cell::new(words::instant(note.at_unix_ms)),
                Cell::new(or_dash(&note.group)),
                paper.state(&note.severity),
                Cell::new(&note.title),
            ]
        };
        if note.deliveries.is_empty() {
            let mut row = start();
            row.extend(["-", "no channel", "-", ""].map(Cell::new));
            table.add_row(row);
        }
        for delivery in &note.deliveries {
            let mut row = start();
            row.push(Cell::new(&delivery.channel));
            row.push(paper.state(&delivery.state));
            row.push(Cell::new(delivery.attempts));
            row.push(Cell::new(&delivery.detail));
            table.add_row(row);
        }
    }
    finish(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::PLAIN;
    use proto::v1::{Check, Delivery};

    #[test]
    fn the_doctor_says_what_to_do() {
        let check = |name: &str, subject: &str, result: &str, hint: &str| Check {
            name: name.into(),
            subject: subject.into(),
            result: result.into(),
            found: "as found".into(),
            hint: hint.into(),
        };
        let reply = DoctorReply {
            ready: false,
            checks: vec![
                check("voters", "", "warn", "add a witness"),
                check("disk", "s1", "ok", ""),
                check("feed", "s1", "failed", "start the publisher"),
            ],
        };
        assert_eq!(
            checks("fx", &reply, PLAIN),
            "fx could fail over now: no\n\n\
             CHECK   OF  RESULT  FOUND\n\
             voters  -   warn    as found\n\
             disk    s1  ok      as found\n\
             feed    s1  failed  as found\n\n\
             what to do:\nvoters: add a witness\nfeed (s1): start the publisher"
        );
    }

    #[test]
    fn lists_that_are_empty_say_so() {
        assert_eq!(certificates(&[], PLAIN), "no certificates are recorded");
        assert_eq!(outbox(&[], PLAIN), "no notifications");
    }

    #[test]
    fn every_delivery_has_a_row() {
        let delivery = |channel: &str, state: &str| Delivery {
            channel: channel.into(),
            state: state.into(),
            attempts: 2,
            detail: "HTTP 500".into(),
        };
        let note = Notification {
            id: 4,
            group: "fx".into(),
            severity: "critical".into(),
            title: "p1 is lost".into(),
            deliveries: vec![delivery("log", "accepted"), delivery("slack", "waiting")],
            ..Default::default()
        };
        let text = outbox(&[note, Notification { id: 5, ..Default::default() }], PLAIN);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("slack    waiting") && text.contains("no channel"), "{text}");
    }

    #[test]
    fn bounds_are_explained() {
        let reply = TimingReply {
            group: "fx".into(),
            bounds: vec![Bound {
                name: "heartbeat".into(),
                ms: 500,
                formula: "T/10".into(),
                meaning: "an agent speaks this often".into(),
            }],
        };
        assert_eq!(
            timing(&reply, PLAIN),
            "group fx\n\nBOUND      TIME    FORMULA  MEANING\nheartbeat  500 ms  T/10     an agent speaks this often"
        );
    }
}
