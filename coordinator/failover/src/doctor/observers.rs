//! Whether enough voters watch the hosts for an automatic failover (C5).

use super::{Check, CheckResult};
use crate::sight::{HostSight, ObserverSight, Opinion, Sight};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// One check for all of them together, and one each.
pub(super) fn observers(sight: &Sight) -> Vec<Check> {
    let name = "observers";
    let voters = sight.voters.as_deref().unwrap_or_default();
    if voters.is_empty() {
        let found = "this coordinator does not know who votes yet, so it takes no host for lost";
        return Vec::from([Check::new(
            name,
            "",
            CheckResult::Unknown,
            found,
            "ask again in a moment",
        )]);
    }
    let hosts: Vec<&HostSight> = sight.sites.iter().flat_map(|site| &site.hosts).collect();
    let each: Vec<Check> = voters.iter().map(|voter| one(voter, &hosts)).collect();
    let watching = each.iter().filter(|check| check.result == CheckResult::Ok).count();
    let needed = voters.len() / 2 + 1;
    let result = if watching >= needed { CheckResult::Ok } else { CheckResult::Failed };
    let found = format!(
        "{watching} of {} voters watch the hosts; {needed} must lose sight of one, and none may \
         hear it (C5)",
        voters.len()
    );
    let hint = "mend the voters named below, or fail over by hand";
    let mut checks = Vec::from([Check::new(name, "", result, found, hint)]);
    checks.extend(each);
    checks
}

/// What one voter says of every host of the group.
fn one(voter: &str, hosts: &[&HostSight]) -> Check {
    let opinions: Vec<(&HostSight, &Opinion)> = hosts
        .iter()
        .filter_map(|host| {
            let found = host.observers.iter().find(|observer| observer.name == voter)?;
            Some((*host, &found.opinion))
        })
        .collect();
    let words: Vec<String> = opinions.iter().map(|(host, opinion)| words(host, opinion)).collect();
    let found = match opinions.iter().find_map(|(_, opinion)| unheard(opinion)) {
        Some(why) => why,
        None => words.join(", "),
    };
    let (result, hint) = match opinions.iter().map(|(host, opinion)| rank(host, opinion)).max() {
        None | Some(0) => (CheckResult::Ok, String::new()),
        Some(1) => (
            CheckResult::Warn,
            format!("look at the network between {voter} and the hosts that it does not hear"),
        ),
        Some(2) => (CheckResult::Warn, format!("is {voter} short of CPU, or newly started?")),
        Some(3) => {
            (CheckResult::Warn, format!("on {voter}: systemctl status understudy-coordinator"))
        }
        Some(_) => (
            CheckResult::Failed,
            format!("run the same version on {voter} as here: it must not count before that"),
        ),
    };
    Check::new("observers", voter, result, found, hint)
}

/// How little an opinion is worth; a host that is lost for everybody is no
/// fault of the observer's.
fn rank(host: &HostSight, opinion: &Opinion) -> u8 {
    let seen = |observer: &ObserverSight| matches!(observer.opinion, Opinion::Sees { .. });
    match opinion {
        Opinion::Sees { .. } => 0,
        Opinion::Lost { .. } if !host.observers.iter().any(seen) => 0,
        Opinion::Lost { .. } => 1,
        Opinion::Abstains { .. } => 2,
        Opinion::Silent { .. } => 3,
        Opinion::Differs { .. } => 4,
    }
}

fn words(host: &HostSight, opinion: &Opinion) -> String {
    let name = &host.host;
    match opinion {
        Opinion::Sees { silence } => format!("heard {name} {silence} ago"),
        Opinion::Lost { silence: Some(silence) } => format!("has not heard {name} for {silence}"),
        Opinion::Lost { silence: None } => format!("never heard {name}"),
        Opinion::Abstains { why } => format!("abstains about {name}: {why}"),
        Opinion::Silent { why } => why.clone(),
        Opinion::Differs { there, here } => {
            format!("derives other bounds: there {there}; here {here}")
        }
    }
}

/// What concerns every host alike.
fn unheard(opinion: &Opinion) -> Option<String> {
    match opinion {
        Opinion::Sees { .. } | Opinion::Lost { .. } | Opinion::Abstains { .. } => None,
        Opinion::Silent { why } => Some(why.to_string()),
        Opinion::Differs { there, here } => {
            Some(format!("it derives other bounds: there {there}; here {here}"))
        }
    }
}
