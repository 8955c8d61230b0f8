//! What this process trusts and shows: its own certificate, the authorities,
//! the revoked serials. One handle, cheap to clone; everything reloads as one.
//!
//! Invariants: every handshake sees one whole snapshot; a snapshot that cannot
//! be built leaves the one before it in place; after a swap no connection
//! stays open whose peer the new snapshot would refuse.

use crate::{
    certificate::{Leaf, LeafError, certificates},
    client::Expected,
    digest::Fingerprint,
    explain::explain,
    guard::{Register, Sweep},
    identity::Identity,
    refusal::date,
    store::{Stamps, Store, StoreError, checked_revoked},
    tls,
    verify::Side,
};
use arc_swap::ArcSwap;
use model::Wall;
use rustls::{
    RootCertStore,
    client::WebPkiServerVerifier,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Most authorities in `authority.pem`: the present one, its successor, and
/// room; the enrolment port presents them all to strangers.
const AUTHORITIES_MAX: usize = 8;

/// How long before its end an own certificate is complained about: time
/// enough for an operator to come back from a holiday.
const COMPLAIN_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Shortest interval at which [`Trust::watch`] looks at the files.
const WATCH_MIN: Duration = Duration::from_millis(10);

/// The wall clock of this machine.
#[must_use]
pub fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Why the trust cannot be loaded, or changed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The credentials directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `authority.pem` or `identity.pem` holds something else.
    #[error("{} is not usable; run the `enroll` command of this program again", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: LeafError,
    },
    /// None or too many authorities.
    #[error("{} holds {count} authorities; expected 1 to {AUTHORITIES_MAX}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// rustls does not take it.
    #[error("the credentials in {} are not usable for TLS", dir.display())]
    Tls {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// rustls does not take an authority.
    #[error("an authority in {} is not usable for TLS", path.display())]
    Verifier {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::client::VerifierBuilderError,
    },
}

/// The trust of one moment.
#[derive(Clone)]
pub(crate) struct Snapshot {
    /// Our own certificate, as read.
    pub(crate) leaf: Leaf,
    /// Our chain with its key.
    pub(crate) own: Arc<CertifiedKey>,
    /// Our chain followed by the authorities, for those who do not have them yet.
    pub(crate) own_with_roots: Arc<CertifiedKey>,
    /// Verifies chains of those who dial us.
    pub(crate) clients: Arc<dyn ClientCertVerifier>,
    /// Verifies chains of those whom we dial.
    pub(crate) servers: Arc<WebPkiServerVerifier>,
    /// Revoked serials with the reason of each.
    pub(crate) revoked: Arc<BTreeMap<String, String>>,
    authorities: Arc<[Fingerprint]>,
    authorities_pem: Arc<str>,
    stamps: Stamps,
}

impl fmt::Debug for Snapshot {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}

impl Snapshot {
    fn load(store: &Store) -> Result<Self, TrustError> {
        // Before the files are read: a change in between is then seen as one.
        let stamps = store.stamps();
        let credentials = store.load()?;
        let revoked = store.load_revoked()?;
        let unusable = |name: &str| {
            let path = store.dir().join(name);
            move |source| TrustError::Certificate { path, source }
        };
        let leaf = Leaf::of_pem(&credentials.identity_pem).map_err(unusable("identity.pem"))?;
        let chain = certificates(&credentials.identity_pem).map_err(unusable("identity.pem"))?;
        let roots = certificates(&credentials.authority_pem).map_err(unusable("authority.pem"))?;
        if roots.is_empty() || roots.len() > AUTHORITIES_MAX {
            let path = store.dir().join("authority.pem");
            return Err(TrustError::Authorities { path, count: roots.len() });
        }
        let tls = |source| TrustError::Tls { dir: store.dir().to_path_buf(), source };
        let key = PrivateKeyDer::from_pem_slice(credentials.key_pem.as_bytes())
            .map_err(|error| tls(rustls::Error::General(error.to_string())))?;
        let (clients, servers) = verifiers(store, &roots)?;
        let with_roots: Vec<CertificateDer<'static>> =
            chain.iter().chain(&roots).cloned().collect();
        Ok(Self {
            leaf,
            own: tls::certified(chain, key.clone_key()).map_err(tls)?,
            own_with_roots: tls::certified(with_roots, key).map_err(tls)?,
            clients,
            servers,
            revoked: Arc::new(revoked),
            authorities: roots.iter().map(|root| Fingerprint::of(root)).collect(),
            authorities_pem: credentials.authority_pem.into(),
            stamps,
        })
    }

