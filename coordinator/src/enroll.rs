//! `understudy-coordinator enroll`: how a second coordinator or a witness gets
//! its identity. The key is made here and never leaves; repeating it repairs.

use crate::config::Config;
use anyhow::{Context, bail};
use certs::{JoinRole, Link, Store, Token, enrol_connect_to};
use daemon::durable;
use proto::v1::{self, enrolment_client::EnrolmentClient};
use std::path::{Path, PathBuf};

/// Where a coordinator keeps the addresses of the others until it is a member.
#[must_use]
pub fn peers_file(state_dir: &Path) -> PathBuf {
    state_dir.join("coordinators.json")
}

/// The addresses of the others, as enrolment told them.
///
/// # Errors
/// The file cannot be read or holds something else.
pub fn peers(state_dir: &Path) -> anyhow::Result<Vec<String>> {
    let path = peers_file(state_dir);
    match durable::read_optional(&path)? {
        None => Ok(Vec::new()),
        Some(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged; enroll again", path.display())),
    }
}

/// Keeps the addresses of the others.
///
/// # Errors
/// The file cannot be written.
pub fn keep_peers(state_dir: &Path, addresses: &[String]) -> anyhow::Result<()> {
    durable::write_atomic(&peers_file(state_dir), &serde_json::to_vec(addresses)?, 0o600)?;
    Ok(())
}

/// Enrols this coordinator with a join token.
///
/// # Errors
/// In words, with what to do.
pub async fn enroll(config: &Config, token: &str) -> anyhow::Result<()> {
    let token = Token::parse(token, certs::now())?;
    let name = config.name.get_ref();
    if token.host.as_str() != name {
        bail!(
            "the token is for `{}`, this is `{name}`; make one for it: coordctl token create --host {name} --role {}",
            token.host,
            token.role
        );
    }
    let witness = config.role == crate::config::Role::Witness;
    match (token.role, witness) {
        (JoinRole::Coordinator, false) | (JoinRole::Witness, true) => {}
        (role, _) => bail!(
            "the token is for a {role}, coordinator.toml says role = \"{}\"",
            if witness { "witness" } else { "coordinator" }
        ),
    }
    durable::create_private_dir(&config.state_dir)?;
    let store = Store::at(config.pki());
    let pending = store.pending()?;
    let mut failures = Vec::new();
    for address in &token.addresses {
        match ask(address, &token, &pending).await {
            Ok(reply) => return keep(config, &store, &token, &reply),
            Err(error) => failures.push(format!("{address}: {error:#}")),
        }
    }
    bail!("no coordinator enrolled this one:\n  {}", failures.join("\n  "))
}

async fn ask(
    address: &str,
    token: &Token,
    pending: &certs::KeyRequest,
) -> anyhow::Result<v1::EnrolReply> {
    let channel = enrol_connect_to(address, token.authority, pending, &Link::default()).await?;
    let request = v1::EnrolRequest {
        version: Some(proto::own_version()),
        token: token.id.clone(),
        secret: token.secret().to_vec(),
        host: token.host.to_string(),
        request: pending.csr_der().to_vec(),
    };
    let reply = EnrolmentClient::new(channel).enrol(request).await;
    let reply = reply.map_err(|status| anyhow::anyhow!(certs::explain_status(&status)))?;
    Ok(reply.into_inner())
}

fn keep(
    config: &Config,
    store: &Store,
    token: &Token,
    reply: &v1::EnrolReply,
) -> anyhow::Result<()> {
    token.check_authority(&reply.authority)?;
    if !reply.authority_key.is_empty() {
        let path = config.pki().join("authority.key");
        durable::write_atomic(&path, reply.authority_key.as_bytes(), 0o600)?;
    }
    keep_peers(&config.state_dir, &reply.coordinators)?;
    store.complete(&reply.identity, &reply.authority)?;
    Ok(())
}
