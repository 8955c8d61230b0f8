//! What is wrong with the active site, and whether that is certain: silence as
//! the observers agree on it (C5), failed services, and silent feeds (C8).

use super::Reason;
use crate::{
    feed::FeedState,
    incident::Cause,
    sight::{FeedSight, HostSight, Opinion, Sight, SiteSight},
    suspicion::Standing,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use model::{Millis, ProbeName};

/// Trouble that is beyond doubt.
pub(super) struct Certain {
    pub(super) cause: Cause,
    pub(super) lost_for: Millis,
}

pub(super) enum Trouble {
    None,
    NotYet(Reason),
    /// At least one.
    Certain(Vec<Certain>),
}

/// The worst that is known of the active site: certain trouble before trouble that may pass.
pub(super) fn trouble(sight: &Sight, active: &SiteSight) -> Trouble {
    let hosts = active.hosts.iter().map(|host| of_host(sight, host));
    let feeds = silent_feeds(sight, active).into_iter().map(|feed| of_feed(sight, active, feed));
    let (mut pending, mut certain) = (None, Vec::new());
    for one in hosts.chain(feeds) {
        match one {
            Trouble::Certain(causes) => certain.extend(causes),
            Trouble::NotYet(reason) => pending = pending.or(Some(reason)),
            Trouble::None => {}
        }
    }
    if certain.is_empty() {
        return pending.map_or(Trouble::None, Trouble::NotYet);
    }
    Trouble::Certain(certain)
}

fn certain(cause: Cause, lost_for: Millis) -> Trouble {
    Trouble::Certain(Vec::from([Certain { cause, lost_for }]))
}

fn of_host(sight: &Sight, host: &HostSight) -> Trouble {
    match sight.standing(host) {
        Standing::Lost => match agreement(sight, host) {
            Ok(lost_for) => certain(Cause::HostLost { host: host.host.clone() }, lost_for),
            Err(reason) => Trouble::NotYet(reason),
        },
        Standing::Suspect { dwell_left } => {
            Trouble::NotYet(Reason::Suspect { host: host.host.clone(), dwell_left })
        }
        Standing::NeverHeard => Trouble::NotYet(Reason::NotHeardYet(host.host.clone())),
        Standing::Alive => of_services(sight, host),
    }
}

/// C5: a host is lost when a majority of all voters has lost sight of it, none
/// hears it, and the dwell has passed since any of them heard it. Returns for
/// how long it has been lost.
fn agreement(sight: &Sight, host: &HostSight) -> Result<Millis, Reason> {
    let silence = host.silence.unwrap_or(sight.watched);
    if sight.voters.is_none() {
        // Evidence of a version in which the leader was its own only observer.
        return Ok(silence);
    }
    let sees = |opinion: &Opinion| matches!(opinion, Opinion::Sees { .. });
    let lost = |opinion: &Opinion| matches!(opinion, Opinion::Lost { .. });
    let count = |which: fn(&Opinion) -> bool| {
        host.observers.iter().filter(|observer| which(&observer.opinion)).count()
    };
    let (name, opinions) = (host.host.clone(), opinions(host));
    if count(sees) > 0 {
        return Err(Reason::ObserversDisagree { host: name, opinions });
    }
    let (lost, voters) = (count(lost), host.observers.len());
    if lost * 2 <= voters {
        let (lost, voters) = (lost as u64, voters as u64);
        return Err(Reason::NoObserverQuorum { host: name, lost, voters, opinions });
    }
    let ago = host.heard_by_others.map_or(silence, |others| others.min(silence));
    let dwell_left = sight.timing.detection().saturating_sub(ago);
    if dwell_left > Millis::ZERO {
        // The dwell begins anew whoever heard the host.
        return Err(Reason::Suspect { host: name, dwell_left });
    }
    Ok(ago)
}

/// Every voter's opinion of the host in one line.
fn opinions(host: &HostSight) -> String {
    host.observers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn of_services(sight: &Sight, host: &HostSight) -> Trouble {
    let Some(worst) = host.faults.iter().max_by_key(|fault| fault.lasting) else {
        return match host.unknown.first() {
            None => Trouble::None,
            Some((service, detail)) => Trouble::NotYet(Reason::ServiceUnknown {
                service: service.clone(),
                host: host.host.clone(),
                detail: detail.clone(),
            }),
        };
    };
    let patience = patience(sight);
    if worst.lasting < patience {
        return Trouble::NotYet(Reason::ServiceFailing {
            service: worst.service.clone(),
            host: host.host.clone(),
            dwell_left: patience.saturating_sub(worst.lasting),
        });
    }
    let cause = Cause::ServiceFailed {
        host: host.host.clone(),
        service: worst.service.clone(),
        detail: format!("{} ({})", worst.state, worst.detail),
    };
    certain(cause, worst.lasting)
}

/// A living host gets one lease more than a silent one: its agent starts
/// services again by itself when a lease comes back.
fn patience(sight: &Sight) -> Millis {
    sight.timing.detection() + sight.timing.lease
}

/// How a feed is on one site: heard when any living host hears it, silent when
/// one says so, unknown when there are readings that cannot tell, `None`
/// without any. A silence is as long as the shortest one.
fn on_site<'a>(
    sight: &Sight,
    site: &'a SiteSight,
    feed: &ProbeName,
) -> Option<(&'a HostSight, &'a FeedSight)> {
    let alive = site.hosts.iter().filter(|host| sight.standing(host) == Standing::Alive);
    let readings = alive.flat_map(|host| host.feeds.iter().map(move |seen| (host, seen)));
    let rank = |state: FeedState| match state {
        FeedState::Hears => 0,
        FeedState::Silent => 1,
        FeedState::Unknown => 2,
    };
    readings
        .filter(|(_, seen)| seen.feed == *feed)
        .min_by_key(|(_, seen)| (rank(seen.state), seen.lasting))
}

/// The feeds that no living host of the active site hears and one knows to be silent.
fn silent_feeds<'a>(sight: &Sight, active: &'a SiteSight) -> Vec<&'a ProbeName> {
    let mut names: Vec<&ProbeName> =
        active.hosts.iter().flat_map(|host| host.feeds.iter().map(|seen| &seen.feed)).collect();
    names.sort();
    names.dedup();
    let silent = |feed: &&ProbeName| {
        on_site(sight, active, feed).is_some_and(|(_, seen)| seen.state == FeedState::Silent)
    };
    names.into_iter().filter(silent).collect()
}

