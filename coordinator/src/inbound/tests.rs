//! One real coordinator on loopback, spoken to as agents, operators and strangers do.

use crate::{config::Config, run};
use certs::{
    Authority, Expected, Identity, KeyRequest, Link, Rank, Role, Token, Trust, enrol_connect_to,
    validity_of,
};
use daemon::shutdown::Shutdown;
use proto::v1::{
    self, agent_link_client::AgentLinkClient, agent_message::Body,
    enrolment_client::EnrolmentClient, operator_client::OperatorClient, relay_down::Body as Down,
    relay_up::Body as Up, voter_link_client::VoterLinkClient,
};
use std::{
    net::TcpListener,
    path::PathBuf,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};

mod tasks;

struct Solo {
    dir: TempDir,
    authority: Authority,
    address: String,
    enrol: String,
    shutdown: Shutdown,
}

impl Drop for Solo {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn link() -> Link {
    Link::default()
}

impl Solo {
    /// A founded cluster of one, answering.
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = TempDir::new().unwrap();
        let (address, enrol) = (free(), free());
        let state = dir.path().join("c1");
        let authority = Authority::create("test", certs::now()).unwrap();
        daemon::durable::create_private_dir(&state).unwrap();
        authority.save(&state.join("pki")).unwrap();
        let solo = Self { dir, authority, address, enrol, shutdown: Shutdown::new() };
        solo.equip(state.join("pki"), Role::Coordinator, "c1");
        std::fs::write(state.join("founding.json"), r#"{"certificates":[]}"#).unwrap();
        let text = format!(
            "name = \"c1\"\nstate_dir = \"{}\"\nlisten = \"{a}\"\nadvertise = \"{a}\"\n\
             enrol_listen = \"{e}\"\nenrol_advertise = \"{e}\"\n",
            state.display(),
            a = solo.address,
            e = solo.enrol
        );
        let file = solo.dir.path().join("coordinator.toml");
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        tokio::spawn(run::run(config, solo.shutdown.clone()));
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut admin = solo.operator(Rank::Admin).await;
        while admin.status(v1::StatusRequest::default()).await.is_err() {
            assert!(Instant::now() < deadline, "no leader in time");
            tokio::task::yield_now().await;
        }
        solo
    }

    fn equip(&self, dir: PathBuf, role: Role, name: &str) -> Trust {
        let identity = Identity::new("test", role, name).unwrap();
        self.authority.equip(&dir, &identity, validity_of(role), certs::now()).unwrap();
        Trust::load(dir).unwrap()
    }

