//! What named resolvers answer for a name, until they agree or time is up.
//!
//! Each server is asked by itself and nothing is cached here, so that one
//! server's answer can never stand for another's.

use super::{
    config::{ReadBackConfig, ResolverAddress, dns_name},
    millis,
};
use daemon::backoff::Backoff;
use futures::future::join_all;
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, RecordType},
    },
};
use model::Millis;
use std::{collections::BTreeSet, fmt, net::IpAddr, time::Duration};
use tokio::time::{Instant, sleep_until, timeout_at};

/// One question's time: a lost packet costs no more than this.
const QUESTION: Duration = Duration::from_secs(2);

/// Between two rounds with one server: soon at first, since most providers are
/// fast; then as seldom as not to annoy anyone.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_CAP: Duration = Duration::from_secs(2);
const PAUSE_JITTER: u8 = 20;

/// What every resolver said in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBack {
    /// One for each configured server, in that order.
    pub resolvers: Vec<ResolverReport>,
}

/// What one resolver said in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverReport {
    /// Which one.
    pub server: ResolverAddress,
    /// Whether it answers with all of the new site's addresses and none of
    /// the old site's.
    pub agrees: bool,
    /// From the first question to the last answer.
    pub took: Millis,
    /// Its last answer, for a person.
    pub words: String,
}

impl ReadBack {
    /// Whether every resolver agrees.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.resolvers.iter().all(|report| report.agrees)
    }
}

impl fmt::Display for ReadBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, report) in self.resolvers.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{report}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ResolverReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} after {}", self.server, self.words, self.took)
    }
}

/// What to ask, and whom.
#[derive(Debug, Clone)]
pub(super) struct Question {
    name: String,
    resolvers: Vec<ResolverAddress>,
    timeout: Duration,
}

/// What the answer should be.
struct Wanted {
    present: BTreeSet<IpAddr>,
    absent: BTreeSet<IpAddr>,
}

impl Wanted {
    fn new(addresses: &[String], from_addresses: &[String]) -> Result<Self, String> {
        let parse = |texts: &[String]| -> BTreeSet<IpAddr> {
            texts.iter().filter_map(|text| text.parse().ok()).collect()
        };
        let present = parse(addresses);
        if present.len() < addresses.len().max(1) {
            let given = addresses.join(", ");
            return Err(format!(
                "not asked: read-back compares IP addresses, and the site's are `{given}`"
            ));
        }
        let absent = parse(from_addresses).difference(&present).copied().collect();
        Ok(Self { present, absent })
    }

    fn agrees(&self, found: &BTreeSet<IpAddr>) -> bool {
        self.present.is_subset(found) && self.absent.is_disjoint(found)
    }
}

impl Question {
    /// From a configuration that was found sound.
    pub(super) fn new(config: &ReadBackConfig) -> Self {
        Self {
            name: config.name.get_ref().clone(),
            resolvers: config.resolvers.get_ref().clone(),
            timeout: config.timeout.get_ref().duration(),
        }
    }

    /// Asks every resolver at the same time, each until it agrees or time is up.
    pub(super) async fn ask(&self, addresses: &[String], from_addresses: &[String]) -> ReadBack {
        let prepared = Wanted::new(addresses, from_addresses)
            .and_then(|wanted| dns_name(&self.name).map(|name| (wanted, name)));
        let resolvers = match prepared {
            Ok((wanted, name)) => {
                join_all(self.resolvers.iter().map(|server| self.watch(*server, &name, &wanted)))
                    .await
            }
            Err(words) => {
                let report = |server: &ResolverAddress| ResolverReport {
                    server: *server,
                    agrees: false,
                    took: Millis::ZERO,
                    words: words.clone(),
                };
                self.resolvers.iter().map(report).collect()
            }
        };
        ReadBack { resolvers }
    }

    async fn watch(&self, server: ResolverAddress, name: &Name, wanted: &Wanted) -> ResolverReport {
        let begun = Instant::now();
        let end = begun + self.timeout;
        let mut backoff = Backoff::from_os(PAUSE_FIRST, PAUSE_CAP, PAUSE_JITTER);
        let mut words = String::from("gives no answer");
        let report = |agrees, words| {
            let took = millis(begun.elapsed());
            ResolverReport { server, agrees, took, words }
        };
        let resolver = match resolver(server) {
            Ok(resolver) => resolver,
            Err(error) => return report(false, format!("cannot be asked: {error}")),
        };
        loop {
            match timeout_at(end, look_up(&resolver, name)).await {
                // Time is up: the last full answer is what there is to tell.
                Err(_) => return report(false, words),
                Ok(Ok(found)) => {
                    let agrees = wanted.agrees(&found);
                    words = describe(&found, wanted, agrees);
                    if agrees {
                        return report(true, words);
                    }
                }
                Ok(Err(error)) => words = format!("gives no answer: {error}"),
            }
            let next = Instant::now() + backoff.wait();
            if next >= end {
                return report(false, words);
            }
            sleep_until(next).await;
        }
    }
}

fn resolver(server: ResolverAddress) -> Result<TokioResolver, NetError> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.0.port();
        connection
    });
    let server = NameServerConfig::new(server.0.ip(), true, connections.into());
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.cache_size = 0;
    options.attempts = 1;
    options.timeout = QUESTION;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build()
}

/// Every address of a name; none when there is no such name.
async fn look_up(resolver: &TokioResolver, name: &Name) -> Result<BTreeSet<IpAddr>, NetError> {
    let mut found = BTreeSet::new();
    // Both families: an old AAAA record beside a new A record still leads
    // half of the world to the old site.
    for family in [RecordType::A, RecordType::AAAA] {
        match resolver.lookup(name.clone(), family).await {
            Ok(lookup) => {
                found.extend(lookup.answers().iter().filter_map(|record| match &record.data {
                    RData::A(address) => Some(IpAddr::V4(address.0)),
                    RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                    // Names on the way (CNAME) and signatures.
                    _ => None,
                }));
            }
            Err(error) if is_empty(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Whether the server answered, and answered "none".
fn is_empty(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
        }
        _ => false,
    }
}

fn describe(found: &BTreeSet<IpAddr>, wanted: &Wanted, agrees: bool) -> String {
    let list = |addresses: &BTreeSet<IpAddr>| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    match (agrees, found.is_empty()) {
        (true, _) => format!("answers {}", list(found)),
        (false, true) => format!("knows no address of it (wanted {})", list(&wanted.present)),
        (false, false) => {
            format!("still answers {} (wanted {})", list(found), list(&wanted.present))
        }
    }
}
