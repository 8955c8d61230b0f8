//! What a host must have to take over: processor, memory, space, reach, Docker,
//! images, files, ports, identity, and that it is not cut off. Each with its value,
//! its threshold and what to do; a reading that is missing is unknown, never ok.

use super::{Check, CheckResult};
use crate::{feed::READING_MAX, policy::Minimums, state::Group, view::HostView};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::{ProbeKind, Reading, Verdict};

/// What the agent looks at by itself: its reading's name, the check's, and what to do.
const OWN: [(&str, &str, &str); 5] = [
    ("recovery.docker", "docker", "systemctl status docker; install docker-compose-plugin"),
    ("recovery.images", "images", "docker compose pull && docker compose create"),
    ("recovery.files", "files", "bring the files there; nothing starts without them"),
    ("recovery.ports", "ports", "end what listens there: ss -ltnup"),
    ("recovery.identity", "identity", "enrol the agent anew: coordctl token create"),
];

/// Every check of one host. A finding on the active site is a warning at most: it
/// does not keep another site from taking over.
pub(super) fn recovery(group: &Group, seen: &HostView, active: bool) -> Vec<Check> {
    let host = seen.heartbeat.host.as_str();
    let readings = &seen.heartbeat.readings;
    let mut checks = Vec::new();
    checks.extend(isolation(seen));
    checks.extend(processor_and_memory(host, readings, &group.spec.minimums));
    checks.extend(disks(host, readings, &group.spec.minimums));
    checks.extend(reach(host, readings));
    for (probe, name, hint) in OWN {
        let found = readings.iter().find(|reading| reading.probe.as_str() == probe);
        checks.push(match found {
            Some(reading) => judged(name, host, reading, hint),
            None => {
                let found = "no reading: the agent there is older than this coordinator";
                Check::new(name, host, CheckResult::Unknown, found, "upgrade it")
            }
        });
    }
    for check in checks.iter_mut().filter(|_| active) {
        check.result = check.result.min(CheckResult::Warn);
    }
    checks
}

fn isolation(seen: &HostView) -> Option<Check> {
    let (host, how) = (&seen.heartbeat.host, &seen.heartbeat.isolation);
    let (result, found) = match how.is_empty() {
        true => (CheckResult::Ok, "not isolated".to_string()),
        false => (CheckResult::Failed, format!("isolated: {how}")),
    };
    let hint = format!("coordctl release {host}, once it is clean");
    Some(Check::new("isolation", host.as_str(), result, found, hint))
}

/// A reading as it was judged on the host.
fn judged(name: &'static str, host: &str, reading: &Reading, hint: &str) -> Check {
    let result = match reading.verdict {
        _ if reading.age > READING_MAX => CheckResult::Unknown,
        Verdict::Ok => CheckResult::Ok,
        Verdict::Unknown => CheckResult::Unknown,
        Verdict::Warn => CheckResult::Warn,
        Verdict::Critical => CheckResult::Failed,
    };
    let hint = format!("on {host}: {hint}");
    Check::new(name, host, result, format!("{}: {}", reading.probe, reading.summary), hint)
}

/// No probe of this kind looks at it.
fn unlooked(name: &'static str, host: &str, lines: &str) -> Check {
    let hint = format!("add to agent.toml on {host}: {lines}");
    Check::new(name, host, CheckResult::Unknown, "nothing there looks at it", hint)
}

/// A number against the least that it may be.
fn at_least(
    name: &'static str,
    host: &str,
    (value, age): (Option<i64>, model::Millis),
    (least, of_policy): (u64, bool),
    words: impl Fn(u64) -> String,
) -> Check {
    let Some(value) = value.and_then(|value| u64::try_from(value).ok()) else {
        let found = "its reading does not say";
        return Check::new(name, host, CheckResult::Unknown, found, "ask again in a moment");
    };
    if age > READING_MAX {
        let found = format!("{}, {age} ago", words(value));
        return Check::new(name, host, CheckResult::Unknown, found, "is the agent there busy?");
    }
    let result = match (value >= least, of_policy) {
        (true, _) => CheckResult::Ok,
        (false, true) => CheckResult::Failed,
        (false, false) => CheckResult::Warn,
    };
    let found = format!("{} (at least {})", words(value), words(least));
    let hint = format!("free some on {host}, or change [minimum] in the group file");
    Check::new(name, host, result, found, hint)
}

fn processor_and_memory(host: &str, readings: &[Reading], minimums: &Minimums) -> [Check; 2] {
    let Some(reading) = readings.iter().find(|reading| reading.kind == ProbeKind::Host) else {
        let lines = "[[probe]] name = \"host\", kind = \"host\"";
        return ["cpu", "memory"].map(|name| unlooked(name, host, lines));
    };
    let measure = |name: &str| (reading.measures.get(name).copied(), reading.age);
    let (busy, age) = measure("cpu_percent");
    let idle = (busy.map(|busy| 100 - busy), age);
    [
        at_least("cpu", host, idle, minimums.cpu_idle(), |idle| format!("{idle} % idle")),
        at_least("memory", host, measure("available_memory_bytes"), minimums.memory(), |bytes| {
            format!("{} available", mib(bytes))
        }),
    ]
}

fn disks(host: &str, readings: &[Reading], minimums: &Minimums) -> Vec<Check> {
    let disks = readings.iter().filter(|reading| reading.kind == ProbeKind::Disk);
    let one = |reading: &Reading| {
        let free = (reading.measures.get("free_bytes").copied(), reading.age);
        let name = &reading.probe;
        at_least("disk", host, free, minimums.disk(), |bytes| {
            format!("{name}: {} free", mib(bytes))
        })
    };
    let checks: Vec<Check> = disks.map(one).collect();
    if checks.is_empty() {
        let lines = "[[probe]] name = \"disk\", kind = \"disk\", path = \"/var/lib/docker\", and \
                     one for every place that a restore writes to";
        return Vec::from([unlooked("disk", host, lines)]);
    }
    checks
}

fn reach(host: &str, readings: &[Reading]) -> Vec<Check> {
    let hint = "look at the network and its firewall between the two";
    let reached = readings.iter().filter(|reading| reading.kind == ProbeKind::Tcp);
    let checks: Vec<Check> = reached.map(|reading| judged("reach", host, reading, hint)).collect();
    if checks.is_empty() {
        let lines = "[[probe]] name = \"reach-s1\", kind = \"tcp\", address = \"HOST:PORT\", one for \
                     the other agents and every remote that a restore needs";
        return Vec::from([unlooked("reach", host, lines)]);
    }
    checks
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
