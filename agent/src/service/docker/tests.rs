//! The driver against the real Engine.

use super::lab::{Container, docker, docker_is_there};
use crate::service::{
    LeaseDeadline, Service, ServiceConfig, ServiceRoom, Services, StartError, StopError,
};
use daemon::clock::boottime_ms;
use model::{Mono, ServiceState};
use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    time::timeout,
};

/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const SLEEP: [&str; 2] = ["sleep", "600"];

struct Lab {
    services: Services,
    lease: LeaseDeadline,
    _renew: watch::Sender<Option<Mono>>,
}

impl Lab {
    fn new(target: &str) -> Self {
        Self::within("20s", target)
    }

    fn within(stop_timeout: &str, target: &str) -> Self {
        let text = format!(
            "name = \"mt4\"\ngroup = \"fx\"\ndriver = \"docker\"\n\
             stop_timeout = {stop_timeout:?}\n{target}"
        );
        let config: ServiceConfig = toml::from_str(&text).unwrap();
        let services = Services::open(&[config], &ServiceRoom::new("/nonexistent")).unwrap();
        let (renew, lease) = watch::channel(Some(Mono(boottime_ms() + 600_000)));
        Self { services, lease, _renew: renew }
    }

    fn of(container: &Container) -> Self {
        Self::new(&format!("container = {:?}", container.0))
    }

    fn service(&self) -> &Arc<Service> {
        self.services.iter().next().unwrap()
    }

    async fn start(&self) -> Result<(), StartError> {
        self.service().start(Some(self.lease.clone())).await
    }

    async fn until(&self, state: ServiceState) -> String {
        let mut changed = self.services.changed();
        let waiting = async {
            loop {
                let status = self.service().status();
                if status.state == state {
                    return status.detail;
                }
                changed.changed().await.unwrap();
            }
        };
        match timeout(PATIENCE, waiting).await {
            Ok(detail) => detail,
            Err(_) => panic!("never {state}: {:?}", self.service().status()),
        }
    }
}

#[tokio::test]
async fn a_container_starts_is_seen_and_stops() {
    if !docker_is_there() {
        return;
    }
    let container = Container::create(&[], &SLEEP);
    let lab = Lab::of(&container);
    let detail = lab.until(ServiceState::Stopped).await;
    assert!(detail.contains("was never started"), "{detail}");
    lab.start().await.unwrap();
    let healthy = lab.service().until_healthy(PATIENCE).await.unwrap();
    assert!(healthy.detail.contains(&container.0) && healthy.detail.contains("no health check"));
    // Starting what runs changes nothing.
    lab.start().await.unwrap();
    assert_eq!(lab.service().state().await, healthy);
    let said = lab.service().stop().await.unwrap();
    assert!(said.contains("exit code 137"), "{said}");
    assert_eq!(container.inspect("{{.State.Running}}"), "false");
    assert_eq!(lab.service().status().state, ServiceState::Stopped);
    // Stopping what is stopped is a success.
    lab.service().stop().await.unwrap();
    lab.start().await.unwrap();
    assert_eq!(lab.service().state().await.state, ServiceState::Running);
}

#[tokio::test]
async fn a_death_is_seen_at_once() {
    if !docker_is_there() {
        return;
    }
    let container = Container::create(&[], &SLEEP);
    let lab = Lab::of(&container);
    lab.start().await.unwrap();
    lab.until(ServiceState::Running).await;
    // The stream may still be connecting: an event is only seen once it is there.
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let mut events = Command::new("docker")
            .args(["events", "--filter", "event=die", "--filter"])
            .arg(format!("container={}", container.0))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let out = events.stdout.take().unwrap();
        // When Docker's own client prints the event is when it can be known.
        let known = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
            Instant::now()
        });
        let name = container.0.clone();
        let kill = tokio::task::spawn_blocking(move || docker(&["kill", &name]));
        let detail = lab.until(ServiceState::Failed).await;
        let seen = Instant::now();
        assert!(detail.contains("exit code 137"), "{detail}");
        kill.await.unwrap();
        // A stream that began after the death prints nothing: then there is no measure.
        if let Ok(known) = timeout(Duration::from_secs(2), known).await {
            best = best.min(seen.saturating_duration_since(known.unwrap()));
        }
        events.kill().unwrap();
        events.wait().unwrap();
        lab.start().await.unwrap();
    }
    assert!(best < Duration::from_millis(150), "seen {best:?} after it could be known");
}

