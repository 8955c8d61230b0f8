//! The listening side: accepts, shakes hands, and hands whole connections to
//! tonic's `serve_with_incoming`.
//!
//! Each handshake runs in its own task with a deadline, so that one slow peer
//! holds up nobody; both handshakes and connections are bounded in number.

use crate::{
    certificate::Leaf,
    client::Expected,
    guard::{Guard, Guarded, Opened},
    identity::Identity,
    peer::Peer,
    refusal::{Refusal, Refused, chain},
    socket, tls,
    trust::Trust,
    verify::{Findings, PeerVerifier, Side},
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, UnixTime},
};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::transport::server::Connected;

/// How many finished handshakes may wait for tonic to take them.
const QUEUE: usize = 16;

/// How long to wait after a failed `accept` (out of file descriptors, in
/// practice) before the next, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long, and how much, a refused peer's last words are read. Closing with
/// unread data would make the kernel send a reset, which may overtake the alert.
const LINGER: Duration = Duration::from_millis(300);
const LINGER_BYTES: u64 = 64 * 1024;

/// The bounds of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most connections open at a time; further ones are closed at once.
    pub connections: usize,
    /// Most handshakes under way at a time; further ones wait in the kernel's queue.
    pub handshakes: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// `TCP_USER_TIMEOUT`: how long sent data may stay unacknowledged.
    pub user_timeout: Duration,
}

impl Default for Limits {
    /// For up to twenty hosts with a few connections each, three coordinators
    /// and some operators, several times over.
    fn default() -> Self {
        Self {
            connections: 512,
            handshakes: 64,
            handshake: Duration::from_secs(5),
            user_timeout: Duration::from_secs(20),
        }
    }
}

/// An accepted connection; requests on it carry `I` in their extensions.
pub struct Connection<I> {
    stream: Guarded<TlsStream<TcpStream>>,
    info: I,
    /// Given back when the connection is dropped.
    _place: OwnedSemaphorePermit,
}

impl<I: Clone + Send + Sync + 'static> Connected for Connection<I> {
    type ConnectInfo = I;

    fn connect_info(&self) -> I {
        self.info.clone()
    }
}

impl<I: Unpin> AsyncRead for Connection<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<I: Unpin> AsyncWrite for Connection<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The accepted connections, for `serve_with_incoming`. Ends at shutdown.
pub struct Incoming<I>(ReceiverStream<io::Result<Connection<I>>>);

impl<I> Stream for Incoming<I> {
    type Item = io::Result<Connection<I>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx)
    }
}

/// Who was refused, if it could be read, and why.
pub(crate) type Turned = (Option<Identity>, Refusal);

/// What differs between the listeners: whom they let in.
pub(crate) trait Door: Send + Sync + 'static {
    /// What requests carry.
    type Info: Clone + Send + Sync + 'static;

    /// The configuration of one handshake.
    fn config(&self, findings: &Arc<Findings>) -> Result<ServerConfig, rustls::Error>;

    /// The last word, after the handshake.
    fn admit(
        &self,
        chain: &[CertificateDer<'static>],
        address: SocketAddr,
    ) -> Result<(Self::Info, Option<Guard>), Turned>;
}

/// The door of agents, coordinators and operators.
struct Members {
    trust: Trust,
}

impl Door for Members {
    type Info = Arc<Peer>;

    fn config(&self, findings: &Arc<Findings>) -> Result<ServerConfig, rustls::Error> {
        let snapshot = self.trust.snapshot();
        let own = Arc::clone(&snapshot.own);
        let (expected, findings) = (Expected::anyone(), Arc::clone(findings));
        tls::server(own, Arc::new(PeerVerifier { snapshot, expected, findings }))
    }

