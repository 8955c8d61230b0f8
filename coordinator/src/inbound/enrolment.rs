//! Enrolment: a join token and a certificate request become an identity.
//!
//! Only the leader enrols, because a redemption is a record; the others say
//! who leads. The token's first redemption binds the key: the same token with
//! the same key again gets a new certificate, with another key a refusal.

use crate::{
    consensus::Consensus,
    driver::Handle,
    inbound::{not_leader, refused},
};
use certs::{Authority, Fingerprint, Identity, JoinRole, Role, Trust, joining, validity_of};
use failover::{Applied, Record, Request as Change, Token};
use proto::v1::{self, enrolment_server::Enrolment};
use std::{path::PathBuf, str::FromStr};
use tonic::{Request, Response, Status};

/// The service.
pub struct EnrolmentService {
    handle: Handle,
    consensus: Consensus,
    trust: Trust,
    pki: PathBuf,
}

impl EnrolmentService {
    /// The service of a coordinator with these credentials.
    #[must_use]
    pub fn new(handle: Handle, consensus: Consensus, trust: Trust, pki: PathBuf) -> Self {
        Self { handle, consensus, trust, pki }
    }

    fn leader(&self) -> Option<String> {
        let leadership = self.consensus.leadership();
        let seen = leadership.borrow();
        // A witness gives a leadership away at once, and answers no such calls.
        let leader = seen.leader.as_ref().filter(|leader| !leader.member.witness);
        leader.map(|leader| leader.member.address.clone())
    }

    /// The token's facts, if it is known, unspent by another key, and its secret matches.
    async fn token(&self, asked: &v1::EnrolRequest, key: Fingerprint) -> Result<Token, Status> {
        let id = asked.token.clone();
        let found = self.handle.query(move |engine, now| {
            let token = engine.state().tokens.get(&id).filter(|t| t.expires > now.wall).cloned();
            (engine.leads().is_some(), token)
        });
        let (leads, token) = found.await?;
        if !leads {
            return Err(not_leader(self.leader().as_deref()));
        }
        // One answer for every way of being wrong: a guesser learns nothing.
        let wrong = || {
            Status::permission_denied(
                "this token is unknown, expired, or not for this host; ask for a new one: coordctl token create --host NAME",
            )
        };
        let token = token.ok_or_else(wrong)?;
        let stored = Fingerprint::from_str(&token.secret_sha256).map_err(|_| wrong())?;
        if !certs::secret_matches(&asked.secret, stored.as_bytes()) || token.host != asked.host {
            return Err(wrong());
        }
        if token.redeemed_by.as_ref().is_some_and(|by| *by != key.to_string()) {
            return Err(Status::permission_denied(
                "this token was already used by another key; if that was not you, revoke its \
                 certificate (coordctl certs list) and make a new token",
            ));
        }
        Ok(token)
    }

    /// Whom the newcomer shall call. Agents and coordinators know every voter,
    /// since those that do not lead relay; operators know those that can lead.
    fn coordinators(&self, role: JoinRole) -> Vec<String> {
        let asks = matches!(role.role(), Role::Operator(_));
        let members = self.consensus.members().into_iter();
        let known = members.filter(|status| !(asks && status.member.witness));
        known.map(|status| status.member.address).collect()
    }
}

fn authority(pki: &std::path::Path) -> Result<Authority, Status> {
    Authority::load(pki).map_err(|error| {
        tracing::error!(error = %certs::explain(&error), "this coordinator cannot enrol anybody");
        Status::failed_precondition(
            "this coordinator does not hold the authority's key; see its log",
        )
    })
}

#[tonic::async_trait]
impl Enrolment for EnrolmentService {
    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::EnrolReply>, Status> {
        let newcomer = joining(&request)?.clone();
        let asked = request.get_ref();
        proto::check_version(asked.version.as_ref())
            .map_err(|skew| Status::failed_precondition(skew.to_string()))?;
        newcomer.check_request(&asked.request)?;
        let token = self.token(asked, newcomer.fingerprint).await.inspect_err(|status| {
            tracing::warn!(peer = %newcomer.address, host = %asked.host, token = %asked.token,
                reason = status.message(), "enrolment refused");
        })?;
        let role =
            JoinRole::from_str(&token.role).map_err(|error| Status::internal(error.to_string()))?;
        let authority = authority(&self.pki)?;
        let identity = Identity::new(authority.installation(), role.role(), &token.host)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let now = certs::now();
        let issued = authority
            .issue(&asked.request, &identity, validity_of(role.role()), now)
            .map_err(|error| Status::invalid_argument(certs::explain(&error)))?;
        let record = Record::TokenRedeemed {
            token: asked.token.clone(),
            key_sha256: newcomer.fingerprint.to_string(),
            serial: issued.serial.clone(),
            identity: identity.uri(),
            not_after: issued.not_after,
            at: now,
        };
        match self.handle.ask(Change::Write(Box::new(record))).await {
            Ok(
                Applied::Done
                | Applied::PlanOpened(_)
                | Applied::ApprovalAsked(_)
                | Applied::HostOrdered(_),
            ) => {}
            Ok(Applied::Ignored(why)) => return Err(Status::permission_denied(why)),
            Err(error) => return Err(refused(&error, self.leader().as_deref())),
        }
        tracing::info!(peer = %newcomer.address, %identity, serial = %issued.serial, "enrolled");
        let authority_key = match role {
            JoinRole::Coordinator => key_pem(&self.pki)?,
            JoinRole::Agent
            | JoinRole::Witness
            | JoinRole::Viewer
            | JoinRole::Operator
            | JoinRole::Admin => String::new(),
        };
        Ok(Response::new(v1::EnrolReply {
            identity: issued.cert_pem,
            authority: self.trust.authorities_pem(),
            coordinators: self.coordinators(role),
            authority_key,
            serial: issued.serial,
            not_after_unix_ms: issued.not_after.0,
        }))
    }
}

/// The pair both hold the authority's key, so that losing one loses no enrolment.
fn key_pem(pki: &std::path::Path) -> Result<String, Status> {
    std::fs::read_to_string(pki.join("authority.key"))
        .map_err(|error| Status::internal(format!("authority.key cannot be read: {error}")))
}