/// C8: a feed that is silent everywhere is a closed market or a venue that is
/// down; only one that another site hears is the active site's own trouble.
fn of_feed(sight: &Sight, active: &SiteSight, feed: &ProbeName) -> Trouble {
    let Some((host, here)) = on_site(sight, active, feed) else { return Trouble::None };
    let (name, feed) = (host.host.clone(), feed.clone());
    let others = sight.sites.iter().filter(|site| site.site != active.site);
    let (mut heard_for, mut silent, mut unknown, mut words) = (None, false, false, Vec::new());
    for site in others {
        match on_site(sight, site, &feed) {
            Some((_, there)) => {
                match there.state {
                    FeedState::Hears => heard_for = heard_for.max(Some(there.lasting)),
                    FeedState::Silent => silent = true,
                    FeedState::Unknown => unknown = true,
                }
                words.push(format!("{}: {} ({})", site.site, there.state.word(), there.detail));
            }
            None => words.push(format!("{}: no reading", site.site)),
        }
    }
    // Both sites hear an opening market, one a moment before the other: the
    // silence counts only from when another site hears what is missed here.
    let lasting = heard_for.map_or(here.lasting, |heard| heard.min(here.lasting));
    let dwell_left = patience(sight).saturating_sub(lasting);
    if dwell_left > Millis::ZERO {
        return Trouble::NotYet(Reason::FeedFailing { feed, host: name, dwell_left });
    }
    if heard_for.is_some() {
        return certain(Cause::FeedSilent { host: name, feed }, here.lasting);
    }
    Trouble::NotYet(if silent && !unknown {
        Reason::MarketQuiet { feed }
    } else {
        Reason::FeedUnclear { feed, detail: words.join("; ") }
    })
}
