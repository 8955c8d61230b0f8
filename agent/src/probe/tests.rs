//! The probes together: spawned, read, refused.

use super::*;
use crate::service::{ServiceConfig, ServiceRoom, docker_lab};
use std::time::{Duration, Instant};

/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn probe(text: &str) -> ProbeConfig {
    toml::from_str(&format!("name = \"p\"\n{text}")).unwrap()
}

fn services(text: &str) -> Services {
    let config: ServiceConfig =
        toml::from_str(&format!("name = \"mt4\"\ngroup = \"fx\"\nstop_timeout = \"20s\"\n{text}"))
            .unwrap();
    let dir = tempfile::tempdir().unwrap();
    Services::open(&[config], &ServiceRoom::new(dir.path())).unwrap()
}

async fn until(probes: &Probes, what: &str, fits: impl Fn(&Reading) -> bool) -> Reading {
    let started = Instant::now();
    loop {
        let reading = probes.readings(Mono(boottime_ms())).remove(0);
        if fits(&reading) {
            return reading;
        }
        assert!(started.elapsed() < PATIENCE, "never {what}: {reading:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn readings_begin_unknown_and_become_known() {
    let none = services("driver = \"process\"\ncommand = [\"/bin/true\"]");
    let disk = probe("kind = \"disk\"\npath = \"/\"");
    let host = probe("kind = \"host\"\nrise = 1\nfall = 1\ninterval = \"100ms\"");
    let probes = Probes::spawn(&[disk, host], &none).unwrap();
    let mut changed = probes.changed();
    let first = probes.readings(Mono(boottime_ms()));
    assert_eq!(
        first.iter().map(|reading| reading.kind).collect::<Vec<_>>(),
        [ProbeKind::Disk, ProbeKind::Host]
    );
    assert!(first.iter().all(|reading| reading.verdict == Verdict::Unknown));
    tokio::time::timeout(PATIENCE, changed.changed()).await.unwrap().unwrap();
    let known = until(&probes, "a disk", |reading| !reading.measures.is_empty()).await;
    let now = Mono(boottime_ms() + 5_000);
    assert!(probes.readings(now)[0].age >= Millis(4_000), "{known:?} does not age");
}

#[tokio::test]
async fn a_container_probe_needs_a_container_of_its_group() {
    let process = services("driver = \"process\"\ncommand = [\"/bin/true\"]");
    let container = probe("kind = \"container\"\nservice = \"mt4\"");
    let refused = Probes::spawn(std::slice::from_ref(&container), &process).err().unwrap();
    assert!(refused.to_string().contains("is not a container"), "{refused}");
    let missing = probe("kind = \"container\"\nservice = \"nope\"");
    let refused = Probes::spawn(&[missing], &process).err().unwrap();
    assert!(refused.to_string().contains("no service `nope`"), "{refused}");
    let docker = services("driver = \"docker\"\ncontainer = \"c\"\nsocket = \"/no/docker.sock\"");
    let other = probe("kind = \"container\"\nservice = \"mt4\"\ngroup = \"other\"");
    let refused = Probes::spawn(&[other], &docker).err().unwrap();
    assert!(refused.to_string().contains("is of `fx`"), "{refused}");
    // Docker's silence counts once it is older than the timeout.
    let hasty = probe("kind = \"container\"\nservice = \"mt4\"\ntimeout = \"50ms\"");
    let probes = Probes::spawn(&[hasty], &docker).unwrap();
    let silent = until(&probes, "unknown", |reading| reading.summary.contains("Docker")).await;
    assert_eq!(silent.verdict, Verdict::Unknown);
}

#[tokio::test]
async fn a_containers_death_and_restarts_are_read() {
    if !docker_lab::docker_is_there() {
        return;
    }
    let script = "while [ ! -e /tmp/die ]; do sleep 0.05; done; rm /tmp/die; exit 4";
    let restart = ["--restart", "on-failure:1"];
    let container = docker_lab::Container::create(&restart, &["sh", "-c", script]);
    let services = services(&format!("driver = \"docker\"\ncontainer = {:?}", container.0));
    let probes =
        Probes::spawn(&[probe("kind = \"container\"\nservice = \"mt4\"")], &services).unwrap();
    let group = GroupId::new("fx").unwrap();
    let waits = until(&probes, "stopped", |reading| reading.verdict == Verdict::Ok).await;
    assert_eq!(waits.measures["running"], 0);
    docker_lab::docker(&["start", &container.0]);
    until(&probes, "running", |reading| reading.measures["running"] == 1).await;
    probes.expect(&group, true);
    docker_lab::docker(&["exec", &container.0, "touch", "/tmp/die"]);
    let back = until(&probes, "back", |reading| {
        reading.measures["restarts_since_start"] == 1 && reading.verdict == Verdict::Ok
    })
    .await;
    assert_eq!(back.measures["running"], 1);
    docker_lab::docker(&["exec", &container.0, "touch", "/tmp/die"]);
    let dead = until(&probes, "dead", |reading| {
        reading.verdict == Verdict::Critical && reading.measures["exit_code"] == 4
    })
    .await;
    assert!(dead.summary.contains("exit code 4"), "{}", dead.summary);
}
