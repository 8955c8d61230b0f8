//! What Docker's lists mean for the gate. Pure.

use super::{Wanted, names};
use crate::gate::{
    config::cgroup_path,
    table::{Facts, Place},
};
use bollard::models::{
    ContainerSummary, EndpointSettings, Network, SystemInfo, SystemInfoCgroupDriverEnum,
    SystemInfoCgroupVersionEnum,
};
use model::GroupId;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

/// One look, while it is made. Pure.
pub(super) struct Look<'a> {
    networks: &'a [Network],
    wanted: &'a [Wanted],
    pub(super) facts: Facts,
    pub(super) gaps: BTreeMap<GroupId, BTreeSet<String>>,
    /// Protected containers in the host's network: group, id, name.
    pub(super) on_host: Vec<(GroupId, String, String)>,
    /// Ids of protected containers.
    protected: BTreeMap<String, GroupId>,
}

enum Kind {
    Bridge(String),
    Host,
    None,
    Other(String),
}

impl<'a> Look<'a> {
    pub(super) fn new(networks: &'a [Network], wanted: &'a [Wanted]) -> Self {
        let mut look = Self {
            networks,
            wanted,
            facts: Facts::default(),
            gaps: BTreeMap::new(),
            on_host: Vec::new(),
            protected: BTreeMap::new(),
        };
        // Taken back when its container is found.
        for wanted in wanted {
            look.gap(&wanted.group, missing(wanted));
        }
        look
    }

    fn gap(&mut self, group: &GroupId, words: String) {
        self.gaps.entry(group.clone()).or_default().insert(words);
    }

    pub(super) fn protected(&mut self, container: &ContainerSummary) {
        let Some(wanted) = self.wanted.iter().find(|wanted| wanted.is(container)) else { return };
        let id = container.id.clone().unwrap_or_default();
        let name = names(container).next().unwrap_or(&id).to_owned();
        if let Some(gaps) = self.gaps.get_mut(&wanted.group) {
            gaps.remove(&missing(wanted));
        }
        self.protected.insert(id.clone(), wanted.group.clone());
        if let Some(other) = mode(container).strip_prefix("container:") {
            let group = &wanted.group;
            self.gap(group, format!("container {name} uses the network of container {other}"));
            return;
        }
        for (network, endpoint) in endpoints(container) {
            match self.kind(network, endpoint) {
                Kind::Bridge(bridge) => {
                    for address in addresses(endpoint) {
                        let place = (bridge.clone(), address);
                        self.facts.addresses.insert((wanted.group.clone(), place));
                    }
                    self.facts.bridges.insert((wanted.group.clone(), bridge));
                }
                Kind::Host => {
                    self.on_host.push((wanted.group.clone(), id.clone(), name.clone()));
                }
                Kind::None => {}
                Kind::Other(driver) => {
                    let words = format!(
                        "container {name} is on the network {network} (driver {driver}), which \
                         rules of this host do not see"
                    );
                    self.gap(&wanted.group, words);
                }
            }
        }
    }

    /// A protected container in the host's network, by the cgroup it lives in.
    pub(super) fn host(
        &mut self,
        group: &GroupId,
        name: &str,
        parent: Option<&str>,
        engine: &SystemInfo,
    ) {
        if engine.cgroup_version != Some(SystemInfoCgroupVersionEnum::_2) {
            let words = format!(
                "container {name} uses the host's network, and its Docker has no cgroup v2; \
                 put it on a bridge network"
            );
            return self.gap(group, words);
        }
        let slices = engine.cgroup_driver == Some(SystemInfoCgroupDriverEnum::SYSTEMD);
        let own = parent.filter(|parent| !parent.is_empty()).and_then(|parent| {
            cgroup_path(&if slices { slice(parent) } else { parent.to_owned() })
        });
        match own.filter(|own| own != "system.slice" && own != "docker") {
            Some(own) => {
                self.facts.cgroups.insert((group.clone(), own), None);
            }
            None => self.gap(
                group,
                format!(
                    "container {name} uses the host's network without a cgroup_parent of its \
                     own; give it one (`cgroup_parent: understudy-gated.slice` in compose)"
                ),
            ),
        }
    }

    /// A container that is not protected, on a bridge that carries one.
    pub(super) fn other(&mut self, container: &ContainerSummary) {
        let id = container.id.clone().unwrap_or_default();
        if self.protected.contains_key(&id) {
            return;
        }
        for (network, endpoint) in endpoints(container) {
            let Kind::Bridge(bridge) = self.kind(network, endpoint) else { continue };
            if !self.facts.bridges.iter().any(|(_, carries)| *carries == bridge) {
                continue;
            }
            for address in running_addresses(endpoint) {
                let place: Place = (bridge.clone(), address);
                self.facts.owners.insert(place.clone(), id.clone());
                self.facts.free.insert(place);
            }
        }
    }

    fn kind(&self, name: &str, endpoint: &EndpointSettings) -> Kind {
        let id = endpoint.network_id.as_deref().filter(|id| !id.is_empty());
        let is = |network: &&Network| match id {
            Some(id) => network.id.as_deref() == Some(id),
            None => network.name.as_deref() == Some(name),
        };
        let Some(network) = self.networks.iter().find(is) else {
            return Kind::Other("unknown: the network is gone".into());
        };
        match network.driver.as_deref().unwrap_or_default() {
            "bridge" => {
                let given = network.options.as_ref();
                let given = given.and_then(|of| of.get("com.docker.network.bridge.name"));
                let id = network.id.as_deref().unwrap_or_default();
                let usual = || format!("br-{}", id.get(..12).unwrap_or(id));
                Kind::Bridge(given.cloned().unwrap_or_else(usual))
            }
            "host" => Kind::Host,
            "null" => Kind::None,
            other => Kind::Other(other.to_owned()),
        }
    }
}

