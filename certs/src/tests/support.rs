//! An installation with a listening coordinator, its log, and its clients.

use crate::*;
use std::{
    future::Future,
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::{Request, Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_client::HealthClient, health_server::HealthServer,
};

pub(super) const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Collects what this thread's tasks log; every test here runs on one thread.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(super) fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_env_filter("certs=info")
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Waits for a line with all of these parts.
    pub(super) async fn expect(&self, parts: &[&str]) {
        let found = || self.text().lines().any(|line| parts.iter().all(|p| line.contains(p)));
        assert!(wait_for(async || found()).await, "no line with {parts:?} in:\n{}", self.text());
    }
}

/// Polls a condition for at most five seconds.
pub(super) async fn wait_for(mut condition: impl AsyncFnMut() -> bool) -> bool {
    let end = tokio::time::Instant::now() + Duration::from_secs(5);
    while tokio::time::Instant::now() < end {
        if condition().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

/// An installation: its authority, and directories for credentials.
pub(super) struct Installation {
    pub(super) authority: Authority,
    dir: TempDir,
}

impl Installation {
    pub(super) fn new(name: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = Authority::create(name, now()).unwrap();
        Self { authority, dir: tempfile::tempdir().unwrap() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn identity(&self, role: Role, name: &str) -> Identity {
        Identity::new(self.authority.installation(), role, name).unwrap()
    }

    /// The credentials directory of a new member.
    pub(super) fn equip(&self, role: Role, name: &str) -> PathBuf {
        let dir = self.path(name);
        self.authority.equip(&dir, &self.identity(role, name), MONTH, now()).unwrap();
        dir
    }

    pub(super) fn member(&self, role: Role, name: &str) -> Trust {
        Trust::load(self.equip(role, name)).unwrap()
    }
}

pub(super) fn link() -> Link {
    Link { call: Some(Duration::from_secs(5)), ..Link::default() }
}

/// A coordinator that listens; ends with the test's runtime.
pub(super) struct Listening {
    pub(super) trust: Trust,
    pub(super) address: SocketAddr,
}

/// Serves the health service to agents alone.
pub(super) async fn serve(trust: Trust, limits: Limits) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = listen(listener, &trust, limits, std::future::pending());
    tokio::spawn(health(incoming, |request| {
        require(&request, "Check", &[Allow::Agents])?;
        Ok(request)
    }));
    Listening { trust, address }
}

/// Serves tonic's health service behind an interceptor.
pub(super) fn health<I: Clone + Send + Sync + Unpin + 'static>(
    incoming: Incoming<I>,
    check: fn(Request<()>) -> Result<Request<()>, Status>,
) -> impl Future<Output = ()> + Send {
    let (_, service) = tonic_health::server::health_reporter();
    let service: HealthServer<_> = service;
    let router = tonic::transport::Server::builder()
        .add_service(tonic::service::interceptor::InterceptedService::new(service, check));
    async move { router.serve_with_incoming(incoming).await.unwrap() }
}

impl Listening {
    pub(super) fn at(&self) -> String {
        self.address.to_string()
    }

    pub(super) async fn dial(&self, trust: &Trust) -> Result<Channel, ConnectError> {
        connect(trust, &self.at(), &Expected::coordinator(), &link()).await
    }
}

/// One call.
pub(super) async fn call(channel: &Channel) -> Result<(), Status> {
    let mut client = HealthClient::new(channel.clone());
    client.check(HealthCheckRequest { service: String::new() }).await.map(|_| ())
}

/// Calls until the refusal's words come: the first call may meet the old
/// connection while it ends.
pub(super) async fn expect_refusal(channel: &Channel, part: &str) {
    let mut words = String::new();
    let told = wait_for(async || {
        words = call(channel).await.map_or_else(|status| explain_status(&status), |()| "ok".into());
        words.contains(part)
    })
    .await;
    assert!(told, "expected {part:?}, got {words:?}");
}