    /// Says it early when the peers will refuse us, or soon will.
    fn complain(&self) {
        let identity = &self.leaf.identity;
        let Some((first, rest)) = self.own.cert.split_first() else { return };
        let own = self.admit(Side::Client, first, rest, UnixTime::now(), &Expected::anyone());
        let left = self.leaf.not_after.since(now()).to_duration();
        if let Err(reason) = own {
            tracing::warn!(%identity, %reason, "peers will refuse our own certificate; enrol again");
        } else if left < COMPLAIN_BEFORE {
            let ends = date(self.leaf.not_after);
            tracing::warn!(%identity, %ends, "our own certificate ends soon; enrol again before");
        }
    }
}

type Verifiers = (Arc<dyn ClientCertVerifier>, Arc<WebPkiServerVerifier>);

fn verifiers(store: &Store, roots: &[CertificateDer<'static>]) -> Result<Verifiers, TrustError> {
    let mut anchors = RootCertStore::empty();
    for root in roots {
        anchors
            .add(root.clone())
            .map_err(|source| TrustError::Tls { dir: store.dir().to_path_buf(), source })?;
    }
    let anchors = Arc::new(anchors);
    let path = store.dir().join("authority.pem");
    let failed = |source| TrustError::Verifier { path: path.clone(), source };
    let provider = || Arc::clone(tls::provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&anchors), provider())
        .build()
        .map_err(failed)?;
    let servers =
        WebPkiServerVerifier::builder_with_provider(anchors, provider()).build().map_err(failed)?;
    Ok((clients, servers))
}

struct Inner {
    store: Store,
    current: ArcSwap<Snapshot>,
    register: Arc<Register>,
    /// Held while the snapshot is replaced, so that two changes do not lose one.
    changing: Mutex<()>,
}

/// What this process trusts and shows. Clones share one state.
#[derive(Clone)]
pub struct Trust(Arc<Inner>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trust").field(&self.snapshot()).finish()
    }
}

impl Trust {
    /// Loads a credentials directory.
    ///
    /// An own certificate that peers will refuse (expired, of another
    /// authority) loads all the same, with a warning: the refusal then tells.
    ///
    /// # Errors
    /// [`TrustError`] names the file and the fix.
    pub fn load(dir: impl Into<PathBuf>) -> Result<Self, TrustError> {
        let store = Store::at(dir);
        let snapshot = Snapshot::load(&store)?;
        snapshot.complain();
        Ok(Self(Arc::new(Inner {
            store,
            current: ArcSwap::from_pointee(snapshot),
            register: Arc::default(),
            changing: Mutex::new(()),
        })))
    }

    /// Loads the directory again and closes the connections whose peers are
    /// not admitted any more. Reads files: not for an async task.
    ///
    /// # Errors
    /// [`TrustError`]; the trust then stays as it was.
    pub fn reload(&self) -> Result<(), TrustError> {
        let changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = Snapshot::load(&self.0.store)?;
        snapshot.complain();
        self.swap(snapshot);
        drop(changing);
        Ok(())
    }

    fn swap(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        self.0.current.store(Arc::clone(&snapshot));
        self.0.register.sweep(&snapshot, Sweep::Verify);
    }

