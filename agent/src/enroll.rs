//! Enrolment: a join token and a key made here become an identity. The key
//! never leaves this host.
//!
//! May be run again at any moment: with the same token it uses the same key, so
//! that an answer that was lost on the way comes again.

use crate::{
    config::Config,
    coordinators::{self, CoordinatorsError},
};
use certs::{ConnectError, JoinRole, Link, Store, StoreError, Token, TokenError};
use daemon::lock::{LockError, StateLock};
use proto::v1::{self, enrolment_client::EnrolmentClient};
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The bounds of enrolling at one address.
const LINK: Link = Link {
    connect: Duration::from_secs(5),
    keepalive_interval: Duration::from_secs(5),
    keepalive_timeout: Duration::from_secs(5),
    user_timeout: Duration::from_secs(10),
    // The answer waits for a commit, which may wait for an election.
    call: Some(Duration::from_secs(15)),
};

/// Why this host is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The token is not usable.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It is another program's token.
    #[error(
        "this token is for a {role}, not for an agent; make one with `coordctl token create --host {host}`"
    )]
    Role {
        /// The token's.
        role: JoinRole,
        /// This host.
        host: String,
    },
    /// It is another host's token.
    #[error(
        "this token is for host `{given}`, and agent.toml says host = \"{own}\"; \
         correct agent.toml, or make a token with `coordctl token create --host {own}`"
    )]
    Host {
        /// The token's.
        given: String,
        /// This host.
        own: String,
    },
    /// Another enrolment is under way, or the directory cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// What is stored now would not be readable for the agent.
    #[error(
        "{} belongs to user {owner}, and this runs as user {user}: what is stored now would be \
         closed to the agent; run it as that user (`runuser -u USER -- understudy-agent enroll ...`)",
        directory.display()
    )]
    User {
        /// The state directory.
        directory: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this.
        user: u32,
    },
    /// The credentials cannot be read or written.
    #[error("{}", certs::explain(.0))]
    Store(#[from] StoreError),
    /// No coordinator answered.
    #[error("{}", certs::explain(.0))]
    Connect(#[from] ConnectError),
    /// Every coordinator said no.
    #[error("no coordinator enrolled this host: {}", .0.join(" | "))]
    Refused(Vec<String>),
    /// The list of coordinators is not stored.
    #[error(transparent)]
    Coordinators(#[from] CoordinatorsError),
}

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The certificate's serial number.
    pub serial: String,
    /// Where coordinators are.
    pub coordinators: Vec<String>,
}

/// Enrols this host.
///
/// # Errors
/// [`EnrollError`]: in words with what to do; what was stored before stays.
pub async fn enroll(config: &Config, token: &str) -> Result<Enrolled, EnrollError> {
    let token = Token::parse(token, certs::now())?;
    if token.role != JoinRole::Agent {
        return Err(EnrollError::Role { role: token.role, host: config.host.to_string() });
    }
    if token.host != config.host {
        let (given, own) = (token.host.to_string(), config.host.to_string());
        return Err(EnrollError::Host { given, own });
    }
    check_user(&config.state_dir)?;
    // Not the agent's own lock: a running agent takes new credentials over by itself.
    let _lock = StateLock::acquire(&config.pki(), "understudy-agent enroll")?;
    let store = Store::at(config.pki());
    let request = store.pending()?;
    let reply = ask(&token, &request).await?;
    token.check_authority(&reply.authority)?;
    store.complete(&reply.identity, &reply.authority)?;
    let mut coordinators = reply.coordinators;
    coordinators.retain(|address| coordinators::is_address(address));
    coordinators.truncate(coordinators::COORDINATORS_MAX);
    match (&config.coordinators, coordinators.is_empty()) {
        (_, false) => coordinators::save(&config.state_dir, &coordinators)?,
        (Some(named), true) => coordinators.clone_from(named),
        (None, true) => {
            return Err(EnrollError::Refused(vec!["it did not say where coordinators are".into()]));
        }
    }
    Ok(Enrolled { serial: reply.serial, coordinators })
}

fn check_user(directory: &Path) -> Result<(), EnrollError> {
    let user = rustix::process::geteuid().as_raw();
    match directory.metadata() {
        Ok(meta) if meta.uid() != user => {
            Err(EnrollError::User { directory: directory.into(), owner: meta.uid(), user })
        }
        // Where it is not there yet, it will be this user's.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Asks each address of the token in turn: one that follows, or that has not
/// heard of the token yet, may refuse where the next one grants.
async fn ask(token: &Token, request: &certs::KeyRequest) -> Result<v1::EnrolReply, EnrollError> {
    let mut failures = Vec::new();
    let mut refusals = Vec::new();
    for address in &token.addresses {
        let channel = match certs::enrol_connect_to(address, token.authority, request, &LINK).await
        {
            Ok(channel) => channel,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let message = v1::EnrolRequest {
            version: Some(proto::own_version()),
            token: token.id.clone(),
            secret: token.secret().to_vec(),
            host: token.host.to_string(),
            request: request.csr_der().to_vec(),
        };
        match EnrolmentClient::new(channel).enrol(message).await {
            Ok(reply) => return Ok(reply.into_inner()),
            Err(status) => refusals.push(format!("{address}: {}", certs::explain_status(&status))),
        }
    }
    if refusals.is_empty() {
        return Err(ConnectError::All(failures).into());
    }
    refusals.extend(failures.iter().map(|failure| certs::explain(failure)));
    Err(EnrollError::Refused(refusals))
}
