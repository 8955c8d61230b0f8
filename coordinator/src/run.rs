//! Puts a coordinator or a witness together and runs it until it is asked to end.

use crate::{
    config::{Config, Role},
    consensus::{Consensus, Dialer, Member, Settings as ConsensusSettings},
    driver::{Driver, Handle},
    inbound::{
        agents::{AgentService, Ears},
        enrolment::EnrolmentService,
        operators::OperatorService,
        peers,
    },
    membership,
    outbound::{agents::Agents, dns::DnsHook, fence::FenceHooks, notify::Channels},
    relay::{Eyes, RelayService, Uplink},
    witness,
};
use anyhow::{Context, bail};
use certs::{Expected, Limits, Link, Trust};
use daemon::{exit::Exit, lock::StateLock, notify_systemd, shutdown::Shutdown};
use failover::Settings;
use proto::v1::{
    agent_link_server::AgentLinkServer, enrolment_server::EnrolmentServer,
    operator_server::OperatorServer, peer_server::PeerServer, voter_link_server::VoterLinkServer,
};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tonic::transport::Server;

/// Committed records that may wait for the driver.
const APPLIED_QUEUE: usize = 256;
/// How often the credentials' files are looked at.
const CREDENTIALS_EVERY: Duration = Duration::from_secs(1);
/// How long open calls may take to end at a shutdown.
const DRAIN: Duration = Duration::from_secs(3);
/// Connections of joining hosts: a person enrols one host at a time.
const ENROL_CONNECTIONS: usize = 32;

/// The tasks of this process.
#[derive(Default)]
struct Tasks {
    /// Without any of these the process makes no sense.
    vital: JoinSet<()>,
    /// These may end by themselves.
    side: JoinSet<()>,
}

/// Runs a coordinator or a witness.
///
/// # Errors
/// In words: what is wrong, where, and what to do.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<Exit> {
    let _lock = StateLock::acquire(&config.state_dir, "understudy-coordinator")?;
    let trust = Trust::load(config.pki()).context(
        "this coordinator has no identity yet: run `coordctl init` for the first one, or \
         `understudy-coordinator enroll --token TOKEN --config FILE` for another",
    )?;
    check_name(&config, &trust)?;
    let (applied_in, applied) = mpsc::channel(APPLIED_QUEUE);
    let consensus =
        Consensus::open(consensus_settings(&config), dialer(&trust), applied_in).await?;
    trust.watch(CREDENTIALS_EVERY, wish(&shutdown));
    let mut tasks = Tasks::default();
    match config.role {
        Role::Witness => {
            attest(&mut tasks, &config, &trust, &shutdown, &consensus, applied).await?;
        }
        Role::Coordinator => {
            coordinate(&mut tasks, &config, &trust, &shutdown, &consensus, applied).await?;
        }
    }
    tasks.side.spawn(membership::take_part(config.clone(), consensus.clone()));
    let (remember, ended) =
        (membership::remember_peers(config.clone(), consensus.clone()), wish(&shutdown));
    tasks.side.spawn(async move {
        tokio::select! { () = remember => {}, () = ended => {} }
    });
    notify_systemd::ready(&format!("{} is up", config.name.get_ref()));
    tracing::info!(name = %config.name.get_ref(), role = ?config.role, listen = %config.listen.get_ref(), "up");
    let end = tokio::select! {
        () = shutdown.requested() => Exit::Done,
        fatal = consensus.fatal() => {
            tracing::error!(error = %certs::explain(&*fatal), "this coordinator ends: its journal failed");
            Exit::NotDurable
        }
        // Half a coordinator would lead and do nothing: better none, and a restart.
        Some(ended) = tasks.vital.join_next() => {
            let why = ended.err().map_or("it returned".to_owned(), |error| error.to_string());
            tracing::error!(%why, "this coordinator ends: a vital part of it has ended");
            Exit::Failed
        }
    };
    if end == Exit::Done {
        hand_over(&consensus).await;
    }
    shutdown.trigger();
    // Before the driver's channel is closed: what is committed meanwhile must have a taker.
    consensus.shutdown().await;
    let drained = async {
        while tasks.vital.join_next().await.is_some() {}
        while tasks.side.join_next().await.is_some() {}
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::debug!("some calls were still open at the shutdown");
    }
    Ok(end)
}

