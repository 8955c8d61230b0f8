//! Who stays reachable under an isolation: found out once, before it is loaded,
//! and saved with it, because after a reboot no name can be looked up.

use super::{
    Host, Order, Profile,
    config::{Destination, Network, Transport},
};
use crate::coordinators;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How long names may take: a resolver that works answers within a second, and
/// nobody waits longer while a host is broken into.
const NAMES_LIMIT: Duration = Duration::from_secs(3);

/// How long one coordinator is knocked at.
const KNOCK_LIMIT: Duration = Duration::from_secs(1);

const DNS: u16 = 53;

/// Where the system's resolvers stand; the second where systemd-resolved keeps
/// the real ones.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Flag of a route through a gateway (`RTF_GATEWAY`).
const GATEWAY: u32 = 2;

/// What stays reachable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Allowed {
    pub(super) administrators: BTreeSet<Network>,
    /// Where this host may go: coordinators, peers, and what the profile adds.
    pub(super) destinations: BTreeSet<Destination>,
    /// Other agents.
    pub(super) peers: BTreeSet<SocketAddr>,
    /// Where this agent answers them.
    pub(super) peer_port: Option<u16>,
    /// Interfaces that lead away from this host, though they may be bridges.
    pub(super) outer: BTreeSet<String>,
}

/// What was found out, and what a person should hear of it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) allowed: Allowed,
    pub(super) coordinators: Vec<SocketAddr>,
    pub(super) notes: Vec<String>,
}

/// Finds out who stays reachable. Blocks up to [`NAMES_LIMIT`].
pub(super) fn find(host: &Host, order: &Order) -> Found {
    let mut notes = Vec::new();
    let mut allowed = Allowed { peer_port: host.peer_port, outer: outer(), ..Allowed::default() };
    allowed.administrators.extend(host.config.administrators.iter().copied());
    allowed.administrators.extend(order.administrators.iter().copied());
    allowed.administrators.extend(order.session.map(|session| Network::of(session.client.ip())));
    let known = match &host.coordinators {
        Some(list) => list.clone(),
        None => coordinators::load(&host.state_dir).unwrap_or_else(|error| {
            notes.push(format!("no coordinator stays reachable: {error}"));
            Vec::new()
        }),
    };
    let (coordinators, unknown) = addresses(&known);
    for name in unknown {
        notes.push(format!("coordinator {name} cannot be looked up, and is cut off"));
    }
    allowed.destinations.extend(coordinators.iter().copied().map(Destination::tcp));
    let named = known.iter().filter(|one| one.parse::<SocketAddr>().is_err()).count();
    if named > 0 {
        let resolvers = resolvers();
        let shown: Vec<String> = resolvers.iter().map(IpAddr::to_string).collect();
        notes.push(format!(
            "DNS to {} stays open, because {named} coordinator(s) are known by name; name them \
             by address in agent.toml to close it",
            if shown.is_empty() { "nobody".into() } else { shown.join(", ") }
        ));
        allowed.destinations.extend(resolvers.into_iter().flat_map(|address| {
            let address = SocketAddr::new(address, DNS);
            [Transport::Udp, Transport::Tcp].map(|transport| Destination { transport, address })
        }));
    }
    allowed.peers.extend(host.config.peers.iter().copied());
    allowed.destinations.extend(host.config.peers.iter().copied().map(Destination::tcp));
    if order.profile == Profile::EgressBlock {
        allowed.destinations.extend(host.config.allow.iter().copied());
    }
    Found { allowed, coordinators, notes }
}

/// The addresses behind `host:port`, and the names that have none.
fn addresses(names: &[String]) -> (Vec<SocketAddr>, Vec<String>) {
    let (tell, told) = mpsc::channel();
    for name in names {
        let (tell, name) = (tell.clone(), name.clone());
        // A resolver may hang for longer than anybody waits: it is left behind.
        thread::spawn(move || {
            let found = name.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            let _ = tell.send((name, found.unwrap_or_default()));
        });
    }
    drop(tell);
    let until = Instant::now() + NAMES_LIMIT;
    let (mut found, mut missing) = (Vec::new(), names.to_vec());
    while let Ok((name, addresses)) =
        told.recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        if !addresses.is_empty() {
            missing.retain(|known| *known != name);
            found.extend(addresses);
        }
    }
    (found, missing)
}

