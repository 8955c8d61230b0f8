//! Each reading: as it should be, as it should not, and as nobody can tell.

use super::*;
use crate::service::docker_lab::{Container as Real, docker_is_there};
use docker::Container;
use std::net::TcpListener;

fn container(running: bool, image: bool) -> Container {
    Container {
        name: "mt4".into(),
        running,
        image,
        binds: vec!["/etc/passwd".into()],
        ports: [(true, 8080)].into(),
    }
}

fn stock(containers: Vec<Container>) -> Vec<Result<Stock, String>> {
    vec![Ok(Stock { target: "container `mt4`".into(), containers })]
}

fn mute() -> Vec<Result<Stock, String>> {
    vec![Err("mt4: Docker at /x did not answer".into())]
}

#[test]
fn docker_must_answer_and_compose_should_be_there() {
    let answers = [Ok("28.0".to_owned())];
    assert_eq!(docker_of(&answers, Some("the plugin at /p")).verdict, Verdict::Ok);
    let none = docker_of(&answers, None);
    assert_eq!(none.verdict, Verdict::Warn);
    assert!(none.summary.contains("compose plugin"), "{}", none.summary);
    let down = docker_of(&[Err("Docker at /x: refused".into())], None);
    assert_eq!(down.verdict, Verdict::Critical);
    assert_eq!(docker_of(&[], None).verdict, Verdict::Ok);
}

#[test]
fn containers_and_their_images_must_be_there() {
    assert_eq!(images(&stock(vec![container(false, true)])).verdict, Verdict::Ok);
    let gone = images(&stock(vec![container(false, false)]));
    assert!(gone.verdict == Verdict::Critical && gone.summary.contains("image of container `mt4`"));
    let none = images(&stock(vec![]));
    assert!(none.verdict == Verdict::Critical && none.summary.contains("no container `mt4`"));
    assert_eq!(images(&mute()).verdict, Verdict::Unknown);
}

#[test]
fn files_that_services_name_must_be_there() {
    let service = |program: &str| -> ServiceConfig {
        let text = "name = \"bridge\"\ngroup = \"fx\"\ndriver = \"process\"\n";
        toml::from_str(&format!("{text}command = [\"{program}\"]")).unwrap()
    };
    let there = files(&[service("/bin/sh")], &stock(vec![container(true, true)]));
    assert_eq!(there.verdict, Verdict::Ok, "{}", there.summary);
    let gone = files(&[service("/nonexistent/bridge")], &[]);
    assert_eq!(gone.verdict, Verdict::Critical);
    assert!(gone.summary.contains("/nonexistent/bridge is not there"), "{}", gone.summary);
    let mut bound = container(false, true);
    bound.binds = vec!["/nonexistent/secret.key".into()];
    assert_eq!(files(&[], &stock(vec![bound])).verdict, Verdict::Critical);
    assert_eq!(files(&[service("/bin/sh")], &mute()).verdict, Verdict::Unknown);
}

#[test]
fn a_port_of_a_container_that_waits_must_be_free() {
    let (taken, free) = (Ok([(true, 8080)].into()), Ok([(false, 8080)].into()));
    let waits = stock(vec![container(false, true)]);
    let found = ports(&waits, &taken);
    assert_eq!(found.verdict, Verdict::Critical);
    assert!(found.summary.contains("tcp/8080 of container `mt4`"), "{}", found.summary);
    assert_eq!(ports(&waits, &free).verdict, Verdict::Ok);
    // Its own, while it runs.
    assert_eq!(ports(&stock(vec![container(true, true)]), &taken).verdict, Verdict::Ok);
    assert_eq!(ports(&mute(), &free).verdict, Verdict::Unknown);
    assert_eq!(ports(&waits, &Err("no /proc".into())).verdict, Verdict::Unknown);
}

#[test]
fn a_listener_of_this_host_is_found_in_proc() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(local::listening().unwrap().contains(&(true, port)));
    let line = "  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000";
    assert_eq!(local::port(line, true), Some(8080));
    let connected = line.replace(" 0A ", " 01 ");
    assert_eq!(local::port(&connected, true), None);
    assert_eq!(local::port("  sl  local_address rem_address   st", true), None);
}

#[test]
fn a_certificate_says_how_long_it_lasts() {
    const DAY: u64 = 86_400_000;
    assert_eq!(identity(400 * DAY, 0).verdict, Verdict::Ok);
    let soon = identity(3 * DAY, 0);
    assert!(soon.verdict == Verdict::Warn && soon.summary.contains("3 day(s)"), "{}", soon.summary);
    assert_eq!(identity(DAY, DAY).verdict, Verdict::Critical);
}

#[tokio::test]
async fn what_docker_has_of_a_service_is_read_from_docker() {
    if !docker_is_there() {
        return;
    }
    let real = Real::create(&["-v", "/etc/hostname:/h:ro", "-p", "18080:80"], &["sleep", "60"]);
    let mut engine = Engine::new("/var/run/docker.sock".into());
    assert!(!engine.version().await.unwrap().is_empty());
    let target = crate::service::Target::Container(real.0.clone());
    let stock = engine.stock(&target).await.unwrap();
    let [found] = stock.containers.as_slice() else { panic!("{stock:?}") };
    assert!(found.image && !found.running && found.name == real.0, "{found:?}");
    assert_eq!(found.binds, [PathBuf::from("/etc/hostname")]);
    assert_eq!(found.ports, [(true, 18080)].into());
    let none = crate::service::Target::Container("understudy-test-none".into());
    assert_eq!(engine.stock(&none).await.unwrap().containers, []);
    let mut silent = Engine::new("/nonexistent/docker.sock".into());
    assert!(silent.version().await.unwrap_err().contains("/nonexistent/docker.sock"));
}
