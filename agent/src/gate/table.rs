//! Our table: its text for `nft`, and which elements its sets must have. Pure.
//!
//! Chains only ever drop, and only what goes through `gate_GROUP`; whatever is
//! accepted here still meets Docker's and the operator's own chains. A packet is
//! looked at twice where it crosses: once by who sends it, once by who gets it.

use super::{config::CGROUP_LEVELS, wire::Key};
use model::GroupId;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    net::IpAddr,
};

/// Length of an interface's name in a set's key (`IFNAMSIZ`).
const NAME: usize = 16;

/// What opens a group: one element for each of these protocols.
pub(super) const PROTOCOLS: [u8; 2] = [2, 10];

/// The addresses of a container on its bridge.
pub(super) type Place = (String, IpAddr);

/// What has to be held back, and what must not be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Bridges that carry, or will carry, a protected container.
    pub(super) bridges: BTreeSet<(GroupId, String)>,
    /// Protected containers' addresses.
    #[serde(skip)]
    pub(super) addresses: BTreeSet<(GroupId, Place)>,
    /// Addresses of other containers on those bridges.
    #[serde(skip)]
    pub(super) free: BTreeSet<Place>,
    /// Which container (by its id) each of those belongs to.
    #[serde(skip)]
    pub(super) owners: BTreeMap<Place, String>,
    /// Cgroups below the root, with their number in the kernel where it is known;
    /// saved without it, as it lasts no longer than the cgroup.
    #[serde(with = "paths", default)]
    pub(super) cgroups: BTreeMap<(GroupId, String), Option<u64>>,
    /// Users.
    #[serde(skip)]
    pub(super) users: BTreeSet<(GroupId, u32)>,
}

/// Cgroups as they are saved: whose, and where.
mod paths {
    use super::{BTreeMap, BTreeSet, GroupId};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Cgroups = BTreeMap<(GroupId, String), Option<u64>>;

    pub(super) fn serialize<S: Serializer>(of: &Cgroups, to: S) -> Result<S::Ok, S::Error> {
        of.keys().collect::<BTreeSet<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Cgroups, D::Error> {
        let places = BTreeSet::<(GroupId, String)>::deserialize(from)?;
        Ok(places.into_iter().map(|place| (place, None)).collect())
    }
}

impl Facts {
    /// Those of both.
    pub(super) fn merge(&mut self, other: &Self) {
        self.bridges.extend(other.bridges.iter().cloned());
        self.addresses.extend(other.addresses.iter().cloned());
        self.free.extend(other.free.iter().cloned());
        self.users.extend(other.users.iter().cloned());
        for (cgroup, number) in &other.cgroups {
            self.cgroups.insert(cgroup.clone(), *number);
        }
    }
}

/// A group's name as nft takes it: what is not a letter or digit as `_` and its
/// number in hexadecimal.
fn word(group: &GroupId) -> String {
    let mut word = String::new();
    for byte in group.as_str().bytes() {
        if byte.is_ascii_alphanumeric() {
            word.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(word, "_{byte:02x}");
        }
    }
    word
}

/// The set whose elements open a group.
pub(super) fn open_set(group: &GroupId) -> String {
    format!("open_{}", word(group))
}

/// The counter of what a group's gate dropped.
pub(super) fn counter(group: &GroupId) -> String {
    format!("dropped_{}", word(group))
}

fn padded(name: &str) -> Key {
    let mut key = name.as_bytes().to_vec();
    key.resize(NAME, 0);
    key
}

fn placed((bridge, address): &Place) -> Key {
    let mut key = padded(bridge);
    match address {
        IpAddr::V4(address) => key.extend(address.octets()),
        IpAddr::V6(address) => key.extend(address.octets()),
    }
    key
}

const fn family(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 6,
    }
}

/// A cgroup's level below the root.
fn level(path: &str) -> usize {
    path.split('/').count()
}

/// The elements that every set but the opening ones must have.
pub(super) fn elements(
    groups: &BTreeSet<GroupId>,
    facts: &Facts,
) -> BTreeMap<String, BTreeSet<Key>> {
    let mut sets: BTreeMap<String, BTreeSet<Key>> = BTreeMap::new();
    let mut put = |set: String, key: Option<Key>| sets.entry(set).or_default().extend(key);
    for set in ["bridges", "inside", "free4", "free6"] {
        put(set.into(), None);
    }
    for group in groups {
        let word = word(group);
        for set in ["bridge", "addr4", "addr6", "user"] {
            put(format!("{set}_{word}"), None);
        }
        for level in 1..=CGROUP_LEVELS {
            put(format!("cgroup{level}_{word}"), None);
        }
    }
    for (group, bridge) in &facts.bridges {
        put("bridges".into(), Some(padded(bridge)));
        put("inside".into(), Some([padded(bridge), padded(bridge)].concat()));
        put(format!("bridge_{}", word(group)), Some(padded(bridge)));
    }
    for (group, place) in &facts.addresses {
        put(format!("addr{}_{}", family(&place.1), word(group)), Some(placed(place)));
    }
    for place in &facts.free {
        put(format!("free{}", family(&place.1)), Some(placed(place)));
    }
    for (group, user) in &facts.users {
        put(format!("user_{}", word(group)), Some(user.to_ne_bytes().to_vec()));
    }
    for ((group, path), number) in &facts.cgroups {
        let key = number.map(|number| number.to_ne_bytes().to_vec());
        put(format!("cgroup{}_{}", level(path), word(group)), key);
    }
    sets
}