    /// Replaces the revoked serials (with the reason of each), stores them in
    /// `revoked.json`, and closes the connections of those who hold one.
    /// Writes and syncs a file: not for an async task.
    ///
    /// # Errors
    /// A serial that is none or too many of them: nothing changes. A file that
    /// cannot be written: the list holds all the same until the next restart.
    pub fn set_revoked(&self, revoked: BTreeMap<String, String>) -> Result<(), TrustError> {
        let revoked = checked_revoked(revoked)?;
        let changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot();
        if *before.revoked == revoked {
            return Ok(());
        }
        let written = self.0.store.save_revoked(&revoked);
        let mut after = Snapshot::clone(&before);
        after.revoked = Arc::new(revoked);
        if written.is_ok() {
            // Our own write is no news to `watch`; a change of the others still is.
            let [authority, identity, key, _] = before.stamps;
            let [_, _, _, revoked] = self.0.store.stamps();
            after.stamps = [authority, identity, key, revoked];
        }
        self.swap(after);
        drop(changing);
        Ok(written?)
    }

    /// Looks at the files every `every` (1 s is right for the programs), until
    /// `shutdown` ends, and reloads when one has changed. Also closes the
    /// connections whose certificates have ended in the meantime. A directory
    /// that does not load is complained about once per change.
    pub fn watch(
        &self,
        every: Duration,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let trust = self.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(every.max(WATCH_MIN));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut failed: Option<Stamps> = None;
            tokio::pin!(shutdown);
            loop {
                tokio::select! {
                    () = &mut shutdown => return,
                    _ = ticks.tick() => {}
                }
                let looker = trust.clone();
                // The look runs on another thread; what it logs belongs here.
                let log = tracing::dispatcher::get_default(Clone::clone);
                let look = move || tracing::dispatcher::with_default(&log, || looker.look(failed));
                match tokio::task::spawn_blocking(look).await {
                    Ok(outcome) => failed = outcome,
                    Err(error) => tracing::error!(%error, "a look at the credentials was lost"),
                }
            }
        })
    }

    /// One look at the files; returns the stamps of a state that does not load.
    fn look(&self, failed: Option<Stamps>) -> Option<Stamps> {
        let (stamps, snapshot) = (self.0.store.stamps(), self.snapshot());
        self.0.register.sweep(&snapshot, Sweep::Ends);
        if stamps == snapshot.stamps {
            return None;
        }
        if failed == Some(stamps) {
            return failed;
        }
        let dir = self.0.store.dir().display();
        match self.reload() {
            Ok(()) => {
                let snapshot = self.snapshot();
                let (serial, ends) = (&snapshot.leaf.serial, date(snapshot.leaf.not_after));
                tracing::info!(%dir, %serial, %ends, "credentials reloaded");
                None
            }
            Err(error) => {
                let error = explain(&error);
                tracing::warn!(%dir, %error, "credentials changed but do not load; the old ones stay");
                Some(stamps)
            }
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    pub(crate) fn register(&self) -> &Arc<Register> {
        &self.0.register
    }

    /// Who this process is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.snapshot().leaf.identity.clone()
    }

    /// Its own certificate.
    #[must_use]
    pub fn leaf(&self) -> Leaf {
        self.snapshot().leaf.clone()
    }

    /// The trusted authorities' fingerprints, in the order of `authority.pem`.
    #[must_use]
    pub fn authorities(&self) -> Vec<Fingerprint> {
        self.snapshot().authorities.to_vec()
    }

    /// The trusted authorities as PEM: what an enrolment hands out.
    #[must_use]
    pub fn authorities_pem(&self) -> String {
        self.snapshot().authorities_pem.to_string()
    }

    /// The revoked serials with the reason of each.
    #[must_use]
    pub fn revoked(&self) -> BTreeMap<String, String> {
        self.snapshot().revoked.as_ref().clone()
    }

    /// How many connections are open now, both directions.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.register().len()
    }
}
