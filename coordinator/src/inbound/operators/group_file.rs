//! Group files: TOML -> `GroupSpec` and back. The only place that knows their form.

use daemon::config::{self, ConfigError, Fault, Source, Span, Spanned};
use failover::{
    GroupSpec, Minimums, OnFeedSilent, OnServiceFailed, ProofLevel, ServiceSpec, SiteSpec,
};
use model::{GroupId, HostId, Millis, ProbeName, ServiceName, SiteId};
use proto::v1;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Documents of one call; more than any installation has groups.
const DOCUMENTS_MAX: usize = 200;
/// Cool-down unless set: long enough for a person to look.
const COOL_DOWN: Span = Span::from_secs(600);
/// A service's start and health gate unless set.
const START_TIMEOUT: Span = Span::from_secs(60);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    group: GroupTable,
    #[serde(default, skip_serializing_if = "MinimumTable::is_empty")]
    minimum: MinimumTable,
    #[serde(default)]
    site: Vec<SiteTable>,
    #[serde(default)]
    service: Vec<ServiceTable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    feed: Vec<FeedTable>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupTable {
    name: Spanned<GroupId>,
    lease: Spanned<Span>,
    #[serde(default = "default_proof")]
    automatic_failover_needs: Spanned<ProofLevel>,
    primary: Spanned<SiteId>,
    #[serde(default = "yes")]
    automatic: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dwell: Option<Span>,
    #[serde(default = "default_cool_down")]
    cool_down: Span,
    #[serde(default)]
    on_service_failed: OnServiceFailed,
    #[serde(default)]
    on_feed_silent: OnFeedSilent,
    #[serde(default)]
    failsafe: bool,
    #[serde(default = "no_hooks")]
    fence: Spanned<Vec<String>>,
    #[serde(default)]
    two_operators: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_data_lag: Option<Spanned<Span>>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MinimumTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_idle_percent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_mib: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_mib: Option<u64>,
}

