//! With a Docker Engine of the test's own, in the host of a [`Net`] and with a
//! cgroup v2 hierarchy, so that the machine's Docker is left alone.

use super::{
    HOUR,
    lab::{self, Lab, Net, PATIENCE, blocked, can, fx, passes},
};
use crate::{
    command,
    service::{ServiceConfig, ServiceRoom, Services, docker_lab},
    watchdog::Watchdog,
};
use daemon::{clock::boottime_ms, shutdown::Shutdown};
use model::{Epoch, GateState, Mono, StandbyMode};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::watch;

pub(crate) const IMAGE: &str = "understudy-test:busybox";

/// Private mounts: an own containerd, and cgroup v2 alone.
const START: &str = "mount --make-rprivate / && mkdir -p /run/containerd && \
     mount -t tmpfs none /run/containerd && mount -t cgroup2 none /sys/fs/cgroup && \
     exec dockerd --config-file \"$0/daemon.json\" --data-root \"$0/data\" \
     --exec-root \"$0/exec\" --pidfile \"$0/pid\" -H \"unix://$0/sock\" \
     --storage-driver vfs --log-level warn";

pub(crate) struct Engine<'a> {
    net: &'a Net,
    dir: tempfile::TempDir,
    process: Option<Child>,
}

impl<'a> Engine<'a> {
    /// `None` where there is no Docker, or no cgroup v2 to give it.
    pub(crate) fn start(net: &'a Net) -> Option<Self> {
        if !docker_lab::docker_is_there() || super::super::cgroup::Hierarchy::find().is_none() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("daemon.json"), "{}").unwrap();
        let mut engine = Self { net, dir, process: None };
        engine.begin();
        lab::run(&format!("docker save {IMAGE} | docker -H {} load", engine.host()));
        Some(engine)
    }

    fn begin(&mut self) {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.net.host))
            .args(["unshare", "-m", "sh", "-c", START])
            .arg(self.dir.path())
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(child);
        let until = Instant::now() + PATIENCE;
        while !self.try_docker(&["info"]) {
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap();
            assert!(Instant::now() < until, "dockerd: {}", log());
        }
    }

    fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // dockerd itself, under the programs that started it.
        if let Ok(pid) = fs::read_to_string(self.dir.path().join("pid")) {
            let _ = Command::new("kill").arg(pid.trim()).output();
        }
        let _ = process.wait();
    }

    fn host(&self) -> String {
        format!("unix://{}/sock", self.dir.path().display())
    }

    pub(crate) fn try_docker(&self, args: &[&str]) -> bool {
        let done = Command::new("docker").args(["-H", &self.host()]).args(args).output();
        done.is_ok_and(|done| done.status.success())
    }

    pub(crate) fn docker(&self, args: &[&str]) {
        let done = Command::new("docker").args(["-H", &self.host()]).args(args).output().unwrap();
        let words = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "docker {args:?}: {words}");
    }

    /// Whether a container reaches the outside now.
    pub(crate) fn reaches(&self, container: &str) -> bool {
        let port = lab::PORT.to_string();
        let ask = ["exec", container, "/bin/busybox", "nc", "-w", "1", "10.77.0.2", &port];
        self.try_docker(&ask)
    }

    pub(crate) fn reaches_soon(&self, container: &str) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.reaches(container) {
                return true;
            }
        }
        false
    }

    pub(crate) fn service(&self, container: &str) -> ServiceConfig {
        lab::service(&format!(
            "driver = \"docker\"\ncontainer = \"{container}\"\nsocket = \"{}/sock\"",
            self.dir.path().display()
        ))
    }
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        let all = format!("docker -H {0} ps -aq | xargs -r docker -H {0} rm -f", self.host());
        let _ = Command::new("sh").args(["-c", &all]).output();
        self.end();
    }
}

/// Whether what is behind a published port answers, through Docker's proxy or DNAT.
fn echoes(namespace: &str, to: &str, limit: Duration) -> bool {
    let to = to.parse().unwrap();
    let ask = move || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&to, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"ping\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer == *b"ping\n")
    };
    lab::inside(namespace, ask).join().unwrap().unwrap_or(false)
}

fn echoes_soon(namespace: &str, to: &str) -> bool {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if echoes(namespace, to, Duration::from_secs(1)) {
            return true;
        }
    }
    false
}

const ECHO: [&str; 7] = ["/bin/busybox", "nc", "-ll", "-p", "7000", "-e", "/bin/busybox"];