fn resolvers() -> BTreeSet<IpAddr> {
    let texts = RESOLVERS.iter().filter_map(|path| fs::read_to_string(path).ok());
    texts.flat_map(|text| nameservers(&text)).filter(|address| !address.is_loopback()).collect()
}

fn nameservers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())??.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

/// Whether any of them answers. Blocks up to [`KNOCK_LIMIT`] in all.
pub(super) fn answers(coordinators: &[SocketAddr]) -> bool {
    let (tell, told) = mpsc::channel();
    for to in coordinators {
        let (to, tell) = (*to, tell.clone());
        thread::spawn(move || {
            let _ = tell.send(TcpStream::connect_timeout(&to, KNOCK_LIMIT).is_ok());
        });
    }
    drop(tell);
    told.iter().any(|answered| answered)
}

/// Interfaces with a route through a gateway, and bridges with a real port.
fn outer() -> BTreeSet<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    // The thread's own network namespace.
    let mut found = routed4(&read("/proc/thread-self/net/route"));
    found.extend(routed6(&read("/proc/thread-self/net/ipv6_route")));
    found.extend(bridges(Path::new("/sys/class/net")));
    found
}

/// `IFACE DESTINATION GATEWAY FLAGS ...` under a heading.
fn routed4(text: &str) -> BTreeSet<String> {
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(words.get(3)?, 16).ok()?;
        (flags & GATEWAY != 0).then(|| words[0].to_owned())
    };
    text.lines().skip(1).filter_map(one).collect()
}

/// Ten words: the ninth is the flags, the last the interface.
fn routed6(text: &str) -> BTreeSet<String> {
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(words.get(8)?, 16).ok()?;
        let interface = words.get(9).filter(|name| **name != "lo")?;
        (flags & GATEWAY != 0).then(|| (*interface).to_owned())
    };
    text.lines().filter_map(one).collect()
}

/// Bridges that a network card is a port of.
fn bridges(interfaces: &Path) -> BTreeSet<String> {
    let real = |port: &fs::DirEntry| interfaces.join(port.file_name()).join("device").exists();
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let outer =
        |bridge: &fs::DirEntry| entries(&bridge.path().join("brif")).any(|port| real(&port));
    let names = entries(interfaces).filter(outer);
    names.filter_map(|bridge| bridge.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_that_lead_away_are_those_with_a_gateway_or_a_card() {
        let v4 = "Iface Destination Gateway Flags\neth0 00000000 010200C0 0003 0 0 0\n\
                  docker0 000011AC 00000000 0001 0 0 0\n";
        assert_eq!(routed4(v4), ["eth0".to_owned()].into());
        let zeros = "0".repeat(32);
        let v6 = format!(
            "{zeros} 00 {zeros} 00 fd770000000000000000000000000001 00000400 1 0 00000003 up0\n\
             fd780000000000000000000000000000 40 {zeros} 00 {zeros} 00000100 1 0 00000001 br0\n"
        );
        assert_eq!(routed6(&v6), ["up0".to_owned()].into());
        let dir = tempfile::tempdir().unwrap();
        for made in ["br0/brif/eth0", "eth0/device", "docker0/brif/veth1", "veth1"] {
            fs::create_dir_all(dir.path().join(made)).unwrap();
        }
        assert_eq!(bridges(dir.path()), ["br0".to_owned()].into());
    }

    #[test]
    fn names_become_addresses_and_what_has_none_is_told() {
        let names = ["192.0.2.1:7443", "[2001:db8::1]:7443", "no-such-name.invalid:7443"];
        let (found, missing) = addresses(&names.map(str::to_owned));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(missing, ["no-such-name.invalid:7443"]);
        let resolvers = nameservers("# nameserver 1.1.1.1\nnameserver 192.0.2.53\nsearch x\n");
        assert_eq!(resolvers, ["192.0.2.53".parse::<IpAddr>().unwrap()]);
    }
}
