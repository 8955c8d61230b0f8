//! The isolation's own table, as text for `nft`. Pure.
//!
//! It allows first and drops last, and only drops: what passes here still meets
//! the gate, Docker's and the operator's own chains, none of which is touched.
//! Every chain begins by asking whether the set `on` has an element: its timeout
//! is the isolation's end, so that the kernel ends it by itself (compare A2).

use super::{
    Profile,
    allow::Allowed,
    config::{Destination, Network},
};
use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

/// The set whose element is the isolation.
pub(super) const ON: &str = "on";

/// The sets of connections that administrators began since it was loaded, by
/// client's address, client's port and own port.
pub(super) const FRESH: [&str; 2] = ["fresh4", "fresh6"];

/// Counters of what was dropped.
pub(super) const DROPPED: [&str; 3] = ["dropped_in", "dropped_out", "dropped_forward"];

/// Connections that are remembered as fresh, and for how long: nobody types the
/// confirmation an hour later, and 4,096 are more than people open.
const FRESH_ROOM: &str = "size 4096; flags dynamic, timeout; timeout 1h;";

/// Which of two families.
const fn is_v4(address: &IpAddr) -> bool {
    address.is_ipv4()
}

fn set(out: &mut String, name: &str, kind: &str, elements: &[String]) {
    let _ = write!(out, "\tset {name} {{ {kind}; ");
    if !elements.is_empty() {
        let _ = write!(out, "elements = {{ {} }}; ", elements.join(", "));
    }
    out.push_str("}\n");
}

fn sets(out: &mut String, allowed: &Allowed, left: Option<u64>) {
    let until = left.map_or_else(String::new, |left| format!(" timeout {left}ms"));
    let on = ["ipv4", "ipv6"].map(|family| format!("{family}{until}"));
    set(out, ON, "typeof meta nfproto; flags timeout", &on);
    let named: Vec<String> = allowed.outer.iter().map(|name| format!("\"{name}\"")).collect();
    set(out, "outer", "type ifname", &named);
    for (digit, kind) in [(4, "ipv4_addr"), (6, "ipv6_addr")] {
        let of_kind = |address: &IpAddr| is_v4(address) == (digit == 4);
        let networks = allowed.administrators.iter().filter(|one| of_kind(&one.address));
        let networks: Vec<String> = networks.map(Network::to_string).collect();
        let kind_of = format!("type {kind}; flags interval; auto-merge");
        set(out, &format!("admin{digit}"), &kind_of, &networks);
        let place = |to: &Destination| {
            let (ip, port) = (to.address.ip(), to.address.port());
            format!("{ip} . {} . {port}", to.transport.word())
        };
        let places = allowed.destinations.iter().filter(|to| of_kind(&to.address.ip()));
        let places: Vec<String> = places.map(place).collect();
        let kind_of = format!("type {kind} . inet_proto . inet_service");
        set(out, &format!("allowed{digit}"), &kind_of, &places);
        let peers = allowed.peers.iter().map(SocketAddr::ip).filter(of_kind);
        let peers: Vec<String> = peers.map(|address| address.to_string()).collect();
        set(out, &format!("peer{digit}"), &format!("type {kind}"), &peers);
        let _ = writeln!(
            out,
            "\tset fresh{digit} {{ type {kind} . inet_service . inet_service; {FRESH_ROOM} }}"
        );
    }
}

/// What the link itself needs: without neighbours IPv6 reaches nobody.
const LINK: &str = "\tchain link {\n\
    \t\tip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-router-advert, \
    nd-neighbor-solicit, nd-neighbor-advert } accept\n\
    \t\tip6 hoplimit 1 icmpv6 type { mld-listener-query, mld-listener-report, \
    mld2-listener-report } accept\n\t}\n";

fn chain(out: &mut String, hook: &str, rules: &[String]) {
    // Before the gate's (-10) and Docker's (0), after DNAT (-100).
    let _ = writeln!(
        out,
        "\tchain {hook} {{\n\t\ttype filter hook {hook} priority -20; policy accept;\n\
         \t\tmeta nfproto != @{ON} accept"
    );
    for rule in rules {
        let _ = writeln!(out, "\t\t{rule}");
    }
    out.push_str("\t}\n");
}

