//! Open connections by peer, so that a revocation, a change of the trusted
//! authorities, or the end of a certificate closes them: TLS itself asks once.
//!
//! Invariant: a connection is in the register from before its first byte of
//! data until it is dropped, and was admitted by the trust of some moment
//! after it entered; so no change of the trust can slip between.

use crate::{
    certificate::Leaf,
    client::Expected,
    peer::Peer,
    refusal::Refusal,
    trust::Snapshot,
    verify::{Side, wall},
};
use rustls::pki_types::{CertificateDer, UnixTime};
use std::{
    collections::HashMap,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

/// What is known of an open connection.
pub(crate) struct Opened {
    pub(crate) side: Side,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) expected: Expected,
    pub(crate) address: SocketAddr,
}

struct Entry {
    opened: Opened,
    peer: Arc<Peer>,
    close: oneshot::Sender<Refusal>,
}

#[derive(Default)]
struct Entries {
    next: u64,
    open: HashMap<u64, Entry>,
}

/// How closely a sweep looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// The trust changed: every chain is verified again.
    Verify,
    /// Time passed: only the ends of the certificates are looked at.
    Ends,
}

/// The register of open connections, both directions.
#[derive(Default)]
pub(crate) struct Register(Mutex<Entries>);

impl std::fmt::Debug for Register {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Register").field("open", &self.len()).finish()
    }
}

impl Register {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Nothing in here panics half way through a change, so the data is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> usize {
        self.entries().open.len()
    }

    /// Enters a connection whose handshake is done. The caller admits the peer
    /// by the *current* trust once more afterwards; see the module's invariant.
    pub(crate) fn enter(self: &Arc<Self>, opened: Opened, leaf: &Leaf) -> (Arc<Peer>, Guard) {
        let peer = Arc::new(Peer {
            identity: leaf.identity.clone(),
            serial: leaf.serial.clone(),
            not_after: leaf.not_after,
            address: opened.address,
        });
        let (close, closed) = oneshot::channel();
        let mut entries = self.entries();
        let id = entries.next;
        entries.next += 1;
        entries.open.insert(id, Entry { opened, peer: Arc::clone(&peer), close });
        drop(entries);
        (peer, Guard { register: Arc::clone(self), id, state: GuardState::Open(closed) })
    }

    /// Closes every connection whose peer this trust does not admit any more.
    pub(crate) fn sweep(&self, snapshot: &Snapshot, how: Sweep) {
        let now = UnixTime::now();
        let judge = |entry: &Entry| -> Option<Refusal> {
            let (since, now_wall) = (entry.peer.not_after, wall(now));
            match (how, entry.opened.chain.split_first()) {
                (_, None) => Some(Refusal::NoCertificate),
                (Sweep::Ends, Some(_)) => {
                    (since < now_wall).then_some(Refusal::Expired { since, now: now_wall })
                }
                (Sweep::Verify, Some((first, rest))) => {
                    let Opened { side, expected, .. } = &entry.opened;
                    snapshot.admit(*side, first, rest, now, expected).err()
                }
            }
        };
        let closing: Vec<(Entry, Refusal)> = {
            let mut entries = self.entries();
            let refused: Vec<(u64, Refusal)> = entries
                .open
                .iter()
                .filter_map(|(id, entry)| judge(entry).map(|why| (*id, why)))
                .collect();
            refused
                .into_iter()
                .filter_map(|(id, why)| entries.open.remove(&id).map(|entry| (entry, why)))
                .collect()
        };
        for (entry, why) in closing {
            let Entry { peer, close, .. } = entry;
            tracing::warn!(
                peer = %peer.address, identity = %peer.identity, serial = %peer.serial,
                reason = %why, "closed an open connection"
            );
            // Gone already, when nobody listens any more.
            let _ = close.send(why);
        }
    }
}

enum GuardState {
    Open(oneshot::Receiver<Refusal>),
    Closed(Refusal),
}

/// A connection's place in the register.
pub(crate) struct Guard {
    register: Arc<Register>,
    id: u64,
    state: GuardState,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.register.entries().open.remove(&self.id);
    }
}

impl Guard {
    fn closed(why: &Refusal) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, format!("closed by us: {why}"))
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let receiver = match &mut self.state {
            GuardState::Closed(why) => return Err(Self::closed(why)),
            GuardState::Open(receiver) => receiver,
        };
        match Pin::new(receiver).poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(told) => {
                // The sender sits in the register until it has spoken, or this
                // guard is dropped; should it vanish, closing is the safe side.
                let why = told.unwrap_or(Refusal::Other { detail: "unregistered".into() });
                let error = Self::closed(&why);
                self.state = GuardState::Closed(why);
                Err(error)
            }
        }
    }
}

/// A stream that ends when the register closes it. Reading and writing belong
/// to one task, as they do in HTTP/2.
pub(crate) struct Guarded<S> {
    stream: S,
    guard: Option<Guard>,
}

impl<S> Guarded<S> {
    pub(crate) const fn new(stream: S, guard: Option<Guard>) -> Self {
        Self { stream, guard }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.guard.as_mut().map_or(Ok(()), |guard| guard.check(cx))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
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
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
