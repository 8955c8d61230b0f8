//! The `[dns_hook]` table of coordinator.toml and what makes it sound.

use daemon::{
    command,
    config::{Faults, Source, Span, Spanned},
};
use hickory_resolver::proto::rr::Name;
use serde::{Deserialize, de};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// Most calls for one switch: what does not work ten times needs a person.
const ATTEMPTS_MAX: u32 = 10;

/// Longest deadline of one call and of the read-back, in seconds: an outage that goes on
/// for longer should be seen as a failed step by then.
const TIMEOUT_MAX: Span = Span::from_secs(600);

/// Most resolvers asked: a name rarely has more than a dozen servers.
const RESOLVERS_MAX: usize = 32;

/// Where DNS servers listen.
const DNS_PORT: u16 = 53;

/// `[dns_hook]` of coordinator.toml.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsHookConfig {
    /// The executable's absolute path, and its arguments.
    pub command: Spanned<Vec<String>>,
    /// The deadline of one call; 10 s by default.
    #[serde(default = "default_timeout")]
    pub timeout: Spanned<Span>,
    /// Calls before the switch counts as failed, 1 to 10; 3 by default.
    #[serde(default = "default_attempts")]
    pub attempts: Spanned<u32>,
    /// What to ask afterwards; nothing by default.
    pub read_back: Option<ReadBackConfig>,
}

/// `read_back` of `[dns_hook]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadBackConfig {
    /// The name that must have the new site's addresses.
    pub name: Spanned<String>,
    /// The servers that must say so: best the name's own, each of them.
    pub resolvers: Spanned<Vec<ResolverAddress>>,
    /// How long they may take to agree; 30 s by default.
    #[serde(default = "default_read_back_timeout")]
    pub timeout: Spanned<Span>,
}

fn default_timeout() -> Spanned<Span> {
    Spanned::new(0..0, Span::from_secs(10))
}

fn default_attempts() -> Spanned<u32> {
    Spanned::new(0..0, 3)
}

fn default_read_back_timeout() -> Spanned<Span> {
    Spanned::new(0..0, Span::from_secs(30))
}

impl DnsHookConfig {
    /// Adds what is wrong with it, each fault at its place in `source`.
    pub fn check(&self, source: &Source, faults: &mut Faults) {
        self.check_command(source, faults);
        check_timeout(&self.timeout, "dns_hook.timeout", source, faults);
        if !(1..=ATTEMPTS_MAX).contains(self.attempts.get_ref()) {
            let message = format!("{} is not 1 to {ATTEMPTS_MAX}", self.attempts.get_ref());
            faults.push(source.fault_at(&self.attempts, "dns_hook.attempts", message, "use 3"));
        }
        if let Some(read_back) = &self.read_back {
            read_back.check(source, faults);
        }
    }

    fn check_command(&self, source: &Source, faults: &mut Faults) {
        let Some(message) = command::fault(self.command.get_ref()) else { return };
        let hint = "give the executable's absolute path, then its arguments, \
                    such as [\"/etc/understudy/dns-hook\"]";
        faults.push(source.fault_at(&self.command, "dns_hook.command", message, hint));
    }
}

impl ReadBackConfig {
    fn check(&self, source: &Source, faults: &mut Faults) {
        if let Err(reason) = dns_name(self.name.get_ref()) {
            let hint = "use a full name such as \"trade.example.org\"";
            faults.push(source.fault_at(&self.name, "dns_hook.read_back.name", reason, hint));
        }
        let count = self.resolvers.get_ref().len();
        if !(1..=RESOLVERS_MAX).contains(&count) {
            faults.push(source.fault_at(
                &self.resolvers,
                "dns_hook.read_back.resolvers",
                format!("{count} servers are named; 1 to {RESOLVERS_MAX} are allowed"),
                "name the servers of the zone, such as [\"192.0.2.53\"]",
            ));
        }
        check_timeout(&self.timeout, "dns_hook.read_back.timeout", source, faults);
    }
}

fn check_timeout(timeout: &Spanned<Span>, field: &str, source: &Source, faults: &mut Faults) {
    let given = *timeout.get_ref();
    if given == Span::default() || given > TIMEOUT_MAX {
        let message = format!("`{given}` is not more than 0s and at most {TIMEOUT_MAX}");
        faults.push(source.fault_at(timeout, field, message, "use a length such as \"10s\""));
    }
}

/// A name as asked: from the root, whatever this machine's search list is.
pub(super) fn dns_name(text: &str) -> Result<Name, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    let mut name =
        Name::from_str(text).map_err(|error| format!("`{text}` is not a DNS name: {error}"))?;
    name.set_fqdn(true);
    Ok(name)
}

/// A DNS server: an IP address, with a port where it is not 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResolverAddress(pub SocketAddr);

impl fmt::Display for ResolverAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ResolverAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let with_port = text.parse().ok();
        let alone = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, DNS_PORT));
        with_port.or_else(alone).map(Self).ok_or_else(|| {
            format!(
                "`{text}` is not a server's IP address; use one such as \"192.0.2.53\", \
                 \"192.0.2.53:5353\" or \"[2001:db8::53]:53\""
            )
        })
    }
}

impl<'de> Deserialize<'de> for ResolverAddress {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
