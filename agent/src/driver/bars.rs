//! What somebody on this host decided, whatever coordinators say: that it must
//! not be active.

use super::{Driver, Sources, now};
use crate::{
    emergency::Stops,
    isolation::{Profile, Standing},
};
use model::{HostOrder, Mono, StopOrder};

impl Driver {
    pub(super) fn on_bars(&mut self, sources: &mut Sources) {
        let stops = sources.stops.borrow_and_update().clone();
        let isolation = sources.isolation.borrow_and_update().clone();
        self.on_barred(&isolation, &stops, now());
    }

    /// What was stopped in an emergency stays so until it is released.
    /// A host that is broken into must not trade: under `breach` every group gives
    /// up its lease, and coordinators see its services stopped. With its way out
    /// blocked alone it keeps the lease, and a person decides.
    pub(super) fn on_barred(&mut self, isolation: &Standing, stops: &Stops, now: Mono) {
        self.stops.heard(stops);
        let confirmed = if isolation.confirmed { "" } else { ", not confirmed" };
        self.isolation = match isolation.profile {
            None => String::new(),
            Some(profile) => format!("{profile}{confirmed}, {}", isolation.words),
        };
        let why = match isolation.profile {
            Some(Profile::Breach) => format!("it is isolated after a breach, {}", isolation.words),
            Some(Profile::EgressBlock) | None => String::new(),
        };
        for group in self.groups.values_mut() {
            let stop = stops.why(&group.name).or_else(|| self.stops.why(&group.name));
            group.stopped = stop.is_some();
            let both = [stop, Some(why.clone()).filter(|why| !why.is_empty())];
            group.bar(both.into_iter().flatten().collect::<Vec<_>>().join("; "), now);
        }
        // A session that began before proves nothing of what gets through now.
        if isolation.profile.is_some() && !self.isolated {
            self.redialled = self.peers.redial();
        }
        self.isolated = isolation.profile.is_some();
        self.order.clone_from(&isolation.order);
        self.beat.want();
    }

    /// Emergency stops through the coordinators: the gate closes and what is exclusive
    /// is stopped at once, kill first (A3), while the disk follows.
    pub(super) fn on_stops(&mut self, orders: Vec<StopOrder>) {
        for order in orders {
            if !self.stops.begin(&order) {
                continue;
            }
            let why = self.stops.why(&order.group);
            let group = self.groups.get_mut(&order.group);
            if let Some((why, group)) = why.zip(group) {
                group.stopped = true;
                if group.barred.is_empty() {
                    group.bar(why, now());
                }
            }
            self.beat.want();
        }
    }

    /// An operator's order for this host: carried out once, on a thread of its
    /// own, because it takes as long as `nft` and names do. The keeper tells what
    /// came of it.
    pub(super) fn on_order(&mut self, peer: usize, order: HostOrder) {
        let known = self.order.as_ref().is_some_and(|outcome| outcome.id == order.id);
        if known || self.ordered == Some(order.id) {
            return;
        }
        self.ordered = Some(order.id);
        let (host, anew) = (self.isolate.clone(), self.isolated && peer > self.redialled);
        tracing::warn!(by = order.by, what = order.deed.word(), reason = order.reason, "ordered");
        tokio::task::spawn_blocking(move || match host.carry_out(&order, anew) {
            Ok(outcome) => tracing::warn!(
                what = order.deed.word(),
                done = outcome.done,
                detail = outcome.detail,
                "an order for this host was taken up"
            ),
            Err(error) => tracing::error!(
                what = order.deed.word(), %error,
                "what came of an order is not saved, and nobody is told; order it again"
            ),
        });
    }
}