/// Who gets in.
fn input(profile: Profile, peer_port: Option<u16>) -> Vec<String> {
    let mut rules = vec!["iifname \"lo\" accept".to_owned()];
    for (ip, digit) in [("ip", 4), ("ip6", 6)] {
        rules.push(format!(
            "tcp flags & (syn | ack) == syn {ip} saddr @admin{digit} \
             update @fresh{digit} {{ {ip} saddr . tcp sport . tcp dport }}"
        ));
    }
    if profile == Profile::EgressBlock {
        return rules;
    }
    rules.push("jump link".into());
    // Whoever lost its address would be locked out as well: DHCP goes on.
    rules.push("udp sport 67 udp dport 68 accept".into());
    rules.push("udp sport 547 udp dport 546 accept".into());
    for (ip, digit) in [("ip", 4), ("ip6", 6)] {
        rules.push(format!("{ip} saddr @admin{digit} accept"));
        // Answers alone: nobody begins a connection from such a port.
        let from = format!("{ip} saddr . meta l4proto . th sport @allowed{digit} accept");
        rules.push(format!("tcp flags & (syn | ack) != syn {from}"));
        rules.push(format!("meta l4proto udp {from}"));
        if let Some(port) = peer_port {
            rules.push(format!("{ip} saddr @peer{digit} tcp dport {port} accept"));
        }
    }
    rules.push("meta iifkind \"bridge\" iifname != @outer accept".into());
    // A path's limits are told by routers, which are nobody's address.
    rules.push(
        "icmp type { destination-unreachable, time-exceeded, parameter-problem } accept".into(),
    );
    rules.push(
        "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, \
         parameter-problem } accept"
            .into(),
    );
    rules.push("counter name \"dropped_in\" drop".into());
    rules
}

/// Who gets out of the host itself.
fn output(profile: Profile, peer_port: Option<u16>) -> Vec<String> {
    let mut rules = vec!["oifname \"lo\" accept".to_owned(), "jump link".into()];
    rules.push("udp sport 68 udp dport 67 accept".into());
    rules.push("udp sport 546 udp dport 547 accept".into());
    for (ip, digit) in [("ip", 4), ("ip6", 6)] {
        rules.push(format!("{ip} daddr @admin{digit} accept"));
        rules.push(format!("{ip} daddr . meta l4proto . th dport @allowed{digit} accept"));
        if let Some(port) = peer_port {
            rules.push(format!("{ip} daddr @peer{digit} tcp sport {port} accept"));
        }
    }
    rules.push("meta oifkind \"bridge\" oifname != @outer accept".into());
    if profile == Profile::EgressBlock {
        rules.push("ct direction reply accept".into());
    }
    rules.push("counter name \"dropped_out\" drop".into());
    rules
}

/// What crosses the host: containers, published ports, whatever it routes.
fn forward(profile: Profile) -> Vec<String> {
    let mut rules = Vec::new();
    for (ip, digit) in [("ip", 4), ("ip6", 6)] {
        rules.push(format!("{ip} saddr @admin{digit} accept"));
        rules.push(format!("{ip} daddr @admin{digit} accept"));
    }
    let inside = "meta oifkind \"bridge\" oifname != @outer accept";
    match profile {
        Profile::Breach => {
            rules.push(format!("meta iifkind \"bridge\" iifname != @outer {inside}"));
        }
        Profile::EgressBlock => {
            for (ip, digit) in [("ip", 4), ("ip6", 6)] {
                rules.push(format!("{ip} daddr . meta l4proto . th dport @allowed{digit} accept"));
            }
            // What others began, and what stays on this host.
            rules.push("iifname @outer accept".into());
            rules.push("ct status dnat accept".into());
            rules.push("ct direction reply accept".into());
            rules.push(inside.into());
        }
    }
    rules.push("counter name \"dropped_forward\" drop".into());
    rules
}

