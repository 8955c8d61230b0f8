//! The dialling side: a tonic channel over our TLS, with the reason in words
//! when either side refuses.
//!
//! In TLS 1.3 a client is "connected" before the server has looked at its
//! certificate. So a dial here is done only when the server's first HTTP/2
//! frame has come, which it sends unasked: a refusal is then the dial's error
//! and not some later call's. Addresses are resolved anew at each dial.

use crate::{
    guard::{Guarded, Opened},
    identity::{Identity, RoleKind},
    refusal::{Refusal, Refused},
    server::{enter, log_refusal},
    socket,
    tls::{self, server_name},
    trust::Trust,
    verify::{Findings, PeerVerifier, Side},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::AsyncBufReadExt,
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

mod error;
pub use error::ConnectError;
use error::advice;

/// Who belongs at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub(crate) role: Option<RoleKind>,
    pub(crate) name: Option<String>,
}

impl Expected {
    /// Any member of the installation.
    pub(crate) const fn anyone() -> Self {
        Self { role: None, name: None }
    }

    /// Any holder of this role.
    #[must_use]
    pub const fn role(role: RoleKind) -> Self {
        Self { role: Some(role), name: None }
    }

    /// Any coordinator, the witness among them.
    #[must_use]
    pub const fn coordinator() -> Self {
        Self::role(RoleKind::Coordinator)
    }