#[tokio::test]
async fn a3_a_container_that_always_restarts_stays_stopped() {
    if !docker_is_there() {
        return;
    }
    for policy in ["always", "unless-stopped"] {
        let container = Container::create(&["--restart", policy], &SLEEP);
        let lab = Lab::of(&container);
        lab.start().await.unwrap();
        lab.service().until_healthy(PATIENCE).await.unwrap();
        lab.service().stop().await.unwrap();
        // Docker's own restart would come within 100 ms; it is watched for ten times that.
        let mut changed = lab.services.changed();
        let back = timeout(Duration::from_secs(1), async {
            while lab.service().status().state != ServiceState::Running {
                changed.changed().await.unwrap();
            }
        });
        assert!(back.await.is_err(), "it came back under policy {policy}");
        assert_eq!(container.inspect("{{.State.Running}}"), "false");
        assert_eq!(container.inspect("{{.HostConfig.RestartPolicy.Name}}"), "unless-stopped");
    }
}

#[tokio::test]
async fn a3_a_container_in_a_restart_loop_is_stopped_too() {
    if !docker_is_there() {
        return;
    }
    let container = Container::create(&["--restart", "always"], &["sh", "-c", "exit 3"]);
    let lab = Lab::of(&container);
    lab.start().await.unwrap();
    let detail = lab.until(ServiceState::Unhealthy).await;
    assert!(detail.contains("restarts after exit code 3"), "{detail}");
    lab.service().stop().await.unwrap();
    assert_eq!(container.inspect("{{.State.Status}}"), "exited");
    assert!(lab.service().container().unwrap().restarts > 0);
}

#[tokio::test]
async fn a_paused_container_is_unhealthy_starts_and_stops() {
    if !docker_is_there() {
        return;
    }
    let container = Container::create(&[], &SLEEP);
    let lab = Lab::of(&container);
    lab.start().await.unwrap();
    lab.until(ServiceState::Running).await;
    docker(&["pause", &container.0]);
    let detail = lab.until(ServiceState::Unhealthy).await;
    assert!(detail.contains("is paused"), "{detail}");
    lab.start().await.unwrap();
    lab.until(ServiceState::Running).await;
    docker(&["pause", &container.0]);
    lab.service().stop().await.unwrap();
    assert_eq!(container.inspect("{{.State.Status}}"), "exited");
}

#[tokio::test]
async fn the_health_check_decides() {
    if !docker_is_there() {
        return;
    }
    let check = ["--health-cmd", "test -e /tmp/well", "--health-interval", "200ms"];
    let retries = ["--health-retries", "1", "--health-start-period", "60s"];
    let options = [&check[..], &retries[..]].concat();
    let container = Container::create(&options, &SLEEP);
    let lab = Lab::of(&container);
    lab.start().await.unwrap();
    lab.until(ServiceState::Starting).await;
    docker(&["exec", &container.0, "touch", "/tmp/well"]);
    lab.service().until_healthy(PATIENCE).await.unwrap();
    docker(&["exec", &container.0, "rm", "/tmp/well"]);
    let detail = lab.until(ServiceState::Unhealthy).await;
    assert!(detail.contains("unhealthy"), "{detail}");
}

#[tokio::test]
async fn compose_services_are_found_by_their_labels() {
    if !docker_is_there() {
        return;
    }
    let project = format!("p{}", std::process::id());
    let label = |key: &str, value: &str| format!("--label=com.docker.compose.{key}={value}");
    let (of, is) = (label("project", &project), label("service", "terminal"));
    let other = label("service", "other");
    let one_off = label("oneoff", "True");
    let first = Container::create(&[&of, &is], &SLEEP);
    let second = Container::create(&[&of, &is], &SLEEP);
    let by_hand = Container::create(&[&of, &is, &one_off], &SLEEP);
    let foreign = Container::create(&[&of, &other], &SLEEP);
    for running in [&by_hand, &foreign] {
        docker(&["start", &running.0]);
    }
    let lab = Lab::new(&format!("compose = {{ project = {project:?}, service = \"terminal\" }}"));
    lab.start().await.unwrap();
    let healthy = lab.service().until_healthy(PATIENCE).await.unwrap();
    assert!(healthy.detail.contains(&first.0) && healthy.detail.contains(&second.0));
    docker(&["kill", &second.0]);
    lab.until(ServiceState::Unhealthy).await;
    assert_eq!(lab.service().container().unwrap().name, second.0);
    lab.service().stop().await.unwrap();
    // A container that `docker compose run` made is of the service as well.
    for stopped in [&first, &second, &by_hand] {
        assert_eq!(stopped.inspect("{{.State.Running}}"), "false", "{}", stopped.0);
    }
    assert_eq!(foreign.inspect("{{.State.Running}}"), "true");
    // One that somebody starts by hand is not overlooked (A1).
    lab.until(ServiceState::Stopped).await;
    docker(&["start", &by_hand.0]);
    lab.until(ServiceState::Unhealthy).await;
}

