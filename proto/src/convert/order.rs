//! Orders for a host and what came of them.

use super::{WireError, missing, named, text, unknown};
use crate::v1;
use model::{
    GroupId, HostDeed, HostOrder, IsolationProfile, Millis, OrderId, OrderOutcome, StopDeed,
    StopOrder, Wall,
};

impl From<HostOrder> for v1::HostOrder {
    fn from(order: HostOrder) -> Self {
        use v1::host_order::Deed as Wire;
        let deed = match order.deed {
            HostDeed::Isolate { profile, span, force } => {
                let profile = match profile {
                    IsolationProfile::Breach => v1::IsolationProfile::Breach,
                    IsolationProfile::EgressBlock => v1::IsolationProfile::EgressBlock,
                };
                let for_ms = span.map(|span| span.0);
                Wire::Isolate(v1::Isolate { profile: profile.into(), for_ms, force })
            }
            HostDeed::Confirm => Wire::Confirm(v1::ConfirmIsolation {}),
            HostDeed::Release => Wire::Release(v1::ReleaseIsolation {}),
        };
        Self {
            number: order.id.number,
            at_unix_ms: order.id.at.0,
            by: order.by,
            reason: order.reason,
            deed: Some(deed),
        }
    }
}

impl TryFrom<v1::HostOrder> for HostOrder {
    type Error = WireError;
    fn try_from(order: v1::HostOrder) -> Result<Self, WireError> {
        use v1::host_order::Deed as Wire;
        let deed = match order.deed.ok_or(missing("HostOrder", "deed"))? {
            Wire::Isolate(isolate) => {
                let profile = match v1::IsolationProfile::try_from(isolate.profile) {
                    Ok(v1::IsolationProfile::Breach) => IsolationProfile::Breach,
                    Ok(v1::IsolationProfile::EgressBlock) => IsolationProfile::EgressBlock,
                    Ok(v1::IsolationProfile::Unspecified) | Err(_) => {
                        return Err(unknown("Isolate", "profile", isolate.profile));
                    }
                };
                let span = isolate.for_ms.map(Millis);
                HostDeed::Isolate { profile, span, force: isolate.force }
            }
            Wire::Confirm(_) => HostDeed::Confirm,
            Wire::Release(_) => HostDeed::Release,
        };
        Ok(Self {
            id: OrderId { number: order.number, at: Wall(order.at_unix_ms) },
            deed,
            by: text(order.by),
            reason: text(order.reason),
        })
    }
}

impl From<StopOrder> for v1::StopOrder {
    fn from(order: StopOrder) -> Self {
        Self {
            number: order.id.number,
            at_unix_ms: order.id.at.0,
            by: order.by,
            reason: order.reason,
            group: order.group.into(),
            release: order.deed == StopDeed::Release,
        }
    }
}

impl TryFrom<v1::StopOrder> for StopOrder {
    type Error = WireError;
    fn try_from(order: v1::StopOrder) -> Result<Self, WireError> {
        Ok(Self {
            id: OrderId { number: order.number, at: Wall(order.at_unix_ms) },
            group: named("StopOrder", GroupId::new(order.group))?,
            deed: if order.release { StopDeed::Release } else { StopDeed::Stop },
            by: text(order.by),
            reason: text(order.reason),
        })
    }
}

impl From<OrderOutcome> for v1::OrderOutcome {
    fn from(outcome: OrderOutcome) -> Self {
        Self {
            number: outcome.id.number,
            at_unix_ms: outcome.id.at.0,
            done: outcome.done,
            detail: outcome.detail,
        }
    }
}

impl From<v1::OrderOutcome> for OrderOutcome {
    fn from(outcome: v1::OrderOutcome) -> Self {
        Self {
            id: OrderId { number: outcome.number, at: Wall(outcome.at_unix_ms) },
            done: outcome.done,
            detail: text(outcome.detail),
        }
    }
}
