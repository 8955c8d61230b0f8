//! Which other site could take over, and what stands against each.

use super::Reason;
use crate::{
    feed::READING_MAX,
    sight::{Sight, SiteSight},
    suspicion::Standing,
};
use alloc::{
    format,
    string::{String, ToString},
};
use model::SiteId;

/// The first other site, in the policy's order, that could serve with data as
/// new as the policy demands.
pub(super) fn target(sight: &Sight, active: &SiteSight) -> Result<SiteId, Reason> {
    let (mut why, mut behind) = (String::new(), false);
    for site in sight.sites.iter().filter(|site| site.site != active.site) {
        let provable = || sight.unprovable(active, site).map_or(Ok(()), Err);
        let refusal = match could_serve(sight, site).and_then(|()| provable()) {
            Err(refusal) => refusal,
            Ok(()) => match data_ready(sight, site) {
                Ok(()) => return Ok(site.site.clone()),
                Err(refusal) => {
                    behind = true;
                    refusal
                }
            },
        };
        let gap = if why.is_empty() { "" } else { "; " };
        why = format!("{why}{gap}{}: {refusal}", site.site);
    }
    Err(if behind { Reason::DataBehind(why) } else { Reason::NoTarget(why) })
}

/// Whether every host of `site` is heard, declares what the group expects of it,
/// can tell how it stands, and has left every older epoch behind.
///
/// # Errors
/// The first thing that stands against it, in words.
pub(crate) fn could_serve(sight: &Sight, site: &SiteSight) -> Result<(), String> {
    for host in &site.hosts {
        let standing = sight.standing(host);
        if standing != Standing::Alive {
            return Err(format!("host {} is {}", host.host, standing.word()));
        }
        if let Some(service) = host.undeclared.first() {
            return Err(format!("agent.toml on {} does not declare {service}", host.host));
        }
        if let Some((service, why)) = host.unknown.first() {
            return Err(format!("{service} on {} is unknown: {why}", host.host));
        }
        if let Some(why) = &host.barred {
            return Err(format!("host {} may not be active: {why}", host.host));
        }
        if let Some(why) = &host.stale {
            return Err(format!("host {} is of a stale epoch: {why}", host.host));
        }
    }
    Ok(())
}

/// Whether the data of `site` is as new as the policy demands for an automatic
/// failover (C5): every watermark of its hosts known, fresh, and within the limit.
///
/// # Errors
/// The first thing that stands against it, in words.
pub(crate) fn data_ready(sight: &Sight, site: &SiteSight) -> Result<(), String> {
    let Some(most) = sight.max_data_lag else { return Ok(()) };
    let mut any = false;
    for host in &site.hosts {
        for data in &host.data {
            any = true;
            let (probe, name) = (&data.probe, &host.host);
            if data.age > READING_MAX {
                return Err(format!(
                    "watermark {probe} on {name} is {} old, more than {READING_MAX}",
                    data.age
                ));
            }
            match data.lag {
                None => {
                    return Err(format!(
                        "watermark {probe} on {name} cannot tell: {}",
                        data.detail
                    ));
                }
                Some(lag) if lag > most => {
                    return Err(format!(
                        "{probe} on {name} lags {lag} behind, max_data_lag is {most}"
                    ));
                }
                Some(_) => {}
            }
        }
    }
    match any {
        true => Ok(()),
        false => Err("no watermark is reported there, and max_data_lag asks for one".to_string()),
    }
}