    /// Nobody but the holder of this name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    pub(crate) fn check(&self, identity: &Identity) -> Result<(), Refusal> {
        if let Some(expected) = self.role
            && identity.role().kind() != expected
        {
            return Err(Refusal::WrongRole { expected, found: identity.to_string() });
        }
        match &self.name {
            Some(name) if name != identity.name() => {
                Err(Refusal::WrongName { expected: name.clone(), found: identity.to_string() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The bounds of a connection, from the side that dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// How long a dial may take: name, TCP, TLS, and the server's first frame.
    pub connect: Duration,
    /// How often an HTTP/2 ping asks whether the other side is there, also while idle.
    pub keepalive_interval: Duration,
    /// How long its answer may take before the connection is given up.
    pub keepalive_timeout: Duration,
    /// `TCP_USER_TIMEOUT`: how long sent data may stay unacknowledged.
    pub user_timeout: Duration,
    /// How long each call may take; none for channels that carry streams.
    pub call: Option<Duration>,
}

impl Default for Link {
    /// A cut is noticed within ten seconds. Lease traffic wants less (A4).
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(5),
            keepalive_timeout: Duration::from_secs(5),
            user_timeout: Duration::from_secs(10),
            call: None,
        }
    }
}

/// One dial: everything that the three steps need.
pub(crate) struct Dial {
    pub(crate) address: String,
    pub(crate) config: ClientConfig,
    pub(crate) whom: RoleKind,
    pub(crate) findings: Arc<Findings>,
    pub(crate) link: Link,
    pub(crate) advice: Box<dyn Fn(&Refused) -> String + Send + Sync>,
}

impl Dial {
    /// Name, TCP, TLS, and the server's first frame; refusals are logged.
    pub(crate) async fn run(self) -> Result<(TlsStream<TcpStream>, SocketAddr), ConnectError> {
        let deadline = Instant::now() + self.link.connect;
        let tcp =
            |error| ConnectError::Tcp { address: self.address.clone(), source: Arc::new(error) };
        let stream = timeout_at(deadline, TcpStream::connect(&self.address))
            .await
            .map_err(|_| self.slow("accept a TCP connection"))?
            .map_err(tcp)?;
        let remote = stream.peer_addr().map_err(tcp)?;
        socket::prepare(&stream, self.link.user_timeout);
        let name = ServerName::try_from(server_name(self.whom))
            .map_err(|error| ConnectError::Config { detail: error.to_string() })?;
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        let mut stream = timeout_at(deadline, connector.connect(name, stream))
            .await
            .map_err(|_| self.slow("finish the TLS handshake"))?
            .map_err(|error| self.failed(remote, &error))?;
        let ended = timeout_at(deadline, stream.fill_buf())
            .await
            .map_err(|_| self.slow("send its first frame"))?
            .map_err(|error| self.failed(remote, &error))?
            .is_empty();
        if ended {
            return Err(ConnectError::Closed { address: self.address });
        }
        Ok((stream, remote))
    }

    fn slow(&self, what: &'static str) -> ConnectError {
        ConnectError::Slow { address: self.address.clone(), what, limit: self.link.connect }
    }

    fn failed(&self, remote: SocketAddr, error: &io::Error) -> ConnectError {
        let address = self.address.clone();
        if let Some(turned) = self.findings.refusal() {
            log_refusal(remote, turned);
            return ConnectError::WeRefused { address, refusal: turned.1.clone() };
        }
        if let Some(refused) = Refused::find(error) {
            tracing::warn!(
                peer = %remote, dialled = %address, reason = %refused,
                "the {} refused our certificate", self.whom
            );
            let advice = (self.advice)(&refused);
            return ConnectError::TheyRefused { address, whom: self.whom, refused, advice };
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => ConnectError::Closed { address },
            _ => ConnectError::Tls { address, detail: error.to_string() },
        }
    }
}

async fn dial(
    trust: Trust,
    address: String,
    expected: Expected,
    link: Link,
) -> Result<Guarded<TlsStream<TcpStream>>, ConnectError> {
    let findings = Arc::new(Findings::default());
    let snapshot = trust.snapshot();
    let (own, identity) = (Arc::clone(&snapshot.own), snapshot.leaf.identity.clone());
    let whom = expected.role.unwrap_or(RoleKind::Coordinator);
    let verifier =
        PeerVerifier { snapshot, expected: expected.clone(), findings: Arc::clone(&findings) };
    let config = tls::client(own, Arc::new(verifier))
        .map_err(|error| ConnectError::Config { detail: error.to_string() })?;
    let advice = Box::new(move |refused: &Refused| advice(&identity, refused));
    let dial = Dial { address: address.clone(), config, whom, findings, link, advice };
    let (stream, remote) = dial.run().await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
    let opened = Opened { side: Side::Server, chain, expected, address: remote };
    match enter(&trust, opened) {
        Ok((_, guard)) => Ok(Guarded::new(stream, Some(guard))),
        Err(turned) => {
            log_refusal(remote, &turned);
            Err(ConnectError::WeRefused { address, refusal: turned.1 })
        }
    }
}

/// An address of the form `host:port`; IPv6 in brackets.
pub(crate) fn check_address(address: &str) -> Result<(), ConnectError> {
    let plausible = address.rsplit_once(':').is_some_and(|(host, port)| {
        let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        !host.is_empty() && !bare_v6 && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if plausible { Ok(()) } else { Err(ConnectError::Address { address: address.into() }) }
}

/// The endpoint that goes with [`Link`]. Its name is never resolved: the
/// connector knows where to go. The scheme says http because TLS is done by
/// the connector, underneath.
pub(crate) fn endpoint(link: &Link) -> Endpoint {
    let endpoint = Endpoint::from_static("http://coordinator.understudy.internal")
        .http2_keep_alive_interval(link.keepalive_interval)
        .keep_alive_timeout(link.keepalive_timeout)
        .keep_alive_while_idle(true);
    match link.call {
        Some(limit) => endpoint.timeout(limit),
        None => endpoint,
    }
}

/// Turns a dial into what tonic calls a connector, and connects with it.
pub(crate) async fn channel<F, D>(
    address: &str,
    link: &Link,
    mut dial: F,
) -> Result<Channel, ConnectError>
where
    F: FnMut() -> D + Send + 'static,
    D: Future<Output = Result<Guarded<TlsStream<TcpStream>>, ConnectError>> + Send + 'static,
{
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let dial = dial();
        async move { dial.await.map(TokioIo::new) }
    });
    endpoint(link).connect_with_connector(connector).await.map_err(|error| {
        crate::explain::find_connect_error(&error).cloned().unwrap_or_else(|| {
            let detail = crate::explain::explain(&error);
            ConnectError::Http2 { address: address.into(), detail }
        })
    })
}

/// Connects now. The channel dials again by itself when the connection is
/// lost, with the certificate and the trust of that moment; a call that meets
/// a failed dial gets a status that [`crate::explain_status`] puts into words.
///
/// # Errors
/// [`ConnectError`], in words with what to do.
pub async fn connect(
    trust: &Trust,
    address: &str,
    expected: &Expected,
    link: &Link,
) -> Result<Channel, ConnectError> {
    check_address(address)?;
    let (trust, to, expected, bounds) =
        (trust.clone(), address.to_owned(), expected.clone(), *link);
    channel(address, link, move || dial(trust.clone(), to.clone(), expected.clone(), bounds)).await
}

/// A channel that dials at its first call. Must be made inside a runtime.
///
/// # Errors
/// [`ConnectError::Address`] alone; the rest comes with the calls.
pub fn connect_lazy(
    trust: &Trust,
    address: &str,
    expected: &Expected,
    link: &Link,
) -> Result<Channel, ConnectError> {
    check_address(address)?;
    let (trust, to, expected, bounds) =
        (trust.clone(), address.to_owned(), expected.clone(), *link);
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let dial = dial(trust.clone(), to.clone(), expected.clone(), bounds);
        async move { dial.await.map(TokioIo::new) }
    });
    Ok(endpoint(link).connect_with_connector_lazy(connector))
}