/// A wanted stop of the leader costs no election: leadership goes first to the
/// other coordinator that is furthest along.
async fn hand_over(consensus: &Consensus) {
    let members = consensus.members();
    if !members.iter().any(|member| member.leader && member.node == consensus.id()) {
        return;
    }
    let others = members.iter().filter(|m| !m.leader && m.voter && !m.member.witness);
    let Some(next) = others.max_by_key(|member| member.matched) else { return };
    if let Err(error) = consensus.transfer_leadership(next.node).await {
        tracing::warn!(to = %next.member, error = %certs::explain(&error), "leadership was not handed over");
    }
}

fn check_name(config: &Config, trust: &Trust) -> anyhow::Result<()> {
    let identity = trust.identity();
    if identity.name() != config.name.get_ref() {
        bail!(
            "the certificate in {} is for {identity}, coordinator.toml says name = \"{}\"; enroll \
             this coordinator under its own name",
            config.pki().display(),
            config.name.get_ref()
        );
    }
    Ok(())
}

fn wish(shutdown: &Shutdown) -> impl Future<Output = ()> + Send + 'static {
    let shutdown = shutdown.clone();
    async move { shutdown.requested().await }
}

pub(crate) fn consensus_settings(config: &Config) -> ConsensusSettings {
    let member = Member {
        name: config.name.get_ref().clone(),
        address: config.advertise.get_ref().clone(),
        witness: config.role == Role::Witness,
    };
    let (heartbeat, election_min, election_max) = config.timing.durations();
    let defaults = ConsensusSettings::new(&config.state_dir, member);
    let enrol_address = config
        .enrol_advertise
        .as_ref()
        .map(|address| address.get_ref().clone())
        .unwrap_or_default();
    ConsensusSettings { heartbeat, election_min, election_max, enrol_address, ..defaults }
}

/// Coordinators dial each other over mTLS; a silent cut is noticed within two seconds.
fn dialer(trust: &Trust) -> Dialer {
    let trust = trust.clone();
    let link = Link {
        connect: Duration::from_secs(1),
        keepalive_interval: Duration::from_secs(1),
        keepalive_timeout: Duration::from_secs(1),
        user_timeout: Duration::from_secs(2),
        call: None,
    };
    Arc::new(move |address: &str| {
        let lazy = certs::connect_lazy(&trust, address, &Expected::coordinator(), &link);
        lazy.unwrap_or_else(|error| {
            // An address that is none: calls on this channel fail and say so.
            tracing::error!(%address, error = %certs::explain(&error), "a coordinator's address cannot be dialled");
            tonic::transport::Endpoint::from_static("http://invalid.understudy.internal:1").connect_lazy()
        })
    })
}

fn hands(config: &Config) -> anyhow::Result<crate::driver::Hands> {
    let channels = Channels::from_config(&config.notify)?;
    let dns = config.dns_hook.as_ref().map(DnsHook::new);
    Ok(crate::driver::Hands { dns, fence: FenceHooks::new(&config.fence), channels })
}

type Routes = tonic::service::Routes;

async fn coordinate(
    tasks: &mut Tasks,
    config: &Config,
    trust: &Trust,
    shutdown: &Shutdown,
    consensus: &Consensus,
    applied: mpsc::Receiver<crate::consensus::Applied>,
) -> anyhow::Result<()> {
    let hands = hands(config)?;
    let settings = Settings {
        dns_hook: hands.dns.is_some(),
        channels: hands.channels.names().map(ToOwned::to_owned).collect(),
        fence_hooks: hands.fence.levels().collect(),
    };
    let dns = hands.dns.clone();
    let agents = Agents::default();
    let (driver, handle) =
        Driver::new(settings, consensus.clone(), applied, agents.clone(), trust.clone(), hands);
    tasks.vital.spawn(driver.run(shutdown.clone()));
    let reached = agents.clone();
    let voter = Voter { trust, shutdown, consensus, agents };
    let relay = RelayService::new(handle.clone(), voter.agents.clone(), consensus.clone());
    let agent_service = voter.answer_agents(tasks, Ears::Driver(handle.clone()));
    let enrol = config.enrol_advertise.as_ref().map(|address| address.get_ref().clone());
    let operators = OperatorService::new(
        handle.clone(),
        consensus.clone(),
        trust.clone(),
        config.pki(),
        enrol,
        dns,
        reached,
    );
    let routes = peers_only(consensus)
        .add_service(AgentLinkServer::new(agent_service))
        .add_service(VoterLinkServer::new(relay))
        .add_service(OperatorServer::new(operators));
    serve(tasks, config, trust, shutdown, routes).await?;
    serve_enrolment(tasks, config, trust, shutdown, handle, consensus).await
}