fn missing(wanted: &Wanted) -> String {
    format!("service {}: there is no {} on this host", wanted.service, wanted.target)
}

fn mode(container: &ContainerSummary) -> &str {
    container.host_config.as_ref().and_then(|of| of.network_mode.as_deref()).unwrap_or_default()
}

fn endpoints(container: &ContainerSummary) -> impl Iterator<Item = (&str, &EndpointSettings)> {
    let of = container.network_settings.as_ref().and_then(|of| of.networks.as_ref());
    of.into_iter().flatten().map(|(name, endpoint)| (name.as_str(), endpoint))
}

/// What a container has now.
fn running_addresses(endpoint: &EndpointSettings) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = [&endpoint.ip_address, &endpoint.global_ipv6_address]
        .into_iter()
        .filter_map(|given| given.as_deref()?.parse().ok())
        .collect();
    // One that does not run has none, whatever its hardware address was.
    if !found.is_empty() {
        found.extend(endpoint.mac_address.as_deref().and_then(link_local));
    }
    found
}

/// What a container has now or will have.
fn addresses(endpoint: &EndpointSettings) -> Vec<IpAddr> {
    let mut found = running_addresses(endpoint);
    if let Some(fixed) = &endpoint.ipam_config {
        let given = [&fixed.ipv4_address, &fixed.ipv6_address];
        found
            .extend(given.into_iter().filter_map(|given| given.as_deref()?.parse::<IpAddr>().ok()));
    }
    found
}

/// The link-local address that the kernel makes of a hardware address (RFC 4291,
/// appendix A).
fn link_local(mac: &str) -> Option<IpAddr> {
    let bytes: Vec<u8> =
        mac.split(':').map(|part| u8::from_str_radix(part, 16)).collect::<Result<_, _>>().ok()?;
    let [a, b, c, d, e, f] = bytes.try_into().ok()?;
    let [a, b, c, d, e, f] = [a ^ 2, b, c, d, e, f].map(u16::from);
    Some(IpAddr::V6(Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        a << 8 | b,
        c << 8 | 0xff,
        0xfe00 | d,
        e << 8 | f,
    )))
}

/// Where systemd puts a slice: `a-b.slice` lies in `a.slice`.
fn slice(name: &str) -> String {
    let Some(stem) = name.strip_suffix(".slice") else { return name.to_owned() };
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    let parts: Vec<String> = ends.map(|end| format!("{}.slice", &stem[..end])).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Target;
    use model::ServiceName;
    use std::collections::HashMap;

    #[test]
    fn addresses_and_slices_are_those_of_the_kernel_and_systemd() {
        let made = link_local("02:42:ac:11:00:02").unwrap();
        assert_eq!(made, "fe80::42:acff:fe11:2".parse::<IpAddr>().unwrap());
        assert_eq!(link_local("02:42"), None);
        assert_eq!(slice("a-b.slice"), "a.slice/a-b.slice");
        assert_eq!(slice("understudy.slice"), "understudy.slice");
        assert_eq!(slice("x"), "x");
    }

    #[test]
    fn a1_what_cannot_be_covered_is_said() {
        let group = GroupId::new("fx").unwrap();
        let service = ServiceName::new("mt4").unwrap();
        let wanted =
            [Wanted { service, group: group.clone(), target: Target::Container("c".into()) }];
        let network = |name: &str, driver: &str| Network {
            name: Some(name.into()),
            id: Some(format!("{name}0123456789abcdef")),
            driver: Some(driver.into()),
            ..Network::default()
        };
        let networks =
            [network("lan", "macvlan"), network("own", "bridge"), network("host", "host")];
        let on = |name: &str| ContainerSummary {
            id: Some("1".into()),
            names: Some(vec!["/c".into()]),
            network_settings: Some(bollard::models::ContainerSummaryNetworkSettings {
                networks: Some(HashMap::from([(name.to_owned(), EndpointSettings::default())])),
            }),
            ..ContainerSummary::default()
        };
        let look = |name: &str| {
            let mut look = Look::new(&networks, &wanted);
            look.protected(&on(name));
            look
        };
        let gap = |look: &Look<'_>| look.gaps[&group].iter().next().cloned().unwrap_or_default();
        assert!(gap(&Look::new(&networks, &wanted)).contains("there is no container `c`"));
        assert!(gap(&look("lan")).contains("driver macvlan"));
        assert!(gap(&look("gone")).contains("is gone"));
        let own = look("own");
        assert_eq!((gap(&own), own.facts.bridges.len()), (String::new(), 1));
        assert!(own.facts.bridges.contains(&(group.clone(), "br-own012345678".into())));
        let mut host = look("host");
        assert_eq!(host.on_host.len(), 1);
        host.host(&group, "c", Some("/gated"), &SystemInfo::default());
        assert!(gap(&host).contains("no cgroup v2"));
        let mut engine = SystemInfo {
            cgroup_version: Some(SystemInfoCgroupVersionEnum::_2),
            ..SystemInfo::default()
        };
        let mut without = look("host");
        without.host(&group, "c", Some(""), &engine);
        assert!(gap(&without).contains("cgroup_parent"));
        engine.cgroup_driver = Some(SystemInfoCgroupDriverEnum::SYSTEMD);
        let mut with = look("host");
        with.host(&group, "c", Some("understudy-gated.slice"), &engine);
        let cgroup = "understudy.slice/understudy-gated.slice".to_owned();
        assert!(gap(&with).is_empty() && with.facts.cgroups.contains_key(&(group.clone(), cgroup)));
    }
}
