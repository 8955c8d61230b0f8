//! The transport of enrolment: a port of its own, for hosts that have no
//! certificate yet.
//!
//! The joining host presents a self-signed certificate of its new key, so that
//! there are client certificates here too and the service can hold the request
//! against the key that made the handshake. The coordinator presents its chain
//! with the authorities, and the host trusts none but the one that its token
//! pins. Whether the token is good is the service's to decide.

use crate::{
    client::{ConnectError, Dial, Link, channel, check_address},
    digest::Fingerprint,
    guard::{Guard, Guarded},
    identity::{Identity, RoleKind},
    refusal::{Refusal, Refused},
    request::{KeyRequest, RequestError, check_signature, point, public_key_of},
    server::{Door, Incoming, Limits, Turned, open},
    tls::{self, server_name},
    token::Token,
    trust::Trust,
    verify::{Findings, signatures},
};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use std::{future::Future, net::SocketAddr, sync::Arc};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tonic::{Request, Status, transport::Channel};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Largest certificate of a joining host that is looked at, in bytes. Ours has
/// about 400.
const JOINING_MAX: usize = 4096;

/// A host that wants to join, as its handshake proves: the holder of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoiningPeer {
    /// Its public key: SubjectPublicKeyInfo in DER form.
    pub public_key: Vec<u8>,
    /// SHA-256 of the public key.
    pub fingerprint: Fingerprint,
    /// From where.
    pub address: SocketAddr,
}

impl JoiningPeer {
    /// Checks that a certificate request is of the key that made the
    /// handshake.
    ///
    /// # Errors
    /// `invalid_argument`: the request is broken, or of another key.
    // A `Status` is large, but it is what tonic's own signatures have.
    #[allow(clippy::result_large_err)]
    pub fn check_request(&self, csr_der: &[u8]) -> Result<(), Status> {
        let wrong = match public_key_of(csr_der) {
            Ok(key) if key == self.public_key => return Ok(()),
            Ok(_) => "it is of another key than this connection's".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(peer = %self.address, reason = %wrong, "refused a certificate request");
        Err(Status::invalid_argument(format!("the certificate request is refused: {wrong}")))
    }
}

/// The joining host behind a request that came through [`enrol_listen`].
///
/// # Errors
/// `unauthenticated`: the connection came another way, which is a defect.
// As above.
#[allow(clippy::result_large_err)]
pub fn joining<T>(request: &Request<T>) -> Result<&JoiningPeer, Status> {
    request.extensions().get::<Arc<JoiningPeer>>().map(AsRef::as_ref).ok_or_else(|| {
        Status::unauthenticated("this connection did not come to the enrolment port")
    })
}

/// The public key of a certificate that its own P-256 key signed.
fn self_signed_key(der: &[u8]) -> Result<Vec<u8>, Refusal> {
    let not = |detail: String| Refusal::NotSelfSigned { detail };
    if der.len() > JOINING_MAX {
        return Err(not(format!("it has {} bytes; at most {JOINING_MAX} are read", der.len())));
    }
    let malformed = || not("it is not well-formed DER".into());
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| malformed())?;
    if !rest.is_empty() {
        return Err(malformed());
    }
    let spki = certificate.public_key().raw;
    point(spki).map_err(|error| not(error.to_string()))?;
    let signed = certificate.tbs_certificate.as_ref();
    match check_signature(spki, signed, &certificate.signature_value.data) {
        Ok(()) => Ok(spki.to_vec()),
        Err(RequestError::Signature) => Err(not("another key signed it".into())),
        Err(other) => Err(not(other.to_string())),
    }
}

#[derive(Debug)]
struct JoiningVerifier {
    findings: Arc<Findings>,
}

impl ClientCertVerifier for JoiningVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        match self_signed_key(end_entity) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(why) => Err(self.findings.refuse(Identity::of_certificate(end_entity).ok(), why)),
        }
    }

    signatures!();
}

/// The door of hosts that want to join.
struct Joining {
    trust: Trust,
}

impl Door for Joining {
    type Info = Arc<JoiningPeer>;

    fn config(&self, findings: &Arc<Findings>) -> Result<ServerConfig, TlsError> {
        let own = Arc::clone(&self.trust.snapshot().own_with_roots);
        tls::server(own, Arc::new(JoiningVerifier { findings: Arc::clone(findings) }))
    }