/// A witness: it votes, hears agents and passes on what they say, and tells the
/// leader what it sees. It has no driver and decides nothing.
async fn attest(
    tasks: &mut Tasks,
    config: &Config,
    trust: &Trust,
    shutdown: &Shutdown,
    consensus: &Consensus,
    applied: mpsc::Receiver<crate::consensus::Applied>,
) -> anyhow::Result<()> {
    let agents = Agents::default();
    tasks.vital.spawn(witness::follow(applied, trust.clone(), agents.clone()));
    let voter = Voter { trust, shutdown, consensus, agents };
    let agent_service = voter.answer_agents(tasks, Ears::of_a_witness());
    let routes = peers_only(consensus).add_service(AgentLinkServer::new(agent_service));
    serve(tasks, config, trust, shutdown, routes).await
}

/// What every voter needs to answer agents.
struct Voter<'a> {
    trust: &'a Trust,
    shutdown: &'a Shutdown,
    consensus: &'a Consensus,
    agents: Agents,
}

impl Voter<'_> {
    /// The agents' service, the stream to whoever leads, and the tasks of both.
    fn answer_agents(self, tasks: &mut Tasks, ears: Ears) -> AgentService {
        let (trust, consensus, agents) = (self.trust.clone(), self.consensus.clone(), self.agents);
        let (uplink, eyes) = (Uplink::default(), Eyes::open(trust.identity().name()));
        let service = AgentService::new(
            ears,
            agents.clone(),
            consensus.clone(),
            trust.clone(),
            uplink.clone(),
            eyes.clone(),
        );
        let (watch, ended) = (service.clone().watch_members(), wish(self.shutdown));
        tasks.side.spawn(async move {
            tokio::select! { () = watch => {}, () = ended => {} }
        });
        let (relay, ended) = (uplink.run(trust, consensus, agents, eyes), wish(self.shutdown));
        tasks.side.spawn(async move {
            tokio::select! { () = relay => {}, () = ended => {} }
        });
        service
    }
}

/// What every voter answers: the others, health, and the description of the services.
fn peers_only(consensus: &Consensus) -> Routes {
    Routes::new(peers::service(consensus.peer_service()))
}

async fn serve(
    tasks: &mut Tasks,
    config: &Config,
    trust: &Trust,
    shutdown: &Shutdown,
    routes: Routes,
) -> anyhow::Result<()> {
    let listener = bind(config.listen.get_ref()).await?;
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<PeerServer<crate::consensus::PeerService>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let routes = routes.add_service(health_service).add_service(reflection);
    let incoming = certs::listen(listener, trust, Limits::default(), wish(shutdown));
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(2)))
        .http2_keepalive_timeout(Some(Duration::from_secs(4)))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, wish(shutdown));
    tasks.vital.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(error = %certs::explain(&error), "the server ended");
        }
    });
    Ok(())
}

async fn serve_enrolment(
    tasks: &mut Tasks,
    config: &Config,
    trust: &Trust,
    shutdown: &Shutdown,
    handle: Handle,
    consensus: &Consensus,
) -> anyhow::Result<()> {
    let Some(address) = &config.enrol_listen else { return Ok(()) };
    let listener = bind(address.get_ref()).await?;
    let limits = Limits { connections: ENROL_CONNECTIONS, ..Limits::default() };
    let incoming = certs::enrol_listen(listener, trust, limits, wish(shutdown));
    let service = EnrolmentService::new(handle, consensus.clone(), trust.clone(), config.pki());
    let server = Server::builder()
        .timeout(Duration::from_secs(10))
        .add_service(EnrolmentServer::new(service))
        .serve_with_incoming_shutdown(incoming, wish(shutdown));
    tasks.vital.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(error = %certs::explain(&error), "the enrolment server ended");
        }
    });
    Ok(())
}

async fn bind(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: is another program there?"))
}
