//! What `coordctl status` looks like.

use super::*;
use crate::render::PLAIN;
use proto::v1::{HostReading, HostService, Site};

fn site(name: &str, role: &str, host: &str) -> Site {
    Site { name: name.into(), role: role.into(), hosts: vec![host.into()], addresses: vec![] }
}

fn primary_host() -> Host {
    Host {
        name: "p1".into(),
        state: "alive".into(),
        heard_ms_ago: Some(120),
        groups: vec![HostGroup {
            group: "fx".into(),
            site: "primary".into(),
            epoch: 1,
            lease_left_ms: Some(4200),
            gate: "absent".into(),
            gate_detail: "no capability".into(),
            ..Default::default()
        }],
        watchdog: "armed".into(),
        services: vec![HostService {
            name: "bridge".into(),
            group: "fx".into(),
            exclusive: true,
            state: "running".into(),
            detail: "pid 12".into(),
        }],
        readings: vec![HostReading {
            probe: "ticks".into(),
            kind: "zeromq".into(),
            verdict: "ok".into(),
            summary: "2 ticks a second".into(),
            age_ms: 300,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn reply() -> StatusReply {
    StatusReply {
        installation: "lab".into(),
        term: 3,
        leader: "c1".into(),
        members: vec![
            Member {
                name: "c1".into(),
                role: "coordinator".into(),
                address: "192.0.2.1:7443".into(),
                voter: true,
                leader: true,
                matched_index: 41,
                ..Default::default()
            },
            Member {
                name: "c2".into(),
                role: "coordinator".into(),
                address: "192.0.2.2:7443".into(),
                voter: true,
                last_contact_ms: Some(40),
                matched_index: 40,
                ..Default::default()
            },
        ],
        groups: vec![Group {
            name: "fx".into(),
            state: "active".into(),
            active_site: "primary".into(),
            epoch: 1,
            primary: "primary".into(),
            sites: vec![site("primary", "active", "p1"), site("standby", "standby", "s1")],
            readiness: "could fail over now: yes".into(),
            ready: true,
            proof_reachable: 3,
            proof_needed: 2,
            lease_ms: 5000,
            decision: "hold: every host of primary is alive".into(),
            incidents: vec![2, 4],
            ..Default::default()
        }],
        hosts: vec![primary_host()],
        warnings: vec!["only two voters: losing one stops automatic failover".into()],
        unassigned_hosts: vec!["x9".into()],
        at_unix_ms: 1_772_334_727_250,
        outbox_waiting: 1,
        ..Default::default()
    }
}

#[test]
fn warnings_stand_first_and_everything_has_a_word() {
    let expected = "\
warning: only two voters: losing one stops automatic failover
warning: heard from, but in no group yet: x9

lab: leader c1, term 3, 2026-03-01 03:12:07 UTC, 1 notification waiting

GROUP  STATE   ACTIVE   EPOCH  LEASE  PROOF   READY  RPO  PLAN  INCIDENTS
fx     active  primary  1      5 s    3 of 2  yes    -    -     2, 4

fx: could fail over now: yes
fx: decision: hold: every host of primary is alive

GROUP  SITE     ROLE     HOST  STATE        HEARD       EPOCH  LEASE LEFT  GATE                    WATCHDOG
fx     primary  active   p1    alive        120 ms ago  1      4.2 s       absent (no capability)  armed
fx     standby  standby  s1    never-heard  -           -      -           -                       -

SERVICE  GROUP  HOST  KIND       STATE    DETAIL
bridge   fx     p1    exclusive  running  pid 12

PROBE  KIND    HOST  VERDICT  AGE     FOUND
ticks  zeromq  p1    ok       300 ms  2 ticks a second

COORDINATOR  ROLE         ADDRESS         VOTES  LEADS  HEARD      LOG
c1           coordinator  192.0.2.1:7443  yes    yes    -          41
c2           coordinator  192.0.2.2:7443  yes    no     40 ms ago  40";
    assert_eq!(status(&reply(), PLAIN), expected);
}

#[test]
fn a_held_group_says_why_and_a_stray_host_is_listed() {
    let mut reply = reply();
    reply.groups[0].held = "held by ann: maintenance".into();
    reply.groups[0].plan = 9;
    reply.hosts.push(Host { name: "x9".into(), state: "alive".into(), ..Default::default() });
    let text = status(&reply, PLAIN);
    assert!(text.contains("fx: held: held by ann: maintenance"), "{text}");
    assert!(text.contains("-      -        -        x9    alive"), "{text}");
}

#[test]
fn a_host_that_is_cut_off_is_told_first() {
    let mut reply = reply();
    reply.hosts[0].isolation = "breach, not confirmed, by ann: an odd process".into();
    reply.hosts[0].groups[0].barred = "it is isolated after a breach".into();
    let text = status(&reply, PLAIN);
    assert!(
        text.starts_with(
            "ISOLATED: p1: breach, not confirmed, by ann: an odd process\n\
         BARRED: fx may not be active on p1: it is isolated after a breach\n"
        ),
        "{text}"
    );
}

#[test]
fn what_needs_a_person_stands_before_everything_else() {
    let mut reply = reply();
    reply.held_everywhere = "the venue is down (ann)".into();
    reply.approvals = vec![Approval {
        id: 4,
        group: "fx".into(),
        kind: "failover".into(),
        to: "standby".into(),
        by: "ann".into(),
        reason: "saw it burn".into(),
        accept_proof: 1,
        expires_unix_ms: 1_772_334_727_250,
        state: "waiting".into(),
        ..Default::default()
    }];
    let part = &mut reply.hosts[0].groups[0];
    part.stale = "epoch 1, 2 is committed".into();
    part.promised_ms = Some(2000);
    part.failsafe = true;
    let text = status(&reply, PLAIN);
    let lines: Vec<&str> = text.lines().take(5).collect();
    assert!(lines[0].starts_with("AUTOMATION IS STOPPED FOR EVERY GROUP: the venue is down (ann)"));
    assert_eq!(
        lines[1],
        "APPROVAL 4 IS ASKED FOR until 2026-03-01 03:12:07 UTC: failover of fx to standby at \
         proof level 1 by ann: saw it burn; another operator runs `coordctl approve 4`"
    );
    assert_eq!(lines[3], "stale epoch: p1 in fx: epoch 1, 2 is committed");
    assert!(lines[4].contains("goes on without a quorum"), "{text}");
    assert!(text.contains("absent (no capability), promised 2 s"), "{text}");
}

#[test]
fn an_empty_installation_says_what_to_do() {
    let text = status(&StatusReply::default(), PLAIN);
    assert!(text.starts_with("-: leader none, term 0"), "{text}");
    assert!(text.contains("coordctl apply -f DIR"), "{text}");
}

#[test]
fn a_task_is_told_while_it_runs_and_when_it_failed() {
    use proto::v1::{TaskEnd, TaskRecord};
    let told = |end: Option<TaskEnd>| {
        let task = TaskRecord {
            task: "backup run db".into(),
            by: "ann".into(),
            end,
            ..TaskRecord::default()
        };
        let host = Host { name: "p1".into(), task: Some(task), ..Host::default() };
        let hosts = vec![host];
        tasks(&StatusReply { hosts, ..StatusReply::default() }).join("\n")
    };
    let end = |exit, detail: &str| Some(TaskEnd { exit, detail: detail.into() });
    assert!(told(None).starts_with("task on p1: backup run db by ann"), "{}", told(None));
    assert!(told(None).ends_with("not ended yet"));
    assert_eq!(told(end(0, "")), "");
    assert!(told(end(1, "the operator left")).ends_with("code 1: the operator left"));
    assert!(told(end(3, "")).ends_with("FAILED with exit code 3"));
}
