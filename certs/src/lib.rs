//! Who may speak: identities, the authority, enrolment, revocation, and the
//! TLS on both ends of every connection.
//!
//! A certificate's identity is exactly one SAN URI. TLS 1.3 with client
//! certificates is the only transport; there is no plaintext port and no
//! session resumption, because a resumed session would skip the verifier.
//! Every refusal is said in words on both sides. What a role may ask for is
//! decided by the services through [`require`]; which tokens are valid and
//! which serials are revoked is decided by the coordinators' journal. Programs
//! install the `ring` provider for rustls first, though nothing here relies on it.

mod authority;
mod certificate;
mod client;
mod digest;
mod enrol;
mod explain;
mod file;
mod guard;
mod identity;
mod peer;
mod refusal;
mod request;
mod seal;
mod server;
mod socket;
mod store;
mod tls;
mod token;
mod trust;
mod verify;

pub use authority::{
    AGENT_VALIDITY, AUTHORITY_VALIDITY, Authority, AuthorityError, COORDINATOR_VALIDITY, Issued,
    OPERATOR_VALIDITY, validity_of,
};
pub use certificate::{Leaf, LeafError, normalise_serial};
pub use client::{ConnectError, Expected, Link, connect, connect_lazy};
pub use digest::{Fingerprint, RandomError};
pub use enrol::{JoiningPeer, enrol_connect, enrol_connect_to, enrol_listen, joining};
pub use explain::{explain, explain_status, find_connect_error};
pub use identity::{Identity, IdentityError, Rank, Role, RoleKind};
pub use peer::{Allow, Peer, peer, require};
pub use refusal::{Refusal, Refused};
pub use request::{KeyRequest, RequestError, public_key_of};
pub use seal::{SealError, Sum};
pub use server::{Connection, Incoming, Limits, listen};
pub use store::{Credentials, REVOKED_MAX, Store, StoreError};
pub use tls::server_name;
pub use token::{JoinRole, Token, TokenError, secret_matches};
pub use trust::{Trust, TrustError, now};

#[cfg(test)]
mod tests;
