//! `coordctl status`: warnings first, as sentences, then what is where.

use super::{Paper, finish, or_dash, paragraphs, words};
use comfy_table::Cell;
use proto::v1::{Approval, Group, Host, HostGroup, Member, StatusReply};

/// The whole answer.
pub(crate) fn status(reply: &StatusReply, paper: Paper) -> String {
    paragraphs(&[
        warnings(reply),
        headline(reply),
        groups(&reply.groups, paper),
        sentences(&reply.groups),
        places(reply, paper),
        services(&reply.hosts, paper),
        readings(&reply.hosts, paper),
        members(&reply.members, paper),
    ])
}

fn warnings(reply: &StatusReply) -> String {
    let mut lines = Vec::new();
    if !reply.held_everywhere.is_empty() {
        lines.push(format!(
            "AUTOMATION IS STOPPED FOR EVERY GROUP: {}; `coordctl resume --all` allows it again",
            reply.held_everywhere
        ));
    }
    lines.extend(reply.groups.iter().filter_map(stopped));
    lines.extend(isolated(reply));
    lines.extend(tasks(reply));
    lines.extend(reply.approvals.iter().map(approval));
    lines.extend(reply.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(stale(reply));
    lines.extend(super::rpo::warnings(reply));
    if !reply.unassigned_hosts.is_empty() {
        lines.push(format!(
            "warning: heard from, but in no group yet: {}",
            reply.unassigned_hosts.join(", ")
        ));
    }
    lines.join("\n")
}

/// A request that waits for a second operator.
pub(crate) fn approval(approval: &Approval) -> String {
    let to = if approval.to.is_empty() { String::new() } else { format!(" to {}", approval.to) };
    let proof = match approval.accept_proof {
        0 => String::new(),
        level => format!(" at proof level {level}"),
    };
    format!(
        "APPROVAL {} IS ASKED FOR until {}: {} of {}{to}{proof} by {}: {}; \
         another operator runs `coordctl approve {}`",
        approval.id,
        words::instant(approval.expires_unix_ms),
        approval.kind,
        approval.group,
        approval.by,
        or_dash(&approval.reason),
        approval.id
    )
}

/// A group that was stopped in an emergency, and where.
fn stopped(group: &Group) -> Option<String> {
    let newest = group.stops.iter().max_by_key(|stop| stop.order)?;
    let hosts: Vec<&str> = group.stops.iter().map(|stop| stop.host.as_str()).collect();
    Some(format!(
        "EMERGENCY STOP: {} on {}, by {} at {}: {}; `coordctl emergency-stop --release {}`",
        group.name,
        hosts.join(", "),
        newest.by,
        words::instant(newest.at_unix_ms),
        newest.reason,
        group.name
    ))
}

/// The newest task of each host, while it runs or when it did not end well.
fn tasks(reply: &StatusReply) -> Vec<String> {
    let told = reply.hosts.iter().filter_map(|host| {
        let task = host.task.as_ref()?;
        let how = match &task.end {
            None => "not ended yet".to_owned(),
            Some(end) if end.exit == 0 => return None,
            Some(end) if end.detail.is_empty() => format!("FAILED with exit code {}", end.exit),
            Some(end) => format!("FAILED with exit code {}: {}", end.exit, end.detail),
        };
        let (host, what, by, at) = (&host.name, &task.task, &task.by, task.at_unix_ms);
        Some(format!("task on {host}: {what} by {by} at {}: {how}", words::instant(at)))
    });
    told.collect()
}

/// Hosts that are cut off, and groups that must not be active on one.
fn isolated(reply: &StatusReply) -> Vec<String> {
    let mut lines = Vec::new();
    for host in &reply.hosts {
        if !host.isolation.is_empty() {
            lines.push(format!("ISOLATED: {}: {}", host.name, host.isolation));
        }
        let barred = host.groups.iter().filter(|part| !part.barred.is_empty());
        lines.extend(barred.map(|part| {
            format!("BARRED: {} may not be active on {}: {}", part.group, host.name, part.barred)
        }));
    }
    lines
}

/// Hosts that still hold something of an epoch that is over, and why a gate is absent.
fn stale(reply: &StatusReply) -> Vec<String> {
    let mut lines = Vec::new();
    for (host, part) in reply.hosts.iter().flat_map(|h| h.groups.iter().map(move |part| (h, part)))
    {
        if !part.stale.is_empty() {
            lines.push(format!("stale epoch: {} in {}: {}", host.name, part.group, part.stale));
        }
        if part.failsafe {
            lines.push(format!(
                "warning: {} goes on without a quorum, by the other sites' promises (failsafe)",
                host.name
            ));
        }
    }
    lines
}

/// What stands beside the gate's word.
fn gate(part: &HostGroup) -> String {
    let mut words = or_dash(&part.gate).to_owned();
    if !part.gate_detail.is_empty() {
        words.push_str(&format!(" ({})", part.gate_detail));
    }
    if let Some(left) = part.promised_ms {
        words.push_str(&format!(", promised {}", words::span(left)));
    }
    words
}

fn headline(reply: &StatusReply) -> String {
    let leader = if reply.leader.is_empty() { "none" } else { &reply.leader };
    let mut line = format!(
        "{}: leader {leader}, term {}, {}",
        or_dash(&reply.installation),
        reply.term,
        words::instant(reply.at_unix_ms)
    );
    if reply.outbox_waiting > 0 {
        let waiting = usize::try_from(reply.outbox_waiting).unwrap_or(usize::MAX);
        line.push_str(&format!(", {} waiting", words::count(waiting, "notification")));
    }
    line
}

fn groups(groups: &[Group], paper: Paper) -> String {
    if groups.is_empty() {
        return "no groups yet; bring group files into force with `coordctl apply -f DIR`".into();
    }
    let mut table = paper.table(&[
        "group",
        "state",
        "active",
        "epoch",
        "lease",
        "proof",
        "ready",
        "rpo",
        "plan",
        "incidents",
    ]);
    for group in groups {
        let incidents: Vec<String> = group.incidents.iter().map(ToString::to_string).collect();
        table.add_row(vec![
            Cell::new(&group.name),
            paper.state(&group.state),
            Cell::new(or_dash(&group.active_site)),
            Cell::new(group.epoch),
            Cell::new(words::span(group.lease_ms)),
            Cell::new(format!("{} of {}", group.proof_reachable, group.proof_needed)),
            paper.state(words::yes_no(group.ready)),
            Cell::new(words::span_or_dash(group.rpo_ms)),
            Cell::new(if group.plan == 0 { "-".into() } else { group.plan.to_string() }),
            Cell::new(or_dash(&incidents.join(", "))),
        ]);
    }
    finish(&table)
}

/// What does not fit a table: readiness, hold, decision.
fn sentences(groups: &[Group]) -> String {
    let mut lines = Vec::new();
    for group in groups {
        for (label, text) in
            [("", &group.readiness), ("held: ", &group.held), ("decision: ", &group.decision)]
        {
            if !text.is_empty() {
                lines.push(format!("{}: {label}{text}", group.name));
            }
        }
    }
    lines.join("\n")
}

/// One row a host of a site; hosts of no group at the end.
fn places(reply: &StatusReply, paper: Paper) -> String {
    let mut table = paper.table(&[
        "group",
        "site",
        "role",
        "host",
        "state",
        "heard",
        "epoch",
        "lease left",
        "gate",
        "watchdog",
    ]);
    for group in &reply.groups {
        for site in &group.sites {
            for name in &site.hosts {
                let host = reply.hosts.iter().find(|host| host.name == *name);
                let part = host.and_then(|host| {
                    host.groups
                        .iter()
                        .find(|part| part.group == group.name && part.site == site.name)
                });
                let mut row = vec![
                    Cell::new(&group.name),
                    Cell::new(&site.name),
                    paper.state(&site.role),
                    Cell::new(name),
                ];
                row.extend(host_cells(host, part, paper));
                table.add_row(row);
            }
        }
    }
    for host in &reply.hosts {
        let placed = reply.groups.iter().flat_map(|group| &group.sites);
        if !placed.flat_map(|site| &site.hosts).any(|name| *name == host.name) {
            let mut row =
                vec![Cell::new("-"), Cell::new("-"), Cell::new("-"), Cell::new(&host.name)];
            row.extend(host_cells(Some(host), None, paper));
            table.add_row(row);
        }
    }
    if table.is_empty() { String::new() } else { finish(&table) }
}

fn host_cells(host: Option<&Host>, part: Option<&HostGroup>, paper: Paper) -> [Cell; 6] {
    let heard = host.and_then(|host| host.heard_ms_ago);
    [
        paper.state(host.map_or("never-heard", |host| &host.state)),
        Cell::new(heard.map_or_else(|| "-".into(), |ms| format!("{} ago", words::span(ms)))),
        Cell::new(part.map_or_else(|| "-".into(), |part| part.epoch.to_string())),
        Cell::new(words::span_or_dash(part.and_then(|part| part.lease_left_ms))),
        Cell::new(part.map_or_else(|| "-".into(), gate)),
        Cell::new(host.map_or("-", |host| or_dash(&host.watchdog))),
    ]
}

fn services(hosts: &[Host], paper: Paper) -> String {
    let mut table = paper.table(&["service", "group", "host", "kind", "state", "detail"]);
    for host in hosts {
        for service in &host.services {
            table.add_row(vec![
                Cell::new(&service.name),
                Cell::new(or_dash(&service.group)),
                Cell::new(&host.name),
                Cell::new(if service.exclusive { "exclusive" } else { "shared" }),
                paper.state(&service.state),
                Cell::new(&service.detail),
            ]);
        }
    }
    if table.is_empty() { String::new() } else { finish(&table) }
}

fn readings(hosts: &[Host], paper: Paper) -> String {
    let mut table = paper.table(&["probe", "kind", "host", "verdict", "age", "found"]);
    for host in hosts {
        for reading in &host.readings {
            table.add_row(vec![
                Cell::new(&reading.probe),
                Cell::new(&reading.kind),
                Cell::new(&host.name),
                paper.state(&reading.verdict),
                Cell::new(words::span(reading.age_ms)),
                Cell::new(&reading.summary),
            ]);
        }
    }
    if table.is_empty() { String::new() } else { finish(&table) }
}

/// The coordinators and the witness.
pub(crate) fn members(members: &[Member], paper: Paper) -> String {
    let mut table =
        paper.table(&["coordinator", "role", "address", "votes", "leads", "heard", "log"]);
    for member in members {
        let heard = member.last_contact_ms.map(|ms| format!("{} ago", words::span(ms)));
        table.add_row(vec![
            Cell::new(&member.name),
            Cell::new(&member.role),
            Cell::new(&member.address),
            paper.state(words::yes_no(member.voter)),
            Cell::new(words::yes_no(member.leader)),
            Cell::new(heard.as_deref().unwrap_or("-")),
            Cell::new(member.matched_index),
        ]);
    }
    if table.is_empty() { String::new() } else { finish(&table) }
}

#[cfg(test)]
mod tests;
