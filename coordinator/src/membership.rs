//! How this coordinator becomes a member, and stays findable: it founds the
//! cluster when `coordctl init` said so, else asks to join until it is admitted.

use crate::{config::Config, consensus::Consensus, enroll, run::consensus_settings};
use anyhow::{Context, bail};
use daemon::{backoff::Backoff, durable};
use std::{path::PathBuf, time::Duration};

/// How often the members are looked at for [`remember_peers`].
const PEERS_EVERY: Duration = Duration::from_secs(5);

/// The members that this node knows of, besides itself.
fn others(config: &Config, consensus: &Consensus) -> Vec<String> {
    let members = consensus.members().into_iter().map(|status| status.member);
    members.filter(|m| m.name != *config.name.get_ref()).map(|m| m.address).collect()
}

/// Keeps the others' addresses beside the journal: a coordinator that has to be
/// rebuilt without its journal then knows whom to ask.
pub(crate) async fn remember_peers(config: Config, consensus: Consensus) {
    let mut ticks = tokio::time::interval(PEERS_EVERY);
    loop {
        ticks.tick().await;
        let others = others(&config, &consensus);
        let known = enroll::peers(&config.state_dir).unwrap_or_default();
        if others.is_empty() || others == known {
            continue;
        }
        if let Err(error) = enroll::keep_peers(&config.state_dir, &others) {
            let error = format!("{error:#}");
            tracing::warn!(%error, "the others' addresses were not kept");
        }
    }
}

/// The marker that `coordctl init` leaves for the first coordinator of an installation.
fn founding_marker(config: &Config) -> PathBuf {
    config.state_dir.join("founding.json")
}

/// What the marker holds: the certificates that `coordctl init` issued.
#[derive(serde::Deserialize)]
struct Founding {
    certificates: Vec<FoundingCertificate>,
}

#[derive(serde::Deserialize)]
struct FoundingCertificate {
    serial: String,
    identity: String,
    issued_unix_ms: u64,
    not_after_unix_ms: u64,
}

/// Writes the certificates that are older than the journal into it. Doing it
/// again after a crash changes nothing.
async fn note(consensus: &Consensus, founding: Founding) -> anyhow::Result<()> {
    let mut leadership = consensus.leadership();
    leadership.wait_for(|seen| seen.ready).await.context("the consensus has ended")?;
    for certificate in founding.certificates {
        let record = failover::Record::CertificateNoted {
            serial: certificate.serial,
            identity: certificate.identity,
            issued: model::Wall(certificate.issued_unix_ms),
            not_after: model::Wall(certificate.not_after_unix_ms),
            at: certs::now(),
        };
        consensus.append(record).await?;
    }
    Ok(())
}

/// Founds the cluster when `coordctl init` said so, else asks to join until it is admitted.
pub(crate) async fn take_part(config: Config, consensus: Consensus) {
    if let Err(error) = found_or_join(&config, &consensus).await {
        let error = format!("{error:#}");
        tracing::error!(%error, "this coordinator takes no part");
    }
}

async fn found_or_join(config: &Config, consensus: &Consensus) -> anyhow::Result<()> {
    let member = consensus_settings(config).member;
    let marker = founding_marker(config);
    if let Some(bytes) = durable::read_optional(&marker)? {
        let founding: Founding = serde_json::from_slice(&bytes).with_context(|| {
            format!("{} is damaged; run `coordctl init` anew", marker.display())
        })?;
        if !consensus.is_initialised().await? {
            consensus.found(member).await?;
            tracing::info!("the cluster is founded");
        }
        note(consensus, founding).await?;
        std::fs::remove_file(&marker)
            .with_context(|| format!("cannot remove {}", marker.display()))?;
        return Ok(());
    }
    if consensus.joined() {
        return Ok(());
    }
    let mut wait = Backoff::from_os(Duration::from_millis(200), Duration::from_secs(5), 20);
    loop {
        let mut peers = enroll::peers(&config.state_dir)?;
        peers.extend(others(config, consensus));
        if peers.is_empty() {
            bail!(
                "it belongs to no cluster and knows of none; run `coordctl init` or `understudy-coordinator enroll`"
            );
        }
        match consensus.ask_to_join(&peers).await {
            Ok(()) => {
                tracing::info!("admitted to the cluster");
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(error = %certs::explain(&error), "not admitted yet; asking again")
            }
        }
        tokio::time::sleep(wait.wait()).await;
    }
}
