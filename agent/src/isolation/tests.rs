//! Isolation against the real kernel, in network namespaces of its own: an
//! administrator and a stranger outside, containers behind a bridge, sessions
//! that last.

mod docker;
mod sessions;
mod time;

use super::{
    Begun, Destination, Host, IsolationConfig, IsolationError, Order, Profile, Proof, Session,
};
use crate::gate::tests::lab::{self, Net, PATIENCE, PORT, can, inside};
use rustix::net::{
    AddressFamily, SocketType, bind, connect, socket,
    sockopt::{Timeout, set_socket_timeout},
};
use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// Where the host listens for what is like SSH.
const SSH: u16 = 7022;

const ADMIN4: &str = "10.77.0.3";
const ADMIN6: &str = "fd77::3";
const STRANGER4: &str = "10.77.0.2";
const STRANGER6: &str = "fd77::2";
const HOST4: &str = "10.77.0.1";
const HOST6: &str = "fd77::1";

/// A host in a [`Net`], an administrator beside the stranger outside, and what
/// echoes on the host.
struct World {
    net: Net,
    state: tempfile::TempDir,
    host: Host,
}

impl World {
    fn new() -> Self {
        let net = Net::new();
        let outside = &net.outside;
        lab::run(&format!(
            "ip -n {outside} addr add {ADMIN4}/24 dev eth0 && \
             ip -n {outside} addr add {ADMIN6}/64 dev eth0 nodad && \
             ip -n {host} route add default via {STRANGER4} && \
             ip -n {host} -6 route add default via {STRANGER6}",
            host = net.host
        ));
        for place in [&net.host, &net.outside] {
            inside(place, echo).join().unwrap();
        }
        let state = tempfile::tempdir().unwrap();
        let config = IsolationConfig {
            administrators: [ADMIN4, ADMIN6].map(|one| one.parse().unwrap()).into(),
            confirm_within: Duration::from_secs(600),
            ..IsolationConfig::default()
        };
        let host = Host {
            config,
            table: "understudy_isolation".into(),
            state_dir: state.path().into(),
            coordinators: Some(Vec::new()),
            peer_port: None,
        };
        Self { net, state, host }
    }

    /// Does something as a program on the host does.
    fn on_host<T: Send + 'static>(&self, deed: impl FnOnce(Host) -> T + Send + 'static) -> T {
        let host = self.host.clone();
        inside(&self.net.host, move || deed(host)).join().unwrap()
    }

    fn isolate(&self, profile: Profile) -> Begun {
        self.try_isolate(order(profile)).unwrap()
    }

    fn try_isolate(&self, order: Order) -> Result<Begun, IsolationError> {
        self.on_host(move |host| host.on(&order))
    }

    fn off(&self) -> bool {
        self.on_host(|host| host.off("ann", "over").unwrap())
    }

    fn ruleset(&self) -> String {
        self.net.nft("list ruleset")
    }
}

fn order(profile: Profile) -> Order {
    Order {
        profile,
        span: None,
        reason: "an odd process".into(),
        by: "ann".into(),
        session: None,
        administrators: Vec::new(),
        force: false,
    }
}

/// Echoes on every address of this namespace, until the test's process ends.
fn echo() {
    let listener = TcpListener::bind(("::", SSH)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut back = stream.try_clone().unwrap();
                std::io::copy(&mut stream, &mut back)
            });
        }
    });
}

/// A TCP session that lasts, from a certain address.
struct Talk(TcpStream);

impl Talk {
    fn open(namespace: &str, from: &str, to: &str, port: u16) -> std::io::Result<Self> {
        let [from, to]: [IpAddr; 2] = [from, to].map(|one| one.parse().unwrap());
        inside(namespace, move || {
            let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let made = socket(family, SocketType::STREAM, None)?;
            bind(&made, &SocketAddr::new(from, 0))?;
            // A connection that nobody answers is given up after this.
            set_socket_timeout(&made, Timeout::Send, Some(Duration::from_secs(1)))?;
            connect(&made, &SocketAddr::new(to, port))?;
            Ok(Self(TcpStream::from(made)))
        })
        .join()
        .unwrap()
    }