    async fn dial(&self, role: Role, name: &str) -> Channel {
        let trust = self.equip(self.dir.path().join(format!("{role:?}-{name}")), role, name);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match certs::connect(&trust, &self.address, &Expected::coordinator(), &link()).await {
                Ok(channel) => return channel,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
    }

    async fn operator(&self, rank: Rank) -> OperatorClient<Channel> {
        OperatorClient::new(self.dial(Role::Operator(rank), "ann").await)
    }

    async fn token(&self, host: &str) -> Token {
        let mut admin = self.operator(Rank::Admin).await;
        let request =
            v1::CreateTokenRequest { host: host.into(), role: "agent".into(), valid_ms: 0 };
        let token = admin.create_token(request).await.unwrap().into_inner().token;
        Token::parse(&token, certs::now()).unwrap()
    }

    async fn enrol(&self, token: &Token, key: &KeyRequest) -> Result<v1::EnrolReply, Status> {
        let channel = enrol_connect_to(&self.enrol, token.authority, key, &link()).await.unwrap();
        let request = v1::EnrolRequest {
            version: Some(proto::own_version()),
            token: token.id.clone(),
            secret: token.secret().to_vec(),
            host: token.host.to_string(),
            request: key.csr_der().to_vec(),
        };
        EnrolmentClient::new(channel).enrol(request).await.map(tonic::Response::into_inner)
    }

    /// Opens a session as `host`, says these things, and returns how it ended.
    async fn say(&self, host: &str, bodies: Vec<Body>) -> Status {
        let mut client = AgentLinkClient::new(self.dial(Role::Agent, host).await);
        let (out, stream) = tokio::sync::mpsc::channel(8);
        for body in bodies {
            out.send(v1::AgentMessage { body: Some(body) }).await.unwrap();
        }
        let mut answers = client.session(ReceiverStream::new(stream)).await.unwrap().into_inner();
        loop {
            match tokio::time::timeout(Duration::from_secs(10), answers.message()).await.unwrap() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the session ended without a word"),
                Err(status) => return status,
            }
        }
    }
}

fn hello(host: &str) -> v1::Hello {
    v1::Hello { version: Some(proto::own_version()), host: host.into(), boot: 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_is_kept_to_its_own_services() {
    let solo = Solo::start().await;
    let agent = solo.dial(Role::Agent, "p1").await;
    let denied =
        OperatorClient::new(agent.clone()).status(v1::StatusRequest::default()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    assert!(denied.message().contains("agent `p1`"), "{}", denied.message());

    let mut viewer = solo.operator(Rank::Viewer).await;
    viewer.status(v1::StatusRequest::default()).await.unwrap();
    let denied = viewer.hold(v1::HoldRequest::default()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let denied = viewer.apply(v1::ApplyRequest::default()).await.unwrap_err();
    assert!(denied.message().contains("admin"), "{}", denied.message());

    let operator = solo.dial(Role::Operator(Rank::Admin), "eve").await;
    let (_out, stream) = tokio::sync::mpsc::channel::<v1::AgentMessage>(1);
    let denied = AgentLinkClient::new(operator.clone())
        .session(ReceiverStream::new(stream))
        .await
        .unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let mut peer = v1::peer_client::PeerClient::new(operator);
    let denied = peer.vote(v1::PeerMessage::default()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_speaks_for_its_own_host_and_in_a_version_that_is_known() {
    let solo = Solo::start().await;
    let other = solo.say("p1", vec![Body::Hello(hello("p2"))]).await;
    assert!(other.message().contains("`p1`") && other.message().contains("`p2`"), "{other:?}");

    let heartbeat = v1::Heartbeat { host: "p2".into(), ..v1::Heartbeat::default() };
    let other = solo.say("p1", vec![Body::Hello(hello("p1")), Body::Heartbeat(heartbeat)]).await;
    assert_eq!(other.code(), Code::PermissionDenied);

    let mut newer = hello("p1");
    newer.version.as_mut().unwrap().minor = proto::MINOR + 2;
    let skewed = solo.say("p1", vec![Body::Hello(newer)]).await;
    assert!(skewed.message().contains("upgrade the older"), "{skewed:?}");

    let unknown = v1::ServiceStatus {
        service: "bridge".into(),
        group: "fx".into(),
        state: 77,
        ..v1::ServiceStatus::default()
    };
    let heartbeat =
        v1::Heartbeat { host: "p1".into(), services: vec![unknown], ..v1::Heartbeat::default() };
    let status = solo.say("p1", vec![Body::Hello(hello("p1")), Body::Heartbeat(heartbeat)]).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("does not know (77)"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minor_version_ahead_is_understood() {
    let solo = Solo::start().await;
    let mut client = AgentLinkClient::new(solo.dial(Role::Agent, "p1").await);
    let (out, stream) = tokio::sync::mpsc::channel(8);
    let mut newer = hello("p1");
    newer.version.as_mut().unwrap().minor = proto::MINOR + 1;
    out.send(v1::AgentMessage { body: Some(Body::Hello(newer)) }).await.unwrap();
    // A kind of message that this version does not know is ignored by the skew rule.
    out.send(v1::AgentMessage { body: None }).await.unwrap();
    let mut answers = client.session(ReceiverStream::new(stream)).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap();
    assert!(matches!(first.body, Some(v1::coordinator_message::Body::Welcome(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_one_key_and_repairs_with_the_same() {
    let solo = Solo::start().await;
    let token = solo.token("p1").await;
    let key = KeyRequest::generate().unwrap();
    let first = solo.enrol(&token, &key).await.unwrap();
    let again = solo.enrol(&token, &key).await.unwrap();
    assert_ne!(first.serial, again.serial);
    assert!(first.authority_key.is_empty(), "an agent has no business with the authority's key");
    let thief = KeyRequest::generate().unwrap();
    let refused = solo.enrol(&token, &thief).await.unwrap_err();
    assert!(refused.message().contains("already used"), "{refused:?}");

    // Another host's name with a valid token, and an invented token.
    let mut other = solo.token("p3").await;
    other.host = model::HostId::new("p2").unwrap();
    let refused = solo.enrol(&other, &KeyRequest::generate().unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let mut invented = token;
    invented.id = "0123456789abcdef".into();
    let refused = solo.enrol(&invented, &key).await.unwrap_err();
    assert!(refused.message().contains("unknown"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_out_at_once() {
    let solo = Solo::start().await;
    let trust = solo.equip(solo.dir.path().join("bob"), Role::Operator(Rank::Viewer), "bob");
    let (whom, link) = (Expected::coordinator(), link());
    let dial = || certs::connect(&trust, &solo.address, &whom, &link);
    let mut bob = OperatorClient::new(dial().await.unwrap());
    bob.status(v1::StatusRequest::default()).await.unwrap();
    let mut admin = solo.operator(Rank::Admin).await;
    let serial = trust.leaf().serial;
    let request = v1::RevokeCertificateRequest { serial, reason: "left the company".into() };
    admin.revoke_certificate(request).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while bob.status(v1::StatusRequest::default()).await.is_ok() {
        assert!(Instant::now() < deadline, "the open connection lives on");
    }
    let refused = dial().await.unwrap_err().to_string();
    assert!(refused.contains("revoked"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_group_is_refused_whole() {
    let solo = Solo::start().await;
    let mut admin = solo.operator(Rank::Admin).await;
    let good = "[group]\nname = \"fx\"\nlease = \"5s\"\nprimary = \"a\"\n\
                [[site]]\nname = \"a\"\nhosts = [\"p1\"]\n[[site]]\nname = \"b\"\nhosts = [\"s1\"]\n\
                [[service]]\nname = \"bridge\"\n";
    let bad = good.replace("\"fx\"", "\"fy\"").replace("lease = \"5s\"", "lease = \"5\"");
    let document = |name: &str, text: &str| v1::Document { name: name.into(), text: text.into() };
    let request = v1::ApplyRequest {
        request_id: "1".into(),
        documents: vec![document("good.toml", good), document("bad.toml", &bad)],
    };
    let reply = admin.apply(request).await.unwrap().into_inner();
    assert_eq!((reply.faults[0].file.as_str(), reply.faults[0].line), ("bad.toml", 3), "{reply:?}");
    let status = admin.status(v1::StatusRequest::default()).await.unwrap().into_inner();
    assert!(status.groups.is_empty(), "nothing of it was taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_answer_members_only() {
    let solo = Solo::start().await;
    let channel = solo.dial(Role::Operator(Rank::Viewer), "ann").await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let request = tonic_health::pb::HealthCheckRequest { service: "understudy.v1.Peer".into() };
    let answer = health.check(request).await.unwrap().into_inner();
    assert_eq!(answer.status, 1);
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    assert!(list.service.iter().any(|s| s.name == "understudy.v1.Operator"), "{list:?}");
}

const GROUP: &str = "[group]\nname = \"fx\"\nlease = \"5s\"\nprimary = \"a\"\n\
                     [[site]]\nname = \"a\"\nhosts = [\"p1\"]\n\
                     [[site]]\nname = \"b\"\nhosts = [\"s1\"]\n\
                     [[service]]\nname = \"bridge\"\n";

/// What a voter that relays says and hears.
struct Relay {
    up: tokio::sync::mpsc::Sender<v1::RelayUp>,
    down: tonic::Streaming<v1::RelayDown>,
}

impl Relay {
    async fn open(solo: &Solo, role: Role, name: &str) -> Result<Self, Status> {
        let mut client = VoterLinkClient::new(solo.dial(role, name).await);
        let (up, stream) = tokio::sync::mpsc::channel(8);
        let down = client.relay(ReceiverStream::new(stream)).await?.into_inner();
        Ok(Self { up, down })
    }

    async fn say(&self, body: Up) {
        self.up.send(v1::RelayUp { body: Some(body) }).await.unwrap();
    }

    async fn hear(&mut self) -> Down {
        let heard = tokio::time::timeout(Duration::from_secs(10), self.down.message()).await;
        heard.unwrap().unwrap().unwrap().body.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c6_only_voters_may_relay() {
    let solo = Solo::start().await;
    let strangers = [
        (Role::Agent, "p1", "agent `p1`"),
        (Role::Operator(Rank::Admin), "eve", "operator"),
        (Role::Coordinator, "c9", "no voter"),
    ];
    for (role, name, words) in strangers {
        let denied = Relay::open(&solo, role, name).await.err().unwrap();
        assert_eq!(denied.code(), Code::PermissionDenied, "{denied:?}");
        assert!(denied.message().contains(words), "{denied:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c6_what_a_voter_relays_is_answered_through_it() {
    let solo = Solo::start().await;
    let mut admin = solo.operator(Rank::Admin).await;
    let document = v1::Document { name: "fx.toml".into(), text: GROUP.into() };
    let request = v1::ApplyRequest { request_id: "1".into(), documents: vec![document] };
    assert!(admin.apply(request).await.unwrap().into_inner().faults.is_empty());

    let mut relay = Relay::open(&solo, Role::Coordinator, "c1").await.unwrap();
    relay.say(Up::SessionHost("p1".into())).await;
    let Down::Assignment(told) = relay.hear().await else { panic!("no assignment") };
    assert_eq!((told.host.as_str(), told.assignment.unwrap().groups.len()), ("p1", 1));

    let request = v1::LeaseRequest {
        group: "fx".into(),
        host: "p1".into(),
        epoch: 7,
        nonce: 99,
        derived: None,
    };
    relay.say(Up::Renewal(v1::RelayedRenewal { asker: 42, request: Some(request) })).await;
    let Down::Lease(lease) = relay.hear().await else { panic!("no lease") };
    assert_eq!(lease.asker, 42, "the voter's own number comes back");
    let Some(v1::lease_reply::Body::Refused(refused)) = lease.reply.unwrap().body else {
        panic!("a lease for an epoch that is not committed")
    };
    assert_eq!(refused.nonce, 99);

    // Nonsense, and a sight that is another voter's, cost nobody the relay.
    relay.say(Up::SessionHost("Not A Name".into())).await;
    relay
        .say(Up::Observation(v1::Observation { observer: "c2".into(), ..Default::default() }))
        .await;
    let heartbeat = v1::Heartbeat { host: "p1".into(), sequence: 1, ..Default::default() };
    relay.say(Up::Heartbeat(heartbeat)).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let status = admin.status(v1::StatusRequest::default()).await.unwrap().into_inner();
        let p1 = status.hosts.iter().find(|host| host.name == "p1").unwrap();
        if p1.heard_ms_ago.is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "the relayed heartbeat was not heard: {p1:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_added_with_a_rank_of_its_own() {
    let solo = Solo::start().await;
    let mut admin = solo.operator(Rank::Admin).await;
    let request =
        v1::CreateTokenRequest { host: "bob".into(), role: "operator".into(), valid_ms: 0 };
    let token = admin.create_token(request).await.unwrap().into_inner().token;
    let token = Token::parse(&token, certs::now()).unwrap();
    let reply = solo.enrol(&token, &KeyRequest::generate().unwrap()).await.unwrap();
    assert!(reply.authority_key.is_empty(), "no business with the authority's key");
    assert_eq!(reply.coordinators, std::slice::from_ref(&solo.address));
    let listed = admin.list_certificates(v1::ListCertificatesRequest {}).await.unwrap();
    let uri = "understudy://test/operator/operator/bob";
    assert!(listed.into_inner().certificates.iter().any(|c| c.identity == uri));
}
