//! Whether a presented chain may speak here: rustls' own check of the chain
//! first, then ours: installation, revocation, role, name.
//!
//! One verifier serves one handshake, so that the reason of a refusal, and who
//! was refused, can be told beside the peer's address.

use crate::{
    certificate::Leaf,
    client::Expected,
    identity::{Identity, RoleKind},
    refusal::Refusal,
    tls::server_name,
    trust::Snapshot,
};
use model::Wall;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use std::sync::{Arc, OnceLock};

/// At which end of the connection the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// It dialled us.
    Client,
    /// We dialled it.
    Server,
}

/// What one handshake found out about the peer.
#[derive(Debug, Default)]
pub(crate) struct Findings(OnceLock<(Option<Identity>, Refusal)>);

impl Findings {
    /// Notes a refusal, and gives the error that makes TLS tell the peer.
    pub(crate) fn refuse(&self, whom: Option<Identity>, why: Refusal) -> TlsError {
        let error = why.to_tls();
        // A handshake is refused once; a second reason would be news to nobody.
        let _ = self.0.set((whom, why));
        error
    }

    /// Who was refused, if it could be read, and why.
    pub(crate) fn refusal(&self) -> Option<&(Option<Identity>, Refusal)> {
        self.0.get()
    }
}

pub(crate) fn wall(time: UnixTime) -> Wall {
    Wall(time.as_secs().saturating_mul(1000))
}

impl Snapshot {
    /// Whether the holder of this chain may be spoken with, now.
    pub(crate) fn admit(
        &self,
        side: Side,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        expected: &Expected,
    ) -> Result<Leaf, Refusal> {
        let wanted = expected.role.unwrap_or(RoleKind::Coordinator);
        let checked = match side {
            Side::Client => {
                self.clients.verify_client_cert(end_entity, intermediates, now).map(|_| ())
            }
            Side::Server => ServerName::try_from(server_name(wanted))
                .map_err(|error| TlsError::General(error.to_string()))
                .and_then(|name| {
                    self.servers.verify_server_cert(end_entity, intermediates, &name, &[], now)
                })
                .map(|_| ()),
        };
        let leaf = Leaf::of(end_entity);
        if let Err(error) = checked {
            let whose = leaf.as_ref().ok().map(|leaf| &leaf.identity);
            return Err(Refusal::of_tls(&error, whose, wanted));
        }
        let leaf = leaf?;
        self.admit_leaf(&leaf, expected)?;
        Ok(leaf)
    }

    fn admit_leaf(&self, leaf: &Leaf, expected: &Expected) -> Result<(), Refusal> {
        let identity = &leaf.identity;
        if identity.installation() != self.leaf.identity.installation() {
            return Err(Refusal::ForeignInstallation {
                theirs: identity.installation().into(),
                ours: self.leaf.identity.installation().into(),
            });
        }
        if let Some(reason) = self.revoked.get(&leaf.serial) {
            let (serial, reason) = (leaf.serial.clone(), reason.clone());
            return Err(Refusal::Revoked { serial, reason });
        }
        expected.check(identity)
    }
}

/// Verifies one peer against the trust of the moment the handshake began.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) expected: Expected,
    pub(crate) findings: Arc<Findings>,
}

impl PeerVerifier {
    fn check(
        &self,
        side: Side,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), TlsError> {
        match self.snapshot.admit(side, end_entity, intermediates, now, &self.expected) {
            Ok(_) => Ok(()),
            Err(why) => {
                let whom = Identity::of_certificate(end_entity).ok();
                Err(self.findings.refuse(whom, why))
            }
        }
    }
}

/// The two signature checks and the list of schemes, the same in every verifier.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            let algorithms = &crate::tls::provider().signature_verification_algorithms;
            verify_tls12_signature(message, cert, dss, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            let algorithms = &crate::tls::provider().signature_verification_algorithms;
            verify_tls13_signature(message, cert, dss, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            crate::tls::provider().signature_verification_algorithms.supported_schemes()
        }
    };
}
pub(crate) use signatures;

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Every client of ours has one certificate; a hint would only tell
        // strangers the installation's name.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.check(Side::Client, end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.check(Side::Server, end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}