    fn admit(
        &self,
        chain: &[CertificateDer<'static>],
        address: SocketAddr,
    ) -> Result<(Self::Info, Option<Guard>), Turned> {
        let opened = Opened {
            side: Side::Client,
            chain: chain.to_vec(),
            expected: Expected::anyone(),
            address,
        };
        let (peer, guard) = enter(&self.trust, opened)?;
        Ok((peer, Some(guard)))
    }
}

/// Registers a connection, and asks the trust of this moment once more.
pub(crate) fn enter(trust: &Trust, opened: Opened) -> Result<(Arc<Peer>, Guard), Turned> {
    let (chain, side, expected) = (opened.chain.clone(), opened.side, opened.expected.clone());
    let Some((first, rest)) = chain.split_first() else {
        return Err((None, Refusal::NoCertificate));
    };
    let leaf = Leaf::of(first).map_err(|error| (None, error.into()))?;
    let (peer, guard) = trust.register().enter(opened, &leaf);
    match trust.snapshot().admit(side, first, rest, UnixTime::now(), &expected) {
        Ok(_) => Ok((peer, guard)),
        Err(why) => Err((Some(leaf.identity), why)),
    }
}

/// Accepts members of the installation until `shutdown` ends. Requests carry
/// an `Arc<Peer>`: see [`crate::peer`] and [`crate::require`].
pub fn listen(
    listener: TcpListener,
    trust: &Trust,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Incoming<Arc<Peer>> {
    open(listener, Members { trust: trust.clone() }, limits, shutdown)
}

pub(crate) fn open<D: Door>(
    listener: TcpListener,
    door: D,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Incoming<D::Info> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(accept_loop(listener, Arc::new(door), limits, shutdown, sender));
    Incoming(ReceiverStream::new(receiver))
}

type Sender<I> = mpsc::Sender<io::Result<Connection<I>>>;

async fn accept_loop<D: Door>(
    listener: TcpListener,
    door: Arc<D>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
    sender: Sender<D::Info>,
) {
    let handshakes = Arc::new(Semaphore::new(limits.handshakes));
    let places = Arc::new(Semaphore::new(limits.connections));
    tokio::pin!(shutdown);
    loop {
        // A permit first: what is not accepted waits in the kernel's queue.
        let next = async {
            let permit = Arc::clone(&handshakes).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut shutdown => return,
            () = sender.closed() => return,
            next = next => next,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let most = limits.connections;
            tracing::warn!(peer = %address, most, "closed a new connection: too many are open");
            continue;
        };
        socket::prepare(&stream, limits.user_timeout);
        let (door, sender) = (Arc::clone(&door), sender.clone());
        tokio::spawn(async move {
            let limit = limits.handshake;
            match tokio::time::timeout(limit, shake(door.as_ref(), stream, address)).await {
                Ok(None) => {}
                Ok(Some((stream, info))) => {
                    drop(permit);
                    let connection = Connection { stream, info, _place: place };
                    // Fails only when the server has gone, and then nobody minds.
                    let _ = sender.send(Ok(connection)).await;
                }
                Err(_) => {
                    let limit = model::Millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
                    tracing::warn!(peer = %address, %limit, "gave up a TLS handshake: too slow");
                }
            }
        });
    }
}

/// One handshake, told in the log when it fails.
async fn shake<D: Door>(
    door: &D,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<(Guarded<TlsStream<TcpStream>>, D::Info)> {
    let findings = Arc::new(Findings::default());
    let config = match door.config(&findings) {
        Ok(config) => Arc::new(config),
        Err(error) => {
            tracing::error!(%error, "our own TLS configuration is unusable");
            return None;
        }
    };
    let stream = match TlsAcceptor::from(config).accept(stream).into_fallible().await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            log_failure(address, &findings, &error);
            linger(stream).await;
            return None;
        }
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    match door.admit(chain, address) {
        Ok((info, guard)) => Some((Guarded::new(stream, guard), info)),
        Err(turned) => {
            log_refusal(address, &turned);
            None
        }
    }
}

pub(crate) fn log_refusal(address: SocketAddr, (whom, why): &Turned) {
    match whom {
        Some(identity) => {
            tracing::warn!(peer = %address, %identity, reason = %why, "refused a connection");
        }
        None => tracing::warn!(peer = %address, reason = %why, "refused a connection"),
    }
}

fn log_failure(address: SocketAddr, findings: &Findings, error: &io::Error) {
    if let Some(turned) = findings.refusal() {
        return log_refusal(address, turned);
    }
    if let Some(reason) = Refused::find(error) {
        tracing::warn!(peer = %address, %reason, "a dialler refused our certificate");
        return;
    }
    let tls = chain(error).find_map(|link| link.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::NoCertificatesPresented) => {
            log_refusal(address, &(None, Refusal::NoCertificate));
        }
        Some(other) => tracing::warn!(peer = %address, reason = %other, "a TLS handshake failed"),
        // Port scanners and load balancers' checks do this all day.
        None => tracing::info!(peer = %address, %error, "a connection ended before its handshake"),
    }
}

/// Lets the alert arrive: see [`LINGER`].
async fn linger(mut stream: TcpStream) {
    let drain = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // Whatever happens now, the connection ends.
    let _ = tokio::time::timeout(LINGER, drain).await;
}