impl MinimumTable {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteTable {
    name: Spanned<SiteId>,
    hosts: Spanned<Vec<HostId>>,
    #[serde(default)]
    addresses: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceTable {
    name: Spanned<ServiceName>,
    #[serde(default = "yes")]
    exclusive: bool,
    #[serde(default = "nothing")]
    after: Spanned<Vec<ServiceName>>,
    #[serde(default = "default_start")]
    start_timeout: Span,
    #[serde(default = "nowhere")]
    hosts: Spanned<BTreeMap<SiteId, HostId>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FeedTable {
    probe: ProbeName,
}

fn yes() -> bool {
    true
}
fn default_proof() -> Spanned<ProofLevel> {
    Spanned::new(0..0, ProofLevel::LapsedBehindGate)
}
fn default_cool_down() -> Span {
    COOL_DOWN
}
fn default_start() -> Span {
    START_TIMEOUT
}
fn no_hooks() -> Spanned<Vec<String>> {
    Spanned::new(0..0, Vec::new())
}
fn nothing() -> Spanned<Vec<ServiceName>> {
    Spanned::new(0..0, Vec::new())
}
fn nowhere() -> Spanned<BTreeMap<SiteId, HostId>> {
    Spanned::new(0..0, BTreeMap::new())
}

/// Reads every document: the policies, each with its file's name, and all faults.
pub(super) fn read_all(documents: &[v1::Document]) -> (Vec<(String, GroupSpec)>, Vec<v1::Fault>) {
    let (mut specs, mut faults) = (Vec::new(), Vec::new());
    if documents.len() > DOCUMENTS_MAX {
        let message = format!("{} documents; at most {DOCUMENTS_MAX} at once", documents.len());
        faults.push(v1::Fault { message, ..v1::Fault::default() });
        return (specs, faults);
    }
    let mut names = BTreeSet::new();
    for document in documents {
        let source = Source::new(document.name.clone(), document.text.clone());
        match read(&source) {
            Err(found) => faults.extend(found.into_iter().map(wire)),
            Ok((spec, place)) => {
                if !names.insert(spec.name.clone()) {
                    let message = format!("the group `{}` is in another file too", spec.name);
                    faults.push(wire(source.fault(
                        place,
                        "group.name",
                        message,
                        "keep one of them",
                    )));
                }
                specs.push((document.name.clone(), spec));
            }
        }
    }
    (specs, faults)
}

fn wire(fault: Fault) -> v1::Fault {
    v1::Fault {
        file: fault.file,
        line: u32::try_from(fault.line).unwrap_or(u32::MAX),
        column: u32::try_from(fault.column).unwrap_or(u32::MAX),
        field: fault.field,
        message: fault.message,
        hint: fault.hint,
    }
}

/// One document: its policy and where its name stands.
fn read(source: &Source) -> Result<(GroupSpec, Range<usize>), Vec<Fault>> {
    let file: File = config::parse_source(source).map_err(|error| match error {
        ConfigError::Invalid(faults) => faults.iter().cloned().collect(),
        other => vec![source.fault_of_file("", other.to_string(), "")],
    })?;
    let places = places(&file);
    let name = file.group.name.span();
    let spec = GroupSpec::from(file);
    let faults: Vec<Fault> = spec
        .check()
        .into_iter()
        .map(|fault| {
            let place = places.get(&fault.field).cloned().unwrap_or(name.clone());
            source.fault(place, fault.field, fault.message, fault.hint)
        })
        .collect();
    if faults.is_empty() { Ok((spec, name)) } else { Err(faults) }
}

/// Where the fields stand that the policy's own check may complain about.
fn places(file: &File) -> BTreeMap<String, Range<usize>> {
    let mut places = BTreeMap::from([
        ("group.lease".to_owned(), file.group.lease.span()),
        ("group.primary".to_owned(), file.group.primary.span()),
        ("group.fence".to_owned(), file.group.fence.span()),
    ]);
    if let Some(lag) = &file.group.max_data_lag {
        places.insert("group.max_data_lag".to_owned(), lag.span());
    }
    for (at, site) in file.site.iter().enumerate() {
        places.insert(format!("site[{at}].name"), site.name.span());
        places.insert(format!("site[{at}].hosts"), site.hosts.span());
    }
    for (at, service) in file.service.iter().enumerate() {
        let of = |span: Range<usize>| if span.is_empty() { service.name.span() } else { span };
        places.insert(format!("service[{at}].start_timeout"), service.name.span());
        places.insert(format!("service[{at}].after"), of(service.after.span()));
        places.insert(format!("service[{at}].hosts"), of(service.hosts.span()));
    }
    places
}

impl From<File> for GroupSpec {
    fn from(file: File) -> Self {
        let millis = |span: Span| Millis(span.millis());
        let lease = millis(file.group.lease.into_inner());
        let site = |site: SiteTable| SiteSpec {
            name: site.name.into_inner(),
            hosts: site.hosts.into_inner(),
            addresses: site.addresses,
        };
        let service = |service: ServiceTable| ServiceSpec {
            name: service.name.into_inner(),
            exclusive: service.exclusive,
            after: service.after.into_inner(),
            start_timeout: millis(service.start_timeout),
            hosts: service.hosts.into_inner(),
        };
        Self {
            name: file.group.name.into_inner(),
            lease,
            automatic_failover_needs: file.group.automatic_failover_needs.into_inner(),
            automatic: file.group.automatic,
            dwell: file.group.dwell.map_or(lease, millis),
            cool_down: millis(file.group.cool_down),
            on_service_failed: file.group.on_service_failed,
            on_feed_silent: file.group.on_feed_silent,
            failsafe: file.group.failsafe,
            fence: file.group.fence.into_inner(),
            two_operators: file.group.two_operators,
            minimums: Minimums {
                cpu_idle_percent: file.minimum.cpu_idle_percent,
                memory_mib: file.minimum.memory_mib,
                disk_mib: file.minimum.disk_mib,
            },
            max_data_lag: file.group.max_data_lag.map(|lag| millis(lag.into_inner())),
            primary: file.group.primary.into_inner(),
            sites: file.site.into_iter().map(site).collect(),
            services: file.service.into_iter().map(service).collect(),
            feeds: file.feed.into_iter().map(|feed| feed.probe).collect(),
        }
    }
}

impl From<&GroupSpec> for File {
    fn from(spec: &GroupSpec) -> Self {
        fn at<T>(value: T) -> Spanned<T> {
            Spanned::new(0..0, value)
        }
        let span = |ms: Millis| Span::from_millis(ms.0);
        let site = |site: &SiteSpec| SiteTable {
            name: at(site.name.clone()),
            hosts: at(site.hosts.clone()),
            addresses: site.addresses.clone(),
        };
        let service = |service: &ServiceSpec| ServiceTable {
            name: at(service.name.clone()),
            exclusive: service.exclusive,
            after: at(service.after.clone()),
            start_timeout: span(service.start_timeout),
            hosts: at(service.hosts.clone()),
        };
        Self {
            group: GroupTable {
                name: at(spec.name.clone()),
                lease: at(span(spec.lease)),
                automatic_failover_needs: at(spec.automatic_failover_needs),
                primary: at(spec.primary.clone()),
                automatic: spec.automatic,
                dwell: Some(span(spec.dwell)),
                cool_down: span(spec.cool_down),
                on_service_failed: spec.on_service_failed,
                on_feed_silent: spec.on_feed_silent,
                failsafe: spec.failsafe,
                fence: at(spec.fence.clone()),
                two_operators: spec.two_operators,
                max_data_lag: spec.max_data_lag.map(|lag| at(span(lag))),
            },
            minimum: MinimumTable {
                cpu_idle_percent: spec.minimums.cpu_idle_percent,
                memory_mib: spec.minimums.memory_mib,
                disk_mib: spec.minimums.disk_mib,
            },
            site: spec.sites.iter().map(site).collect(),
            service: spec.services.iter().map(service).collect(),
            feed: spec.feeds.iter().map(|probe| FeedTable { probe: probe.clone() }).collect(),
        }
    }
}

/// A policy as a group file, ready to be applied again.
///
/// # Errors
/// None is known: every policy can be written.
pub(super) fn write(spec: &GroupSpec) -> Result<String, toml::ser::Error> {
    toml::to_string(&File::from(spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[group]
name = "fx"
lease = "5s"
primary = "primary"

[[site]]
name = "primary"
hosts = ["p1"]
addresses = ["192.0.2.10"]

[[site]]
name = "standby"
hosts = ["s1"]

[[service]]
name = "bridge"

[[feed]]
probe = "ticks"
"#;

    fn document(text: &str) -> v1::Document {
        v1::Document { name: "fx.toml".into(), text: text.into() }
    }

    #[test]
    fn a_policy_survives_its_own_export() {
        let (specs, faults) = read_all(&[document(GOOD)]);
        assert_eq!(faults, []);
        let text = write(&specs[0].1).unwrap();
        let (again, faults) = read_all(&[document(&text)]);
        assert_eq!(faults, [], "{text}");
        assert_eq!(again[0].1, specs[0].1);
        assert_eq!(specs[0].1.dwell, Millis(5000));
    }

    #[test]
    fn what_concerns_fencing_and_data_survives_its_own_export() {
        let extra = "primary = \"primary\"\nfailsafe = true\nfence = [\"power\"]\n\
                     two_operators = true\non_feed_silent = \"failover\"\nmax_data_lag = \"5s\"";
        let (specs, faults) = read_all(&[document(&GOOD.replace("primary = \"primary\"", extra))]);
        assert_eq!(faults, []);
        let spec = &specs[0].1;
        assert!(spec.failsafe && spec.two_operators && spec.fence == ["power"]);
        assert_eq!(spec.on_feed_silent, OnFeedSilent::Failover);
        assert_eq!(spec.max_data_lag, Some(Millis(5000)));
        let (again, faults) = read_all(&[document(&write(spec).unwrap())]);
        assert_eq!((faults, &again[0].1), (vec![], spec));
        // Without a word of them: nothing of it, as before they were there.
        let (plain, _) = read_all(&[document(GOOD)]);
        let lines = spec.differences(&plain[0].1);
        for field in ["failsafe", "fence", "two_operators", "on_feed_silent", "max_data_lag"] {
            assert!(lines.iter().any(|line| line.starts_with(field)), "{field}: {lines:?}");
        }
    }

    #[test]
    fn minimums_survive_their_own_export_and_have_bounds() {
        let with = |minimum: &str| {
            document(&GOOD.replace("[[service]]", &format!("{minimum}\n[[service]]")))
        };
        let text = "[minimum]\ncpu_idle_percent = 20\nmemory_mib = 1024";
        let (specs, faults) = read_all(&[with(text)]);
        assert_eq!(faults, []);
        let spec = &specs[0].1;
        let least = &spec.minimums;
        assert_eq!(
            (least.cpu_idle_percent, least.memory_mib, least.disk_mib),
            (Some(20), Some(1024), None)
        );
        let (again, faults) = read_all(&[document(&write(spec).unwrap())]);
        assert_eq!((faults, &again[0].1), (vec![], spec));
        let (plain, _) = read_all(&[document(GOOD)]);
        assert!(
            spec.differences(&plain[0].1).iter().any(|line| line.starts_with("minimum.memory_mib"))
        );
        for (wrong, field) in [
            ("[minimum]\ncpu_idle_percent = 101", "minimum.cpu_idle_percent"),
            ("[minimum]\ndisk_mib = 99999999999", "minimum.disk_mib"),
            ("[minimum]\nmemory = 1", "minimum.memory"),
        ] {
            let (_, faults) = read_all(&[with(wrong)]);
            assert!(faults.iter().any(|fault| fault.field == field), "{wrong}: {faults:?}");
        }
    }

    #[test]
    fn every_fault_names_file_line_field_and_fix() {
        let cases = [
            (GOOD.replace("\"5s\"", "\"90s\""), 4, "group.lease"),
            (GOOD.replace("primary = \"primary\"", "primary = \"elsewhere\""), 5, "group.primary"),
            (GOOD.replace("[\"s1\"]", "[\"p1\"]"), 14, "site[1].hosts"),
            (
                GOOD.replace("name = \"bridge\"", "name = \"bridge\"\nafter = [\"db\"]"),
                18,
                "service[0].after",
            ),
            (GOOD.replace("lease", "leese"), 4, "group.leese"),
            (
                GOOD.replace("name = \"bridge\"", "name = \"bridge\"\nstart_timeout = \"2h\""),
                17,
                "service[0].start_timeout",
            ),
        ];
        for (text, line, field) in cases {
            let (_, faults) = read_all(&[document(&text)]);
            let fault = faults.first().unwrap_or_else(|| panic!("nothing wrong with {text}"));
            assert_eq!((fault.line, fault.field.as_str()), (line, field), "{fault:?}");
            assert!(!fault.hint.is_empty() && fault.file == "fx.toml", "{fault:?}");
        }
    }

    #[test]
    fn the_same_group_twice_is_refused() {
        let (_, faults) = read_all(&[document(GOOD), document(GOOD)]);
        assert!(faults[0].message.contains("another file"), "{faults:?}");
    }
}