    fn admit(
        &self,
        chain: &[CertificateDer<'static>],
        address: SocketAddr,
    ) -> Result<(Self::Info, Option<Guard>), Turned> {
        let first = chain.first().ok_or((None, Refusal::NoCertificate))?;
        let public_key = self_signed_key(first).map_err(|why| (None, why))?;
        let fingerprint = Fingerprint::of(&public_key);
        Ok((Arc::new(JoiningPeer { public_key, fingerprint, address }), None))
    }
}

/// Accepts hosts that want to join, until `shutdown` ends. Requests carry a
/// [`JoiningPeer`]: see [`joining`].
pub fn enrol_listen(
    listener: TcpListener,
    trust: &Trust,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Incoming<Arc<JoiningPeer>> {
    open(listener, Joining { trust: trust.clone() }, limits, shutdown)
}

/// Trusts the pinned authority, wherever it stands in the presented chain, and
/// a coordinator's certificate that it signed.
#[derive(Debug)]
struct PinnedVerifier {
    pin: Fingerprint,
    findings: Arc<Findings>,
}

impl PinnedVerifier {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        whose: Option<&Identity>,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let Some(pinned) = intermediates.iter().find(|der| Fingerprint::of(der) == self.pin) else {
            return Err(Refusal::NotPinned { pinned: self.pin.short() });
        };
        let other = |detail: String| Refusal::Other { detail };
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned()).map_err(|error| other(error.to_string()))?;
        let provider = Arc::clone(tls::provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| other(error.to_string()))?;
        let wanted = RoleKind::Coordinator;
        let name =
            ServerName::try_from(server_name(wanted)).map_err(|error| other(error.to_string()))?;
        verifier
            .verify_server_cert(end_entity, intermediates, &name, &[], now)
            .map_err(|error| Refusal::of_tls(&error, whose, wanted))?;
        let identity = Identity::of_certificate(end_entity)?;
        crate::client::Expected::role(wanted).check(&identity)
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let whose = Identity::of_certificate(end_entity).ok();
        match self.check(end_entity, intermediates, whose.as_ref(), now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(why) => Err(self.findings.refuse(whose, why)),
        }
    }

    signatures!();
}

/// Dials one enrolment address with the new key's self-signed certificate; the
/// coordinator's authority must be `pin`.
///
/// # Errors
/// [`ConnectError`], in words.
pub async fn enrol_connect_to(
    address: &str,
    pin: Fingerprint,
    request: &KeyRequest,
    link: &Link,
) -> Result<Channel, ConnectError> {
    check_address(address)?;
    let config = |detail: String| ConnectError::Config { detail };
    let certificate = request.self_signed().map_err(|error| config(error.to_string()))?;
    let key = PrivateKeyDer::Pkcs8(request.key_der().to_vec().into());
    let own = tls::certified(vec![certificate], key).map_err(|error| config(error.to_string()))?;
    let (to, bounds) = (address.to_owned(), *link);
    let dial = move || {
        let (own, address) = (Arc::clone(&own), to.clone());
        async move {
            let findings = Arc::new(Findings::default());
            let verifier = PinnedVerifier { pin, findings: Arc::clone(&findings) };
            let config = tls::client(own, Arc::new(verifier))
                .map_err(|error| ConnectError::Config { detail: error.to_string() })?;
            let advice = Box::new(|_: &Refused| {
                "; is this the enrolment port (`enrol_advertise`) of a coordinator?".to_owned()
            });
            let whom = RoleKind::Coordinator;
            let dial = Dial { address, config, whom, findings, link: bounds, advice };
            let (stream, _): (TlsStream<TcpStream>, _) = dial.run().await?;
            Ok(Guarded::new(stream, None))
        }
    };
    channel(address, link, dial).await
}

/// Dials the token's addresses in their order, until one answers as the token
/// says it must.
///
/// # Errors
/// [`ConnectError::All`] with the reason of each address.
pub async fn enrol_connect(
    token: &Token,
    request: &KeyRequest,
    link: &Link,
) -> Result<Channel, ConnectError> {
    let mut failures = Vec::new();
    for address in &token.addresses {
        match enrol_connect_to(address, token.authority, request, link).await {
            Ok(channel) => return Ok(channel),
            Err(failure) => failures.push(failure),
        }
    }
    Err(ConnectError::All(failures))
}
