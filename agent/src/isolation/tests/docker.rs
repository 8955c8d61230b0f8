//! With a Docker Engine of the test's own: published ports, in both families.

use super::*;
use crate::gate::tests::docker::{Engine, IMAGE};

#[test]
fn isolation_docker_published_ports_and_containers_are_cut_with_the_host() {
    if !can() {
        return;
    }
    let world = World::new();
    let net = &world.net;
    let Some(engine) = Engine::start(net) else { return };
    let network = ["network", "create", "--ipv6", "--subnet", "fd79::/64", "dual"];
    engine.docker(&network);
    let run = ["run", "-d", "--network", "dual", "-p", "8080:7000", "--name", "web", IMAGE];
    let serve = ["/bin/busybox", "nc", "-ll", "-p", "7000", "-e", "/bin/busybox", "cat"];
    engine.docker(&[&run[..], &serve[..]].concat());
    let published = |from, to| connects(&net.outside, from, to, 8080);
    let serves = |from, to| reaches(&net.outside, from, to, 8080);
    for (from, to) in [(STRANGER4, HOST4), (STRANGER6, HOST6)] {
        until("the port is published", || published(from, to));
    }
    assert!(engine.reaches_soon("web"), "the world does not work");
    let mut stranger = Talk::open(&net.outside, STRANGER4, HOST4, 8080).unwrap();
    let mut admin = Talk::open(&net.outside, ADMIN4, HOST4, 8080).unwrap();
    assert!(stranger.answers(PATIENCE) && admin.answers(PATIENCE));
    let before = world.ruleset();
    world.isolate(Profile::Breach);
    assert!(admin.answers(PATIENCE) && !stranger.answers(Duration::from_millis(800)));
    for (admin, stranger, to) in [(ADMIN4, STRANGER4, HOST4), (ADMIN6, STRANGER6, HOST6)] {
        assert!(!published(stranger, to), "D8, D26: a published port of {to} passed");
        assert!(serves(admin, to), "{admin} is locked out");
    }
    assert!(!engine.reaches("web"), "a container got out");
    // The machine boots: Docker is up before anybody looks, and nothing gets through.
    net.nft("delete table inet understudy_isolation");
    world.on_host(|host| host.keep().unwrap());
    assert!(!published(STRANGER4, HOST4) && !engine.reaches("web"));
    assert!(world.off());
    assert!(serves(STRANGER4, HOST4) && serves(STRANGER6, HOST6));
    assert!(engine.reaches_soon("web"));
    world.isolate(Profile::EgressBlock);
    assert!(serves(STRANGER4, HOST4) && serves(STRANGER6, HOST6), "what comes in stays");
    assert!(!engine.reaches("web"), "a container got out");
    assert!(world.off());
    // Docker's own counters went on counting; its rules are what they were.
    let plain = |rules: &str| -> Vec<String> {
        let number = |word: &&str| !word.bytes().all(|byte| byte.is_ascii_digit());
        rules.split_whitespace().filter(number).map(str::to_owned).collect()
    };
    assert_eq!(plain(&world.ruleset()), plain(&before));
}
