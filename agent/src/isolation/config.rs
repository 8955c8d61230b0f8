//! `[isolation]` of agent.toml, checked.

use daemon::config::{Span, SpanError};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

/// How long an isolation stands before somebody confirms it: time to log in
/// anew, and short enough to wait for on a machine without a console.
const CONFIRM_WITHIN: Duration = Duration::from_secs(300);

/// Bounds of `confirm_within`: below, nobody logs in and types; above, a host
/// that locked its operator out is lost for too long.
const CONFIRM_RANGE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));

/// Entries of each list: far more than a desk has, few enough for a screen.
const LIST_MAX: usize = 64;

/// An address, or a network of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    /// Its first address.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

impl Network {
    /// This address alone.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: bits(&address) }
    }

    /// The same network of addresses as a dual-stack socket sees them.
    pub(super) fn mapped(&self) -> Option<Self> {
        match self.address {
            IpAddr::V4(address) => {
                Some(Self { address: address.to_ipv6_mapped().into(), prefix: self.prefix + 96 })
            }
            IpAddr::V6(_) => None,
        }
    }
}

const fn bits(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address with all bits after the prefix cleared.
fn first(address: IpAddr, prefix: u8) -> IpAddr {
    let cleared = |width: u8| u32::from(width - prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(cleared(32)).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(cleared(128)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == bits(&self.address) {
            return write!(f, "{}", self.address);
        }
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl FromStr for Network {
    type Err = IsolationConfigError;
    fn from_str(text: &str) -> Result<Self, IsolationConfigError> {
        let form = || IsolationConfigError::Network(text.into());
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let Some(prefix) = prefix else { return Ok(Self::of(address)) };
        let prefix: u8 = prefix.parse().map_err(|_| form())?;
        if prefix > bits(&address) {
            return Err(form());
        }
        if prefix == 0 {
            return Err(IsolationConfigError::Everybody(text.into()));
        }
        let whole = Self { address: first(address, prefix), prefix };
        if whole.address != address {
            return Err(IsolationConfigError::HostBits(text.into(), whole));
        }
        Ok(whole)
    }
}

impl TryFrom<String> for Network {
    type Error = IsolationConfigError;
    fn try_from(text: String) -> Result<Self, IsolationConfigError> {
        text.parse()
    }
}

/// What carries a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// As nft and URLs write it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Where something is reached: `tcp://192.0.2.50:443`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    /// What carries it.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
}

impl Destination {
    pub(super) fn tcp(address: SocketAddr) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { transport: Transport::Tcp, address }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport.word(), self.address)
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

impl FromStr for Destination {
    type Err = IsolationConfigError;
    fn from_str(text: &str) -> Result<Self, IsolationConfigError> {
        let form = || IsolationConfigError::Destination(text.into());
        let (transport, address) = text.split_once("://").ok_or_else(form)?;
        let transport = match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return Err(form()),
        };
        let address: SocketAddr = address.parse().map_err(|_| form())?;
        if address.port() == 0 || address.ip().is_unspecified() {
            return Err(form());
        }
        Ok(Self { transport, address })
    }
}

impl TryFrom<String> for Destination {
    type Error = IsolationConfigError;
    fn try_from(text: String) -> Result<Self, IsolationConfigError> {
        text.parse()
    }
}

/// `[isolation]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct IsolationConfig {
    /// From where this host is administered; always let through.
    pub administrators: Vec<Network>,
    /// Other agents that are to be asked and answered also under `breach`.
    pub peers: Vec<SocketAddr>,
    /// Where this host may still go under `egress-block`.
    pub allow: Vec<Destination>,
    /// How long an isolation stands unless it is confirmed.
    pub confirm_within: Duration,
    /// Whether coordinators may isolate and release this host (A7).
    pub remote: bool,
}

impl Default for IsolationConfig {
    fn default() -> Self {
        Self {
            administrators: Vec::new(),
            peers: Vec::new(),
            allow: Vec::new(),
            confirm_within: CONFIRM_WITHIN,
            remote: false,
        }
    }
}

/// Why `[isolation]` makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IsolationConfigError {
    /// Neither an address nor a network.
    #[error(
        "`{0}` is no address or network: write for example \"198.51.100.7\", \
         \"198.51.100.0/24\" or \"2001:db8:7::/48\""
    )]
    Network(String),
    /// A network of every address.
    #[error("`{0}` is everybody: an isolation that lets everybody in isolates nothing")]
    Everybody(String),
    /// A network that is not written by its first address.
    #[error("`{0}` is within a network, and not its first address: write \"{1}\"")]
    HostBits(String, Network),
    /// Not a destination.
    #[error(
        "`{0}` is no destination: write \"tcp://ADDRESS:PORT\" or \"udp://ADDRESS:PORT\" with an \
         IP address, such as \"tcp://192.0.2.50:443\"; names cannot be looked up in isolation"
    )]
    Destination(String),
    /// Not an agent's address.
    #[error("peers: `{0}` is not IP:PORT; write for example \"192.0.2.12:7444\"")]
    Peer(String),
    /// Too many.
    #[error(
        "{0}: {1} entries, and {LIST_MAX} are possible; write networks, such as \"198.51.100.0/24\""
    )]
    Long(&'static str, usize),
    /// Not a length of time.
    #[error("confirm_within: {0}")]
    Span(#[from] SpanError),
    /// Out of bounds.
    #[error("confirm_within = \"{0}\" is not between 10s and 60min")]
    Confirm(Span),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    administrators: Vec<Network>,
    #[serde(default)]
    peers: Vec<String>,
    #[serde(default)]
    allow: Vec<Destination>,
    confirm_within: Option<Span>,
    #[serde(default)]
    remote: bool,
}

impl TryFrom<Raw> for IsolationConfig {
    type Error = IsolationConfigError;
    fn try_from(raw: Raw) -> Result<Self, IsolationConfigError> {
        let lengths = [
            ("administrators", raw.administrators.len()),
            ("peers", raw.peers.len()),
            ("allow", raw.allow.len()),
        ];
        if let Some((list, length)) = lengths.into_iter().find(|(_, length)| *length > LIST_MAX) {
            return Err(IsolationConfigError::Long(list, length));
        }
        let given = raw.confirm_within.unwrap_or(Span(CONFIRM_WITHIN));
        if !(CONFIRM_RANGE.0..=CONFIRM_RANGE.1).contains(&given.duration()) {
            return Err(IsolationConfigError::Confirm(given));
        }
        let peers = raw.peers.into_iter().map(|peer| match peer.parse::<SocketAddr>() {
            Ok(address) => Ok(address),
            Err(_) => Err(IsolationConfigError::Peer(peer)),
        });
        Ok(Self {
            administrators: raw.administrators,
            peers: peers.collect::<Result<_, _>>()?,
            allow: raw.allow,
            confirm_within: given.duration(),
            remote: raw.remote,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<IsolationConfig, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn what_stands_in_the_file_is_read_back() {
        assert_eq!(read("").unwrap(), IsolationConfig::default());
        let full = read(
            "administrators = [\"198.51.100.7\", \"2001:db8:7::/48\"]\n\
             peers = [\"192.0.2.12:7444\"]\nallow = [\"udp://[2001:db8::53]:53\"]\n\
             confirm_within = \"10min\"",
        )
        .unwrap();
        let shown: Vec<String> = full.administrators.iter().map(Network::to_string).collect();
        assert_eq!(shown, ["198.51.100.7", "2001:db8:7::/48"]);
        assert_eq!(full.allow[0].to_string(), "udp://[2001:db8::53]:53");
        assert_eq!(full.confirm_within, Duration::from_secs(600));
    }

    #[test]
    fn what_would_isolate_nothing_or_nobody_knows_is_refused_in_words() {
        for (text, words) in [
            ("administrators = [\"0.0.0.0/0\"]", "is everybody"),
            ("administrators = [\"::/0\"]", "is everybody"),
            ("administrators = [\"198.51.100.7/24\"]", "write \"198.51.100.0/24\""),
            ("administrators = [\"office\"]", "no address or network"),
            ("administrators = [\"198.51.100.0/33\"]", "no address or network"),
            ("allow = [\"192.0.2.50:443\"]", "no destination"),
            ("allow = [\"tcp://broker.example:443\"]", "names cannot be looked up"),
            ("allow = [\"tcp://192.0.2.50:0\"]", "no destination"),
            ("peers = [\"s1:7444\"]", "is not IP:PORT"),
            ("confirm_within = \"5s\"", "between 10s and 60min"),
            ("confirm_within = \"2h\"", "between 10s and 60min"),
            ("admins = []", "unknown field"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_network_is_seen_by_a_dual_stack_socket_too() {
        let network: Network = "198.51.100.0/24".parse().unwrap();
        assert_eq!(network.mapped().unwrap().to_string(), "::ffff:198.51.100.0/120");
        assert_eq!(Network::of("::ffff:192.0.2.1".parse().unwrap()).to_string(), "192.0.2.1");
    }
}
