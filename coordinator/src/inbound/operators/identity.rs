//! Join tokens and certificates.

use super::{OperatorService, by};
use certs::{Expected, JoinRole, Link, Peer, Token};
use failover::{Engine, Record, Request as Change};
use model::{HostId, Millis, Wall};
use proto::v1::{self, peer_client::PeerClient};
use std::{str::FromStr, sync::Arc, time::Duration};
use tonic::Status;

/// A token's life unless asked otherwise.
const VALID: Millis = Millis::from_secs(24 * 3600);
/// How long another coordinator may take to say where it enrols.
const INTRODUCTION: Duration = Duration::from_secs(1);
/// The longest life: a token in a drawer is a key under the mat.
const VALID_MAX: Millis = Millis::from_secs(30 * 24 * 3600);

impl OperatorService {
    pub(super) async fn create_a_token(
        &self,
        peer: &Arc<Peer>,
        asked: v1::CreateTokenRequest,
    ) -> Result<v1::CreateTokenReply, Status> {
        let wrong = |words: String| Status::invalid_argument(words);
        let host = HostId::new(asked.host).map_err(|e| wrong(e.to_string()))?;
        let role = match asked.role.as_str() {
            "" => JoinRole::Agent,
            word => JoinRole::from_str(word).map_err(|e| wrong(e.to_string()))?,
        };
        let valid = match Millis(asked.valid_ms) {
            Millis(0) => VALID,
            valid if valid > VALID_MAX => {
                return Err(wrong(format!("a token lives {VALID_MAX} at most")));
            }
            valid => valid,
        };
        self.ask(|_, _| ()).await?;
        let Some(own) = self.enrol.clone() else {
            return Err(Status::failed_precondition(
                "the leading coordinator.toml has no enrol_advertise, so a token could not say \
                 where to enrol",
            ));
        };
        let authority = certs::Authority::load(&self.pki)
            .map_err(|error| Status::failed_precondition(certs::explain(&error)))?;
        let (now, expires) = (certs::now(), certs::now() + valid);
        let mut addresses = vec![own];
        addresses.extend(self.other_enrolment_addresses().await);
        let token = Token::create(host.clone(), role, authority.fingerprint(), addresses, expires)
            .map_err(|error| Status::internal(error.to_string()))?;
        let secret_sha256 =
            token.secret_hash().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let record = Record::TokenCreated {
            token: token.id.clone(),
            secret_sha256,
            host: host.to_string(),
            role: role.as_str().into(),
            expires,
            by: by(peer),
            at: now,
        };
        self.change(Change::Write(Box::new(record))).await?;
        Ok(v1::CreateTokenReply { token: token.print(), expires_unix_ms: expires.0 })
    }

    /// Where the other coordinators enrol, so that a token outlives a change of
    /// the leader. One that does not answer within a second is left out.
    async fn other_enrolment_addresses(&self) -> Vec<String> {
        let mut others = self.consensus.members();
        others.retain(|member| !member.leader && !member.member.witness);
        let mut addresses = Vec::new();
        for other in others {
            let asked = self.introduce(&other.member.address);
            let found = match tokio::time::timeout(INTRODUCTION, asked).await {
                Ok(found) => found,
                Err(_) => Err(format!("no answer within {INTRODUCTION:?}")),
            };
            match found {
                Ok(address) if address.is_empty() => {}
                Ok(address) => addresses.push(address),
                Err(error) => {
                    tracing::warn!(other = %other.member, %error, "its enrolment address is not known");
                }
            }
        }
        addresses
    }

    async fn introduce(&self, address: &str) -> Result<String, String> {
        let whom = Expected::coordinator();
        let channel = certs::connect(&self.trust, address, &whom, &Link::default())
            .await
            .map_err(|error| certs::explain(&error))?;
        let asked = PeerClient::new(channel).introduce(v1::IntroduceRequest {}).await;
        asked
            .map(|reply| reply.into_inner().enrol_address)
            .map_err(|status| certs::explain_status(&status))
    }

    pub(super) async fn list_all_certificates(
        &self,
        _: &Arc<Peer>,
        _: v1::ListCertificatesRequest,
    ) -> Result<v1::ListCertificatesReply, Status> {
        let certificates = self
            .ask(|engine, now| {
                let state = engine.state();
                let one = |(serial, c): (&String, &failover::Certificate)| {
                    let reason = state.revoked.get(serial);
                    v1::Certificate {
                        serial: serial.clone(),
                        identity: c.identity.clone(),
                        issued_unix_ms: c.issued.0,
                        not_after_unix_ms: c.not_after.0,
                        state: word(reason.is_some(), c.not_after, now.wall).into(),
                        reason: reason.cloned().unwrap_or_default(),
                    }
                };
                state.certificates.iter().map(one).collect()
            })
            .await?;
        Ok(v1::ListCertificatesReply { certificates })
    }

    pub(super) async fn revoke_one(
        &self,
        peer: &Arc<Peer>,
        asked: v1::RevokeCertificateRequest,
    ) -> Result<v1::RevokeCertificateReply, Status> {
        let serial = certs::normalise_serial(&asked.serial).ok_or_else(|| {
            Status::invalid_argument(format!(
                "`{}` is no serial; see: coordctl certs list",
                asked.serial
            ))
        })?;
        if serial == peer.serial {
            return Err(super::super::by_rule(
                "this is the certificate you are using; ask another operator, or you lock yourself out".into(),
            ));
        }
        let reason = match asked.reason.trim() {
            "" => return Err(Status::invalid_argument("say why: --reason \"...\"")),
            reason => format!("{reason} (by {})", by(peer)),
        };
        let sought = serial.clone();
        let unknown = self
            .ask(move |engine: &Engine, _| !engine.state().certificates.contains_key(&sought))
            .await?;
        let record = Record::CertificateRevoked { serial, reason, at: certs::now() };
        self.change(Change::Write(Box::new(record))).await?;
        Ok(v1::RevokeCertificateReply { unknown })
    }
}

fn word(revoked: bool, not_after: Wall, now: Wall) -> &'static str {
    if revoked {
        "revoked"
    } else if not_after <= now {
        "expired"
    } else {
        "valid"
    }
}
