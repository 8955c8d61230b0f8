//! Whether something answers at an address: a TCP connection is made and closed.
//! No ping: what a restore or a promise needs is a port, not a host.

use super::{Finding, Slot, TcpConfig, count, millis};
use model::Verdict;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};

pub(super) struct Tcp {
    config: TcpConfig,
    limit: Duration,
}

impl Tcp {
    pub(super) const fn new(config: TcpConfig, limit: Duration) -> Self {
        Self { config, limit }
    }

    pub(super) async fn run(self, slot: Arc<Slot>, every: Duration) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            slot.publish(self.find().await);
        }
    }

    async fn find(&self) -> Finding {
        let (address, limit) = (&self.config.address, millis(self.limit));
        let began = Instant::now();
        match timeout(self.limit, TcpStream::connect(address.as_str())).await {
            Ok(Ok(_closed)) => {
                let took = millis(began.elapsed());
                Finding::new(
                    Verdict::Ok,
                    format!("{address} answers after {took} (within {limit})"),
                )
                .measure("connect_ms", count(took.0))
            }
            Ok(Err(error)) => {
                Finding::new(Verdict::Critical, format!("{address} cannot be reached: {error}"))
            }
            Err(_) => {
                Finding::new(Verdict::Critical, format!("{address} did not answer within {limit}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(address: String, limit: Duration) -> Finding {
        Tcp::new(TcpConfig { address }, limit).find().await
    }

    #[tokio::test]
    async fn what_listens_is_reached_and_what_does_not_is_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let limit = Duration::from_secs(5);
        let there = found(address.clone(), limit).await;
        assert_eq!(there.verdict, Verdict::Ok, "{}", there.summary);
        assert!(there.measures.contains_key("connect_ms"));
        drop(listener);
        let gone = found(address, limit).await;
        assert_eq!(gone.verdict, Verdict::Critical);
        assert!(gone.summary.contains("cannot be reached"), "{}", gone.summary);
        let nameless = found("nowhere.invalid:1".into(), limit).await;
        assert_eq!(nameless.verdict, Verdict::Critical, "{}", nameless.summary);
    }
}
