//! Emergency stops through the coordinators that are on their way to the disk: they
//! hold from the moment they are heard, and are told as taken up once they last.

use crate::emergency::{Stops, Taken, take_up};
use model::{GroupId, OrderId, StopDeed, StopOrder};
use std::{collections::BTreeMap, path::PathBuf};
use tokio::task::JoinHandle;

struct Coming {
    order: StopOrder,
    task: JoinHandle<()>,
}

/// What was heard, and what of it is durable.
pub(super) struct StopOrders {
    state_dir: PathBuf,
    durable: Stops,
    coming: BTreeMap<GroupId, Coming>,
}

impl StopOrders {
    /// Nothing was heard yet; what is taken up is written there.
    pub(super) fn new(state_dir: PathBuf) -> Self {
        Self { state_dir, durable: Stops::default(), coming: BTreeMap::new() }
    }

    /// The file as it is now.
    pub(super) fn heard(&mut self, stops: &Stops) {
        self.durable = stops.clone();
        self.coming.retain(|_, coming| stops.is_news(&coming.order));
    }

    /// Why a group must not run, before the disk knows.
    pub(super) fn why(&self, group: &GroupId) -> Option<String> {
        let order = &self.coming.get(group)?.order;
        (order.deed == StopDeed::Stop).then(|| {
            let more = if order.reason.is_empty() { "" } else { ": " };
            format!(
                "it is stopped in an emergency, by {} through the coordinators{more}{}",
                order.by, order.reason
            )
        })
    }

    /// The newest order of the group that was taken up and lasts.
    pub(super) fn taken_up(&self, group: &GroupId) -> Option<OrderId> {
        self.durable.orders.get(group).copied()
    }

    /// Takes up an order, unless it was, or is being; one that the disk did not take
    /// is tried again whenever it is told again.
    pub(super) fn begin(&mut self, order: &StopOrder) -> bool {
        let known = self.coming.get(&order.group);
        let at_work = known.is_some_and(|k| k.order.id == order.id && !k.task.is_finished());
        if at_work || !self.durable.is_news(order) {
            return false;
        }
        tracing::warn!(
            group = %order.group, by = order.by, reason = order.reason,
            release = order.deed == StopDeed::Release, "an emergency stop, or its release, is ordered"
        );
        let (doing, state_dir) = (order.clone(), self.state_dir.clone());
        let task = tokio::task::spawn_blocking(move || match take_up(&state_dir, &doing) {
            Ok(Taken::StaysStopped) => tracing::warn!(
                group = %doing.group, "released by the coordinators, and still stopped on this host: \
                 understudy-agent emergency-stop --release"
            ),
            Ok(taken) => tracing::warn!(group = %doing.group, ?taken, "it is durable"),
            Err(error) => tracing::error!(
                group = %doing.group, %error,
                "it is not durable: a stop holds until this agent ends, a release does not count"
            ),
        });
        self.coming.insert(order.group.clone(), Coming { order: order.clone(), task });
        true
    }
}
