//! TLS configurations, one per connection: TLS 1.3, HTTP/2, no resumption,
//! no tickets, and only the `ring` provider.
//!
//! They are built anew for each connection from the trust of that moment, so
//! that a reload needs no more than a swap; the parts are shared, so building
//! one is cheap beside the handshake.

use crate::identity::RoleKind;
use rustls::{
    ClientConfig, ServerConfig,
    client::{Resumption, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{NoServerSessionStorage, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use std::sync::{Arc, LazyLock};

/// The application protocol of every connection: gRPC is HTTP/2.
const ALPN: &[u8] = b"h2";

/// The DNS name in every certificate of a role: what a dialler asks for,
/// whatever address it dials.
#[must_use]
pub const fn server_name(role: RoleKind) -> &'static str {
    match role {
        RoleKind::Agent => "agent.understudy.internal",
        RoleKind::Coordinator => "coordinator.understudy.internal",
        RoleKind::Operator => "operator.understudy.internal",
    }
}

/// The one provider of cryptography, whatever others a program's crates bring.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    &PROVIDER
}

/// A chain with its key; fails when they do not belong together.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    CertifiedKey::from_der(chain, key, provider()).map(Arc::new)
}

/// The listening side, with this certificate and this verifier of clients.
pub(crate) fn server(
    own: Arc<CertifiedKey>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would skip the verifier, and with it a revocation.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The dialling side, with this certificate and this verifier of servers.
pub(crate) fn client(
    own: Arc<CertifiedKey>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}