    /// Whether a word comes back within `limit`.
    fn answers(&mut self, limit: Duration) -> bool {
        self.0.set_read_timeout(Some(limit)).unwrap();
        let mut word = [0; 4];
        self.0.write_all(b"word").is_ok() && self.0.read_exact(&mut word).is_ok()
    }

    fn session(&self) -> Session {
        Session { client: self.0.local_addr().unwrap(), port: self.0.peer_addr().unwrap().port() }
    }
}

/// Whether a new connection gets through at once.
fn connects(namespace: &str, from: &str, to: &str, port: u16) -> bool {
    Talk::open(namespace, from, to, port).is_ok()
}

/// Whether one gets through soon, on a machine that is busy.
fn reaches(namespace: &str, from: &str, to: &str, port: u16) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if connects(namespace, from, to, port) {
            return true;
        }
    }
    false
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        thread::yield_now();
    }
}

#[test]
fn isolation_breach_cuts_both_directions_and_containers_but_for_administrators() {
    if !can() {
        return;
    }
    let world = World::new();
    let (net, before) = (&world.net, world.ruleset());
    world.isolate(Profile::Breach);
    let outside = net.outside.clone();
    for (admin, stranger, host, container) in
        [(ADMIN4, STRANGER4, HOST4, "10.78.0.2"), (ADMIN6, STRANGER6, HOST6, "fd78::2")]
    {
        assert!(reaches(&outside, admin, host, SSH), "{admin} is locked out");
        assert!(reaches(&outside, admin, container, PORT), "{admin}, to a container");
        assert!(!connects(&outside, stranger, host, SSH), "{stranger} got in");
        assert!(!connects(&outside, stranger, container, PORT), "{stranger} got to a container");
        assert!(lab::passes(&net.host, admin), "to an administrator");
        assert!(lab::blocked(&net.host, stranger), "out to {stranger}");
        assert!(lab::blocked(&net.protected, stranger), "a container out to {stranger}");
    }
    // What stays on this host goes on: loopback, its containers, and they among themselves.
    for (from, to) in [
        (&net.host, "127.0.0.1"),
        (&net.host, "10.78.0.2"),
        (&net.protected, "10.78.0.1"),
        (&net.protected, "fd78::3"),
    ] {
        assert!(lab::passes(from, to), "{from} to {to}");
    }
    let status = world.on_host(|host| host.status().unwrap());
    assert!(status.isolated && status.wanted && !status.confirmed, "{status:?}");
    let dropped = status.dropped;
    assert!(dropped.inbound > 0 && dropped.outbound > 0 && dropped.forwarded > 0, "{dropped:?}");
    assert!(status.left_ms.is_some_and(|left| left > 500_000 && left <= 600_000), "{status:?}");
    assert!(world.off());
    assert_eq!(world.ruleset(), before);
    assert!(lab::passes(&outside, HOST4) && lab::passes(&net.protected, STRANGER6));
}

#[test]
fn isolation_egress_block_stops_what_the_host_begins_and_nothing_else() {
    if !can() {
        return;
    }
    let mut world = World::new();
    let allowed: Destination = format!("tcp://{STRANGER4}:{SSH}").parse().unwrap();
    world.host.config.allow = vec![allowed];
    let net = &world.net;
    // An established way out, which has to end, and one in, which has not.
    let mut out = Talk::open(&net.host, HOST6, STRANGER6, SSH).unwrap();
    let mut into = Talk::open(&net.outside, STRANGER4, HOST4, SSH).unwrap();
    assert!(out.answers(PATIENCE) && into.answers(PATIENCE));
    // Connections are known from when the kernel tracks them: as where Docker is.
    net.nft("add table inet theirs");
    net.nft("add chain inet theirs c '{ type filter hook input priority 0; }'");
    net.nft("add rule inet theirs c ct state established counter");
    assert!(out.answers(PATIENCE) && into.answers(PATIENCE));
    let mut known = Talk::open(&net.outside, STRANGER4, HOST4, SSH).unwrap();
    assert!(known.answers(PATIENCE));
    world.isolate(Profile::EgressBlock);
    assert!(known.answers(PATIENCE), "an inbound session was cut");
    assert!(!out.answers(Duration::from_millis(600)), "an outgoing session went on");
    for (stranger, host, container) in
        [(STRANGER4, HOST4, "10.78.0.2"), (STRANGER6, HOST6, "fd78::2")]
    {
        assert!(reaches(&net.outside, stranger, host, SSH), "in");
        assert!(reaches(&net.outside, stranger, container, PORT), "in to a container");
        assert!(lab::blocked(&net.host, stranger), "out to {stranger}");
        assert!(lab::blocked(&net.protected, stranger), "a container out to {stranger}");
    }
    // D27: what the file allows stays.
    assert!(reaches(&net.host, HOST4, STRANGER4, SSH), "the allowed destination");
    assert!(reaches(&net.protected, "10.78.0.2", STRANGER4, SSH), "from a container");
    assert!(!connects(&net.host, HOST6, STRANGER6, SSH), "another address");
    assert!(lab::passes(&net.protected, "fd78::3") && lab::passes(&net.host, "10.78.0.3"));
    assert!(world.off());
    assert!(lab::passes(&net.protected, STRANGER4));
}

