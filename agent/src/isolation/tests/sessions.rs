//! Sessions that stood before: an administrator's goes on, a stranger's ends, and
//! only a connection that began afterwards confirms.

use super::*;

#[test]
fn d8_an_administrators_session_survives_and_a_strangers_ends_for_good() {
    if !can() {
        return;
    }
    let world = World::new();
    let outside = &world.net.outside;
    let open = |from, to| Talk::open(outside, from, to, SSH).unwrap();
    let mut admins = [open(ADMIN4, HOST4), open(ADMIN6, HOST6)];
    let mut strangers = [open(STRANGER4, HOST4), open(STRANGER6, HOST6)];
    for talk in admins.iter_mut().chain(&mut strangers) {
        assert!(talk.answers(PATIENCE), "before");
    }
    world.isolate(Profile::Breach);
    for talk in &mut admins {
        assert!(talk.answers(PATIENCE), "an administrator's session was cut");
    }
    for talk in &mut strangers {
        assert!(!talk.answers(Duration::from_millis(800)), "a stranger's session went on");
    }
    assert!(world.off());
    // The host ended them: what a stranger had does not come back to life.
    for talk in &mut strangers {
        assert!(!talk.answers(Duration::from_secs(2)), "a stranger's session came back");
    }
    for talk in &mut admins {
        assert!(talk.answers(PATIENCE), "afterwards");
    }
}

#[test]
fn isolation_only_a_connection_that_began_afterwards_confirms() {
    if !can() {
        return;
    }
    let world = World::new();
    let confirm = |session: Option<Session>, forced: Option<&'static str>| {
        let proof = match forced {
            Some(reason) => Proof::Forced(reason.into()),
            None => Proof::Ssh(session),
        };
        world.on_host(move |host| host.confirm("ann", &proof))
    };
    assert!(matches!(confirm(None, None), Err(IsolationError::NotIsolated)));
    let before = Talk::open(&world.net.outside, ADMIN4, HOST4, SSH).unwrap();
    world.isolate(Profile::Breach);
    let refused = |session| match confirm(session, None) {
        Err(IsolationError::NotFresh(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(Some(before.session())).contains("did not begin after"));
    assert!(refused(None).contains("SSH_CONNECTION"));
    let after = Talk::open(&world.net.outside, ADMIN6, HOST6, SSH).unwrap();
    let status = confirm(Some(after.session()), None).unwrap();
    assert!(status.confirmed && status.left_ms.is_none() && status.isolated, "{status:?}");
    assert!(!connects(&world.net.outside, STRANGER4, HOST4, SSH));
    assert!(reaches(&world.net.outside, ADMIN4, HOST4, SSH));
    // Again is no fault, and from a console there is another way.
    assert!(confirm(None, None).unwrap().confirmed);
    assert!(world.off());
    world.isolate(Profile::Breach);
    assert!(matches!(confirm(None, Some("")), Err(IsolationError::NoReason)));
    let status = confirm(None, Some("at the console")).unwrap();
    assert!(status.confirmed && status.last.contains("at the console"), "{status:?}");
}

#[test]
fn isolation_lets_coordinators_and_peers_through_on_their_ports_alone() {
    if !can() {
        return;
    }
    let mut world = World::new();
    // The stranger's address, where a coordinator would be on the lab's port.
    world.host.coordinators = Some(vec![format!("{STRANGER4}:{PORT}")]);
    world.host.config.peers = vec![format!("[{STRANGER6}]:{PORT}").parse().unwrap()];
    world.host.peer_port = Some(PORT);
    let mut lease = Talk::open(&world.net.host, HOST4, STRANGER4, SSH).unwrap();
    assert!(lease.answers(PATIENCE));
    let begun = world.isolate(Profile::Breach);
    assert_eq!(begun.notes, Vec::<String>::new());
    let (host, outside) = (&world.net.host, &world.net.outside);
    assert!(reaches(host, HOST4, STRANGER4, PORT), "to a coordinator");
    assert!(reaches(host, HOST6, STRANGER6, PORT), "to a peer");
    assert!(reaches(outside, STRANGER6, HOST6, PORT), "from a peer");
    assert!(!connects(host, HOST4, STRANGER4, SSH), "to another port");
    assert!(!lease.answers(Duration::from_millis(600)));
    assert!(!connects(outside, STRANGER4, HOST4, PORT), "a coordinator's address got in");
    assert!(!connects(outside, STRANGER6, HOST6, SSH), "a peer got to another port");
    world.off();
}
