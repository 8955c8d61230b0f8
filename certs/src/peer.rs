//! Who is at the other end of a request, and whether that role may ask.
//!
//! TLS admits every identity of the installation; which call a role may make
//! is said here, in words that the caller and the log both get.

use crate::identity::{Identity, Rank, Role};
use model::Wall;
use std::{net::SocketAddr, sync::Arc};
use tonic::{Request, Status};

/// Who is at the other end of a connection, as its certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub identity: Identity,
    /// The serial number of its certificate.
    pub serial: String,
    /// When its certificate ends; the connection ends then too.
    pub not_after: Wall,
    /// From where.
    pub address: SocketAddr,
}

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allow {
    /// Agents.
    Agents,
    /// Coordinators, the witness among them.
    Coordinators,
    /// Operators of this rank or a higher one.
    Operators(Rank),
}

impl Allow {
    fn holds(self, role: Role) -> bool {
        match (self, role) {
            (Self::Agents, Role::Agent) | (Self::Coordinators, Role::Coordinator) => true,
            (Self::Operators(least), Role::Operator(rank)) => rank >= least,
            (Self::Agents, Role::Coordinator | Role::Operator(_))
            | (Self::Coordinators, Role::Agent | Role::Operator(_))
            | (Self::Operators(_), Role::Agent | Role::Coordinator) => false,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Agents => "agents".into(),
            Self::Coordinators => "coordinators".into(),
            Self::Operators(Rank::Viewer) => "operators".into(),
            Self::Operators(Rank::Operator) => "operators of rank `operator` or `admin`".into(),
            Self::Operators(Rank::Admin) => "operators of rank `admin`".into(),
        }
    }
}

/// The peer of a request that came through [`crate::listen`].
///
/// # Errors
/// `unauthenticated`: the connection came another way, which is a defect.
// A `Status` is large, but it is what tonic's own signatures have.
#[allow(clippy::result_large_err)]
pub fn peer<T>(request: &Request<T>) -> Result<&Arc<Peer>, Status> {
    request
        .extensions()
        .get::<Arc<Peer>>()
        .ok_or_else(|| Status::unauthenticated("this connection carries no client certificate"))
}

/// The peer of a request, if one of `allowed` holds for it. `call` is the name
/// of the call, for the words of a refusal, which is also logged.
///
/// # Errors
/// `permission_denied`, in words; `unauthenticated` as [`peer`].
// As above.
#[allow(clippy::result_large_err)]
pub fn require<T>(
    request: &Request<T>,
    call: &str,
    allowed: &[Allow],
) -> Result<Arc<Peer>, Status> {
    let peer = peer(request)?;
    if allowed.iter().any(|allow| allow.holds(peer.identity.role())) {
        return Ok(Arc::clone(peer));
    }
    let who: Vec<String> = allowed.iter().map(|allow| allow.words()).collect();
    let reason = format!("this is {}; only {} may call {call}", peer.identity, who.join(" and "));
    tracing::warn!(
        peer = %peer.address, identity = %peer.identity, serial = %peer.serial,
        %reason, "refused a call"
    );
    Err(Status::permission_denied(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(role: Role) -> Request<()> {
        let mut request = Request::new(());
        request.extensions_mut().insert(Arc::new(Peer {
            identity: Identity::new("fx", role, "p1").unwrap(),
            serial: "01".into(),
            not_after: Wall(0),
            address: "127.0.0.1:1".parse().unwrap(),
        }));
        request
    }

    #[test]
    fn a_role_gets_what_is_allowed_to_it() {
        let operators = [Allow::Operators(Rank::Operator)];
        let may = |role, allowed: &[Allow]| require(&request(role), "Failover", allowed).is_ok();
        assert!(may(Role::Operator(Rank::Admin), &operators));
        assert!(may(Role::Operator(Rank::Operator), &operators));
        assert!(!may(Role::Operator(Rank::Viewer), &operators));
        assert!(!may(Role::Agent, &operators));
        assert!(!may(Role::Coordinator, &operators));
        assert!(may(Role::Coordinator, &[Allow::Agents, Allow::Coordinators]));
        assert!(!may(Role::Agent, &[]));
    }

    #[test]
    fn a_refusal_says_who_and_what() {
        let allowed = [Allow::Coordinators, Allow::Operators(Rank::Admin)];
        let status = require(&request(Role::Agent), "CreateToken", &allowed).unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
        assert_eq!(
            status.message(),
            "this is agent `p1`; only coordinators and operators of rank `admin` may call CreateToken"
        );
        let status = peer(&Request::new(())).unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
    }
}