#[test]
fn isolation_is_refused_where_no_operator_would_be_left() {
    if !can() {
        return;
    }
    let mut world = World::new();
    world.host.config.administrators.clear();
    let before = world.ruleset();
    let refused = world.try_isolate(order(Profile::Breach)).unwrap_err();
    assert!(matches!(refused, IsolationError::NobodyLeft), "{refused}");
    let unreasoned = Order { force: true, reason: String::new(), ..order(Profile::Breach) };
    assert!(matches!(world.try_isolate(unreasoned), Err(IsolationError::NoReason)));
    assert_eq!(world.ruleset(), before, "a refusal changed something");
    assert!(!world.state.path().join("isolation.json").exists());
    // The session that asks is an administrator's.
    let talk = Talk::open(&world.net.outside, ADMIN4, HOST4, SSH).unwrap();
    let asked = Order { session: Some(talk.session()), ..order(Profile::Breach) };
    let begun = world.try_isolate(asked).unwrap();
    assert_eq!(begun.status.administrators, [ADMIN4]);
    assert!(world.off());
    // Or none is, and somebody says why.
    let forced = Order { force: true, ..order(Profile::Breach) };
    assert!(world.try_isolate(forced).unwrap().status.administrators.is_empty());
    assert!(!connects(&world.net.outside, ADMIN4, HOST4, SSH));
}

#[test]
fn isolation_is_idempotent_and_changes_its_profile_in_one_step() {
    if !can() {
        return;
    }
    let world = World::new();
    assert!(!world.isolate(Profile::EgressBlock).already);
    assert!(world.isolate(Profile::EgressBlock).already);
    let changed = world.isolate(Profile::Breach);
    assert!(!changed.already);
    assert_eq!(changed.status.profile, Some(Profile::Breach));
    assert!(!connects(&world.net.outside, STRANGER4, HOST4, SSH));
    assert!(world.off() && !world.off());
}

#[test]
fn d9_release_leaves_every_other_rule_as_it_was() {
    if !can() {
        return;
    }
    let world = World::new();
    // As ufw, Docker and an operator leave them, by both generations of iptables' tools.
    let theirs = "table ip nat {\n chain PREROUTING { type nat hook prerouting priority dstnat; \
                  tcp dport 8080 dnat to 10.78.0.2:7000; }\n}\n\
                  table ip filter {\n chain DOCKER-USER { accept\n }\n chain FORWARD { \
                  type filter hook forward priority filter; policy accept; jump DOCKER-USER; }\n}\n\
                  table inet understudy {\n set open_fx { typeof meta nfproto; flags timeout; }\n}\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), theirs).unwrap();
    world.net.nft(&format!("-f {}", file.path().display()));
    let before = world.ruleset();
    for profile in [Profile::Breach, Profile::EgressBlock] {
        world.isolate(profile);
        assert_ne!(world.ruleset(), before);
        let without: String = world.ruleset();
        assert!(without.contains(&before.lines().nth(1).unwrap().to_owned()));
        assert!(world.off());
        assert_eq!(world.ruleset(), before);
    }
}