/// The whole table, replacing the one that is there in one step; it ends by
/// itself after `left` milliseconds, where it ends.
pub(super) fn text(table: &str, profile: Profile, allowed: &Allowed, left: Option<u64>) -> String {
    let mut out =
        format!("add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
    sets(&mut out, allowed, left);
    for name in DROPPED {
        let _ = writeln!(out, "\tcounter {name} {{ }}");
    }
    out.push_str(LINK);
    chain(&mut out, "input", &input(profile, allowed.peer_port));
    chain(&mut out, "output", &output(profile, allowed.peer_port));
    chain(&mut out, "forward", &forward(profile));
    out.push_str("}\n");
    out
}

/// How a fresh connection stands in [`FRESH`].
pub(super) fn fresh_key(client: SocketAddr, port: u16) -> (&'static str, Vec<u8>) {
    let (set, mut key) = match client.ip().to_canonical() {
        IpAddr::V4(address) => (FRESH[0], address.octets().to_vec()),
        IpAddr::V6(address) => (FRESH[1], address.octets().to_vec()),
    };
    for port in [client.port(), port] {
        // A part of a key is as long as a multiple of four.
        key.extend(port.to_be_bytes());
        key.extend([0, 0]);
    }
    (set, key)
}

/// What `ss` is to end under `breach`: every connection but those that the table
/// lets through, so that none resumes when it is released.
pub(super) fn strangers(allowed: &Allowed) -> String {
    let mut kept =
        vec!["dst 127.0.0.0/8".to_owned(), "dst [::ffff:127.0.0.0/104]".into(), "dst [::1]".into()];
    let peers = allowed.peers.iter().map(SocketAddr::ip);
    let others = allowed.destinations.iter().map(|to| to.address.ip()).chain(peers);
    let networks = allowed.administrators.iter().copied().chain(others.map(Network::of));
    for network in networks {
        for one in [Some(network), network.mapped()].into_iter().flatten() {
            kept.push(match one.address {
                IpAddr::V4(address) => format!("dst {address}/{}", one.prefix),
                IpAddr::V6(address) => format!("dst [{address}/{}]", one.prefix),
            });
        }
    }
    format!("not ( {} )", kept.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Allowed {
        Allowed {
            administrators: ["198.51.100.0/24", "2001:db8:7::/48"]
                .map(|text| text.parse().unwrap())
                .into(),
            destinations: [Destination::tcp("192.0.2.1:7443".parse().unwrap())].into(),
            ..Allowed::default()
        }
    }

    #[test]
    fn d8_everything_is_allowed_before_anything_is_dropped() {
        for profile in [Profile::Breach, Profile::EgressBlock] {
            let text = text("understudy_isolation", profile, &allowed(), None);
            for chain in text.split("\tchain ").skip(1) {
                let rules: Vec<&str> = chain.lines().collect();
                let last_accept = rules.iter().rposition(|rule| rule.ends_with("accept"));
                let drop = rules.iter().position(|rule| rule.ends_with("drop"));
                assert!(drop.is_none_or(|drop| last_accept < Some(drop)), "{chain}");
            }
        }
    }

    #[test]
    fn d9_it_replaces_only_itself_and_flushes_nothing() {
        let text = text("understudy_isolation", Profile::Breach, &allowed(), Some(1500));
        assert!(!text.contains("flush"), "{text}");
        let mut of_tables = text.lines().filter(|line| line.contains("table "));
        assert!(of_tables.all(|line| line.contains("table inet understudy_isolation")));
        assert!(text.contains("{ ipv4 timeout 1500ms, ipv6 timeout 1500ms }"), "{text}");
    }

    #[test]
    fn d27_a_blocked_way_out_lets_coordinators_and_the_list_through_first() {
        let text = text("understudy_isolation", Profile::EgressBlock, &allowed(), None);
        assert!(text.contains("192.0.2.1 . tcp . 7443"), "{text}");
        let output = text.split("\tchain output").nth(1).unwrap();
        assert!(output.find("@allowed4").unwrap() < output.find(" drop").unwrap());
        assert!(!text.contains("dropped_in\" drop"), "what comes in stays");
    }

    #[test]
    fn a_connection_is_looked_for_as_the_kernel_keeps_it() {
        let (set, key) = fresh_key("[::ffff:10.0.0.2]:258".parse().unwrap(), 22);
        assert_eq!((set, key.as_slice()), ("fresh4", &[10, 0, 0, 2, 1, 2, 0, 0, 0, 22, 0, 0][..]));
        assert_eq!(fresh_key("[fd00::2]:1".parse().unwrap(), 22).1.len(), 24);
    }
}
