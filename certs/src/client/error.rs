//! What can go wrong with a dial, in words with what to do.

use crate::{
    identity::{Identity, Role, RoleKind},
    refusal::{Refusal, Refused},
};
use std::{io, sync::Arc, time::Duration};

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The address has another form.
    #[error("`{address}` is not an address; expected HOST:PORT, as in `192.0.2.1:7443`")]
    Address {
        /// As it came.
        address: String,
    },
    /// The name does not resolve, or nobody answers there.
    #[error("cannot reach {address}")]
    Tcp {
        /// The address.
        address: String,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// Too slow.
    #[error("{address} did not {what} within {} ms", limit.as_millis())]
    Slow {
        /// The address.
        address: String,
        /// `accept a TCP connection`, `finish the TLS handshake`, `send its first frame`.
        what: &'static str,
        /// The bound of the whole dial.
        limit: Duration,
    },
    /// We do not trust them.
    #[error("refused the peer at {address}: {refusal}")]
    WeRefused {
        /// The address.
        address: String,
        /// Why.
        refusal: Refusal,
    },
    /// They do not trust us.
    #[error("the {whom} at {address} refused our certificate: {refused}{advice}")]
    TheyRefused {
        /// The address.
        address: String,
        /// Who was expected there.
        whom: RoleKind,
        /// Why.
        refused: Refused,
        /// What to do, after a semicolon; may be empty.
        advice: String,
    },
    /// The connection ended before the first frame, without a word.
    #[error("{address} closed the connection without a word; it may have too many, or be stopping")]
    Closed {
        /// The address.
        address: String,
    },
    /// The handshake failed for another reason.
    #[error("no TLS connection with {address}: {detail}; is the port right?")]
    Tls {
        /// The address.
        address: String,
        /// What the library says.
        detail: String,
    },
    /// Our own configuration does not work.
    #[error("our own TLS configuration is unusable: {detail}")]
    Config {
        /// What the library says.
        detail: String,
    },
    /// HTTP/2 did not come up.
    #[error("no HTTP/2 connection with {address}: {detail}")]
    Http2 {
        /// The address.
        address: String,
        /// What the library says.
        detail: String,
    },
    /// None of several addresses worked.
    #[error("none of the addresses worked: {}", .0.iter().map(|e| crate::explain::explain(e)).collect::<Vec<_>>().join(" | "))]
    All(Vec<ConnectError>),
}

impl ConnectError {
    /// Why the other side refused our certificate, if that is what happened.
    #[must_use]
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::TheyRefused { refused, .. } => Some(refused),
            Self::All(each) => each.iter().find_map(Self::refused),
            Self::Address { .. }
            | Self::Tcp { .. }
            | Self::Slow { .. }
            | Self::WeRefused { .. }
            | Self::Closed { .. }
            | Self::Tls { .. }
            | Self::Config { .. }
            | Self::Http2 { .. } => None,
        }
    }
}

/// What the holder of this identity does about a certificate that is refused.
pub(super) fn advice(identity: &Identity, refused: &Refused) -> String {
    let name = identity.name();
    let enrol = match identity.role() {
        Role::Agent => format!(
            "; run `understudy-agent enroll` again with a token from `coordctl token create --host {name}`"
        ),
        Role::Coordinator => format!(
            "; run `understudy-coordinator enroll` again with a token from `coordctl token create --host {name} --role coordinator`"
        ),
        Role::Operator(_) => "; ask an operator of rank admin for a new certificate".into(),
    };
    match refused {
        Refused::Expired
        | Refused::UnknownAuthority
        | Refused::Revoked
        | Refused::NoCertificate
        | Refused::Unusable => enrol,
        Refused::NotAllowed => "; check the address, and the names of both ends".into(),
        Refused::Protocol { .. } => String::new(),
    }
}