#[test]
fn gate_docker_bridge_containers_are_held_back_whoever_starts_them() {
    if !can() {
        return;
    }
    let net = Net::new();
    let Some(mut engine) = Engine::start(&net) else { return };
    let head = ["run", "-d", "--restart", "always", "--name"];
    let echo = [&ECHO[..], &["cat"]].concat();
    engine.docker(&[&head[..], &["other", IMAGE, "/bin/busybox", "sleep", "600"]].concat());
    engine.docker(
        &[
            &["create", "--restart", "always", "-p", "8080:7000", "--name", "term", IMAGE],
            &echo[..],
        ]
        .concat(),
    );
    assert!(engine.reaches_soon("other"), "the world does not work");
    let lab = Lab::open(&net.host, "understudy", vec![engine.service("term")]);
    lab.block_on(lab.gate.up());
    assert_eq!(lab.gate.state(&fx()), GateState::Closed, "{}", lab.gate.why(&fx()));
    // Started behind the gate, by somebody who asked nobody.
    engine.docker(&["start", "term"]);
    let ports = [(&net.outside, "10.77.0.1:8080"), (&net.host, "127.0.0.1:8080")];
    assert!(!engine.reaches("term"), "a container got out");
    for (from, to) in ports {
        assert!(!echoes(from, to, lab::BLOCKED), "{to} answered {from} through a closed gate");
    }
    assert!(engine.reaches_soon("other") && passes(&net.host, "10.77.0.2"));
    lab.open_for(HOUR);
    assert!(engine.reaches_soon("term"), "{}", lab.gate.why(&fx()));
    for (from, to) in ports {
        assert!(echoes_soon(from, to), "{to} does not answer {from}");
    }
    lab.close();
    // An address that a free container leaves is not free for a protected one.
    engine.docker(&["rm", "-f", "other", "term"]);
    engine.docker(&[&["run", "-d", "--name", "term", IMAGE], &echo[..]].concat());
    assert!(!engine.reaches("term"), "a container got out with another's address");
    engine.docker(&["update", "--restart", "always", "term"]);
    // Docker's restart writes its own rules anew, and starts the container again.
    engine.end();
    engine.begin();
    let until = Instant::now() + PATIENCE;
    while !engine.try_docker(&["exec", "term", "/bin/busybox", "true"]) {
        assert!(Instant::now() < until, "Docker did not start it again");
    }
    assert!(!engine.reaches("term"), "a container got out after Docker's restart");
    lab.until(GateState::Closed);
    lab.open_for(HOUR);
    assert!(engine.reaches_soon("term"), "{}", lab.gate.why(&fx()));
    assert!(!lab.gate.why(&fx()).contains("restored"), "{}", lab.gate.why(&fx()));
}

/// Starts what stands by, as the driver has it done.
fn stand_by(lab: &Lab, services: &Arc<Services>) -> Result<(), String> {
    let (_lease, deadline) = watch::channel(None);
    let room = command::Room {
        group: fx(),
        epoch: Epoch(1),
        services: Arc::clone(services),
        marks: command::Marks::from([]),
        lease: deadline,
        cancel: Shutdown::new(),
        gate: lab.gate.clone(),
        watchdog: Watchdog::open(None),
        until: Mono(boottime_ms() + 60_000),
        started: Vec::new(),
    };
    lab.block_on(command::stand_by(room))
}

#[test]
fn gate_a1_a_gated_container_is_covered_before_it_starts_behind_the_gate() {
    if !can() {
        return;
    }
    let net = Net::new();
    let Some(engine) = Engine::start(&net) else { return };
    let service = ServiceConfig { standby: StandbyMode::Gated, ..engine.service("term") };
    let lab = Lab::open(&net.host, "understudy", vec![service.clone()]);
    let services = lab.block_on(async {
        Services::open(&[service], &ServiceRoom::new(lab.state.path())).unwrap()
    });
    let services = Arc::new(services);
    // A container that Docker does not know, and no watcher has seen: nothing starts.
    assert!(stand_by(&lab, &services).is_err());
    // On a network that was made a moment ago, which no look of the watchers knows.
    engine.docker(&["network", "create", "fresh"]);
    let create = ["create", "--network", "fresh", "--name", "term", IMAGE, "/bin/busybox"];
    engine.docker(&[&create[..], &["sleep", "600"]].concat());
    assert!(lab.block_on(lab.gate.settle(&fx())), "{}", lab.gate.why(&fx()));
    lab.until(GateState::Closed);
    stand_by(&lab, &services).unwrap();
    assert!(engine.try_docker(&["exec", "term", "/bin/busybox", "true"]), "it runs");
    assert!(!engine.reaches("term"), "a gated container got out");
    // One that runs already is left alone, and with the gate open nothing is begun.
    stand_by(&lab, &services).unwrap();
    lab.open_for(HOUR);
    assert!(engine.reaches_soon("term"), "{}", lab.gate.why(&fx()));
    let refused = stand_by(&lab, &services).unwrap_err();
    assert!(refused.contains("the gate is open"), "{refused}");
    lab.close();
    assert!(!engine.reaches("term"));
}

#[test]
fn gate_docker_host_network_containers_are_held_back_by_their_cgroup() {
    if !can() {
        return;
    }
    let net = Net::new();
    let Some(engine) = Engine::start(&net) else { return };
    let parent = format!("understudy-gated-{}", std::process::id());
    let run = ["run", "-d", "--network", "host", "--name"];
    let sleep = [IMAGE, "/bin/busybox", "sleep", "600"];
    engine.docker(&[&run[..], &["bare"], &sleep[..]].concat());
    let without = Lab::open(&net.host, "understudy_w", vec![engine.service("bare")]);
    let until = Instant::now() + PATIENCE;
    while !without.gate.why(&fx()).contains("cgroup_parent") {
        assert!(Instant::now() < until, "{}", without.gate.why(&fx()));
        thread::yield_now();
    }
    assert_eq!(without.gate.state(&fx()), GateState::Absent);
    drop(without);
    engine.docker(
        &[
            &["create", "--network", "host", "--cgroup-parent", &parent, "--name", "term"],
            &sleep[..],
        ]
        .concat(),
    );
    let lab = Lab::open(&net.host, "understudy", vec![engine.service("term")]);
    lab.until(GateState::Closed);
    engine.docker(&["start", "term"]);
    assert!(!engine.reaches("term"), "a container got out");
    assert!(engine.reaches_soon("bare") && passes(&net.host, "10.77.0.2"));
    lab.open_for(HOUR);
    assert!(engine.reaches_soon("term"), "{}", lab.gate.why(&fx()));
    lab.close();
    assert!(!engine.reaches("term") && !blocked(&net.host, "10.77.0.2"));
    drop((lab, engine));
    if let Some(hierarchy) = super::super::cgroup::Hierarchy::find() {
        let _ = fs::remove_dir(hierarchy.path(&parent));
    }
}