#[tokio::test]
async fn a_missing_container_is_failed_and_counts_as_stopped() {
    if !docker_is_there() {
        return;
    }
    let lab = Lab::new("container = \"understudy-no-such-container\"");
    let detail = lab.until(ServiceState::Failed).await;
    assert!(detail.contains("there is no container `understudy-no-such"), "{detail}");
    assert!(matches!(lab.start().await, Err(StartError::Missing { .. })));
    assert_eq!(lab.service().stop().await.unwrap(), "there is no such container");
}

#[tokio::test]
async fn a_container_that_cannot_run_is_refused_in_dockers_words() {
    if !docker_is_there() {
        return;
    }
    let container = Container::create(&[], &["/no/such/program"]);
    let lab = Lab::of(&container);
    let error = lab.start().await.unwrap_err().to_string();
    assert!(error.contains("Docker refused `start`") && error.contains("/no/such/program"));
    // Newer Engines keep the reason with the container, older ones do not.
    let detail = lab.until(ServiceState::Failed).await;
    assert!(detail.contains("did not start") || detail.contains("never started"), "{detail}");
}

/// A socket in front of Docker that can be told to swallow everything.
fn in_front_of_docker(socket: &Path) -> Arc<AtomicBool> {
    let listener = UnixListener::bind(socket).unwrap();
    let mute = Arc::new(AtomicBool::new(false));
    let muted = Arc::clone(&mute);
    tokio::spawn(async move {
        let mut swallowed = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            if muted.load(Ordering::SeqCst) {
                swallowed.push(client);
                continue;
            }
            tokio::spawn(async move {
                let Ok(mut docker) = UnixStream::connect("/var/run/docker.sock").await else {
                    return;
                };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut docker).await;
            });
        }
    });
    mute
}

#[tokio::test]
async fn a_daemon_that_never_answers_is_unknown_within_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    in_front_of_docker(&socket).store(true, Ordering::SeqCst);
    let lab = Lab::new(&format!("container = \"c\"\nsocket = {socket:?}"));
    let started = Instant::now();
    let status = lab.service().state().await;
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(status.state, ServiceState::Unknown);
    assert!(status.detail.contains("did not answer"), "{}", status.detail);
    let absent = Lab::new("container = \"c\"\nsocket = \"/nonexistent/docker.sock\"");
    let status = absent.service().state().await;
    assert_eq!(status.state, ServiceState::Unknown);
    assert!(status.detail.contains("cannot reach Docker"), "{}", status.detail);
    assert!(matches!(absent.start().await, Err(StartError::Docker { .. })));
}

#[tokio::test]
async fn a3_a_hung_daemon_does_not_keep_a_container_alive() {
    if !docker_is_there() || !rustix::process::geteuid().is_root() {
        eprintln!("skipped: killing a container's process needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let mute = in_front_of_docker(&socket);
    let container = Container::create(&[], &SLEEP);
    let target = format!("container = {:?}\nsocket = {socket:?}", container.0);
    // The kill must not wait until the stop as a whole gives up.
    let lab = Lab::within("10s", &target);
    lab.start().await.unwrap();
    lab.until(ServiceState::Running).await;
    let pid = container.inspect("{{.State.Pid}}");
    mute.store(true, Ordering::SeqCst);
    let gone = timeout(Duration::from_secs(5), async {
        while Path::new("/proc").join(&pid).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let (stopped, gone) = tokio::join!(lab.service().stop(), gone);
    gone.expect("its main process lives while Docker hangs");
    assert!(matches!(stopped, Err(StopError::Docker { killed: 1, .. })), "{stopped:?}");
    let words = stopped.unwrap_err().to_string();
    assert!(words.contains("did not answer") && words.contains("killed directly"), "{words}");
    // Docker answers again: what it says is what is.
    mute.store(false, Ordering::SeqCst);
    lab.service().stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_wins_over_a_start_under_way() {
    if !docker_is_there() {
        return;
    }
    let container = Container::create(&["--restart", "always"], &SLEEP);
    let lab = Lab::of(&container);
    for _ in 0..4 {
        let (_, stopped) = tokio::join!(lab.start(), async {
            tokio::task::yield_now().await;
            lab.service().stop().await
        });
        stopped.unwrap();
        assert_eq!(container.inspect("{{.State.Running}}"), "false");
    }
}