/// The whole table, closed, replacing the one that is there in one step.
/// `hierarchy` is where the cgroup v2 hierarchy is mounted below
/// `/sys/fs/cgroup`, which is where nft looks cgroups up.
pub(super) fn text(
    table: &str,
    groups: &BTreeSet<GroupId>,
    facts: &Facts,
    hierarchy: Option<&str>,
) -> String {
    let mut out =
        format!("add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
    sets(&mut out, groups, facts, hierarchy);
    for group in groups {
        let (open, dropped) = (open_set(group), counter(group));
        let gate = format!(
            "\tcounter {dropped} {{ }}\n\tchain gate_{word} {{\n\t\tmeta nfproto @{open} return\n\
             \t\tcounter name \"{dropped}\" drop\n\t}}\n",
            word = word(group)
        );
        out.push_str(&gate);
    }
    side(&mut out, groups, "source", "iifname", "saddr");
    side(&mut out, groups, "destination", "oifname", "daddr");
    let mut own = String::new();
    for word in groups.iter().map(word) {
        for level in 1..=CGROUP_LEVELS {
            let _ = writeln!(
                own,
                "\t\tsocket cgroupv2 level {level} @cgroup{level}_{word} jump gate_{word}"
            );
        }
        let _ = writeln!(own, "\t\tmeta skuid @user_{word} jump gate_{word}");
    }
    let hooks = [
        ("forward", "iifname . oifname @inside accept\n\t\tjump source\n\t\tjump destination", ""),
        ("input", "iifname \"lo\" accept\n\t\tjump source", own.as_str()),
        ("output", "oifname \"lo\" accept\n\t\tjump destination", own.as_str()),
    ];
    for (hook, first, then) in hooks {
        // Before Docker's filter chains (0), so that nothing there is in our way,
        // and after DNAT (-100), so that containers have their own addresses.
        let _ = writeln!(
            out,
            "\tchain {hook} {{\n\t\ttype filter hook {hook} priority -10; policy accept;\n\
             \t\t{first}\n{then}\t}}"
        );
    }
    out.push_str("}\n");
    out
}

/// Who sends, or who gets: by bridge and address.
fn side(out: &mut String, groups: &BTreeSet<GroupId>, chain: &str, iface: &str, address: &str) {
    let _ = writeln!(out, "\tchain {chain} {{\n\t\t{iface} != @bridges return");
    for word in groups.iter().map(word) {
        let _ = writeln!(
            out,
            "\t\t{iface} . ip {address} @addr4_{word} goto gate_{word}\n\
             \t\t{iface} . ip6 {address} @addr6_{word} goto gate_{word}"
        );
    }
    // Neighbours find each other whatever they are; this never leaves the link.
    let _ = writeln!(
        out,
        "\t\t{iface} . ip {address} @free4 return\n\t\t{iface} . ip6 {address} @free6 return\n\
         \t\tip6 hoplimit 255 icmpv6 type {{ nd-router-solicit, nd-router-advert, \
         nd-neighbor-solicit, nd-neighbor-advert }} return"
    );
    if chain == "destination" {
        let _ = writeln!(out, "\t\tfib daddr type {{ broadcast, multicast }} return");
    }
    // Not known yet: whose it is will be known in a moment, and until then it may
    // pass where every group on the bridge may.
    for word in groups.iter().map(word) {
        let _ = writeln!(out, "\t\t{iface} @bridge_{word} jump gate_{word}");
    }
    out.push_str("\t}\n");
}

fn set(out: &mut String, name: &str, kind: &str, elements: &[String]) {
    let _ = write!(out, "\tset {name} {{ {kind}; ");
    if !elements.is_empty() {
        let _ = write!(out, "elements = {{ {} }}; ", elements.join(", "));
    }
    out.push_str("}\n");
}

fn sets(out: &mut String, groups: &BTreeSet<GroupId>, facts: &Facts, hierarchy: Option<&str>) {
    let bridges: BTreeSet<&String> = facts.bridges.iter().map(|(_, bridge)| bridge).collect();
    let quoted = |name: &String| format!("\"{name}\"");
    let pairs: Vec<String> = bridges.iter().map(|b| format!("\"{b}\" . \"{b}\"")).collect();
    let place = |(bridge, address): &Place| format!("\"{bridge}\" . {address}");
    let names: Vec<String> = bridges.iter().map(|bridge| quoted(bridge)).collect();
    set(out, "bridges", "type ifname", &names);
    set(out, "inside", "type ifname . ifname", &pairs);
    for (number, kind) in [(4, "ipv4_addr"), (6, "ipv6_addr")] {
        let kind = format!("type ifname . {kind}");
        let of_kind = |place: &&Place| family(&place.1) == number;
        let free: Vec<String> = facts.free.iter().filter(of_kind).map(place).collect();
        set(out, &format!("free{number}"), &kind, &free);
        for group in groups {
            let own = facts.addresses.iter().filter(|(of, _)| of == group).map(|(_, at)| at);
            let own: Vec<String> = own.filter(of_kind).map(place).collect();
            set(out, &format!("addr{number}_{}", word(group)), &kind, &own);
        }
    }
    for group in groups {
        let word = word(group);
        set(out, &open_set(group), "typeof meta nfproto; flags timeout", &[]);
        let own = facts.bridges.iter().filter(|(of, _)| of == group);
        let own: Vec<String> = own.map(|(_, bridge)| quoted(bridge)).collect();
        set(out, &format!("bridge_{word}"), "type ifname", &own);
        let users = facts.users.iter().filter(|(of, _)| of == group);
        let users: Vec<String> = users.map(|(_, user)| user.to_string()).collect();
        set(out, &format!("user_{word}"), "type uid", &users);
        for at in 1..=CGROUP_LEVELS {
            let known = facts.cgroups.iter().filter(|((of, path), number)| {
                of == group && level(path) == at && number.is_some()
            });
            let known: Vec<String> = match hierarchy {
                None => Vec::new(),
                Some("") => known.map(|((_, path), _)| quoted(path)).collect(),
                Some(below) => known.map(|((_, path), _)| format!("\"{below}/{path}\"")).collect(),
            };
            set(out, &format!("cgroup{at}_{word}"), "type cgroupsv2", &known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> GroupId {
        GroupId::new(name).unwrap()
    }

    fn facts() -> Facts {
        let (fx, place) = (group("fx"), ("docker0".to_owned(), "10.0.0.2".parse().unwrap()));
        Facts {
            bridges: [(fx.clone(), "docker0".into())].into(),
            addresses: [(fx.clone(), place)].into(),
            free: [("docker0".to_owned(), "fd00::3".parse().unwrap())].into(),
            owners: BTreeMap::new(),
            cgroups: [((fx.clone(), "understudy/t/mt5".into()), Some(77))].into(),
            users: [(fx, 1000)].into(),
        }
    }

    #[test]
    fn names_that_nft_refuses_are_written_otherwise_and_stay_apart() {
        let names: BTreeSet<String> =
            ["a-b", "a_b", "a.b", "a2db"].map(|name| open_set(&group(name))).into();
        assert_eq!(names.len(), 4, "{names:?}");
        let plain = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        assert!(names.iter().all(plain));
    }

    #[test]
    fn elements_have_the_keys_that_the_kernel_compares() {
        let sets = elements(&[group("fx")].into(), &facts());
        let only = |set: &str| sets[set].iter().next().unwrap().clone();
        assert_eq!(only("bridges"), b"docker0\0\0\0\0\0\0\0\0\0");
        assert_eq!(only("addr4_fx"), b"docker0\0\0\0\0\0\0\0\0\0\x0a\0\0\x02");
        assert_eq!(only("free6").len(), 32);
        assert_eq!(only("inside").len(), 32);
        assert_eq!(only("cgroup3_fx"), 77_u64.to_ne_bytes());
        assert_eq!(only("user_fx"), 1000_u32.to_ne_bytes());
        // Sets without an element are listed too: what somebody adds there is seen.
        assert!(sets["cgroup1_fx"].is_empty() && sets["free4"].is_empty());
    }

    #[test]
    fn a1_the_table_comes_up_closed_and_replaces_only_itself() {
        let text = text("understudy_x", &[group("fx")].into(), &facts(), Some("unified"));
        assert!(text.contains("set open_fx { typeof meta nfproto; flags timeout; }"), "{text}");
        assert!(text.contains("\"unified/understudy/t/mt5\""), "{text}");
        assert!(!text.contains("flush"), "{text}");
        let of_tables = text.lines().filter(|line| line.contains("table "));
        assert!(of_tables.into_iter().all(|line| line.contains("table inet understudy_x")));
    }
}
