//! Who gets in, and what both sides say of those who do not.

use super::support::*;
use crate::*;
use model::Wall;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn coordinator(installation: &Installation) -> Listening {
    serve(installation.member(Role::Coordinator, "c1"), Limits::default()).await
}

#[tokio::test]
async fn the_right_certificate_speaks() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = coordinator(&fx).await;
    let agent = fx.member(Role::Agent, "p1");
    let channel = c1.dial(&agent).await.unwrap();
    call(&channel).await.unwrap();
    assert_eq!(c1.trust.open_connections(), 1);
    assert_eq!(agent.open_connections(), 1);
    drop(channel);
    assert!(wait_for(async || c1.trust.open_connections() == 0).await);
    assert!(wait_for(async || agent.open_connections() == 0).await);

    let lazy = connect_lazy(&agent, &c1.at(), &Expected::coordinator().named("c1"), &link());
    call(&lazy.unwrap()).await.unwrap();
    assert_eq!(log.text(), "");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_in_words_on_both_sides() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = coordinator(&fx).await;
    let dir = fx.path("p1");
    let past = Wall(now().0 - 2 * 3_600_000);
    fx.authority
        .equip(&dir, &fx.identity(Role::Agent, "p1"), Duration::from_secs(3600), past)
        .unwrap();
    let agent = Trust::load(&dir).unwrap();
    log.expect(&["WARN", "peers will refuse our own certificate", "expired"]).await;

    let error = c1.dial(&agent).await.unwrap_err();
    assert_eq!(error.refused(), Some(&Refused::Expired));
    let words = explain(&error);
    assert!(
        words.starts_with(&format!(
            "the coordinator at {} refused our certificate: it has expired",
            c1.at()
        )) && words.contains("run `understudy-agent enroll` again"),
        "{words}"
    );
    log.expect(&[
        "WARN",
        "refused a connection",
        "agent `p1`",
        "127.0.0.1:",
        "expired 1 h 0 min ago",
    ])
    .await;
    log.expect(&["WARN", "the coordinator refused our certificate", &c1.at(), "expired"]).await;

    // A lazy channel learns the same from its call's status.
    let lazy = connect_lazy(&agent, &c1.at(), &Expected::coordinator(), &link()).unwrap();
    let status = call(&lazy).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(explain_status(&status), words);
    assert_eq!(c1.trust.open_connections(), 0);
}

#[tokio::test]
async fn a_foreign_certificate_is_refused_in_words_on_both_sides() {
    let (log, _guard) = Log::capture();
    let (fx, other) = (Installation::new("fx"), Installation::new("fx"));
    let c1 = coordinator(&fx).await;
    // It trusts our coordinator, but its certificate is of another authority.
    let dir = other.equip(Role::Agent, "p1");
    std::fs::write(dir.join("authority.pem"), fx.authority.certificate_pem()).unwrap();
    let error = c1.dial(&Trust::load(&dir).unwrap()).await.unwrap_err();
    assert_eq!(error.refused(), Some(&Refused::UnknownAuthority));
    assert!(explain(&error).contains("authority that they do not trust"), "{error}");
    log.expect(&[
        "refused a connection",
        "agent `p1`",
        "authority that this installation does not",
    ])
    .await;

    // And one that does not trust our coordinator refuses it itself.
    let stranger = other.member(Role::Agent, "p2");
    let error = c1.dial(&stranger).await.unwrap_err();
    assert!(matches!(error, ConnectError::WeRefused { refusal: Refusal::ForeignAuthority, .. }));
    log.expect(&["WARN", "refused a connection", "coordinator `c1`", &c1.at()]).await;
    log.expect(&["WARN", "a dialler refused our certificate", "do not trust"]).await;
}

#[tokio::test]
async fn another_installation_of_the_same_authority_is_refused() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = coordinator(&fx).await;
    // An authority that signs for a second installation: as if its name had been changed.
    let dir = fx.path("metals");
    let mut metals = Authority::create("metals", now()).unwrap();
    std::fs::create_dir_all(&dir).unwrap();
    metals.equip(&dir, &Identity::new("metals", Role::Agent, "p1").unwrap(), MONTH, now()).unwrap();
    metals.save(&fx.path("metals-authority")).unwrap();
    metals = Authority::load(&fx.path("metals-authority")).unwrap();
    let both = format!("{}{}", fx.authority.certificate_pem(), metals.certificate_pem());
    for place in [&dir, &fx.path("c1")] {
        std::fs::write(place.join("authority.pem"), &both).unwrap();
    }
    c1.trust.reload().unwrap();
    let agent = Trust::load(&dir).unwrap();
    let error = c1.dial(&agent).await.unwrap_err();
    assert!(explain(&error).contains("it belongs to installation `fx`, and this is `metals`"));
    log.expect(&["a dialler refused our certificate", "another installation"]).await;
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_its_open_connection_closed() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = coordinator(&fx).await;
    let (victim, other) = (fx.member(Role::Agent, "p1"), fx.member(Role::Agent, "p2"));
    let (channel, kept) = (c1.dial(&victim).await.unwrap(), c1.dial(&other).await.unwrap());
    call(&channel).await.unwrap();
    call(&kept).await.unwrap();
    assert_eq!(c1.trust.open_connections(), 2);

    let serial = victim.leaf().serial;
    c1.trust.set_revoked([(serial.clone(), "host was stolen".into())].into()).unwrap();
    assert_eq!(c1.trust.open_connections(), 1);
    log.expect(&["closed an open connection", "agent `p1`", &serial, "host was stolen"]).await;
    assert!(wait_for(async || victim.open_connections() == 0).await, "the client did not see it");
    call(&kept).await.unwrap();

    // The channel dials again by itself, and is refused with the reason.
    expect_refusal(&channel, "refused our certificate: it was revoked").await;
    log.expect(&["refused a connection", "agent `p1`", "was revoked: host was stolen"]).await;

    // The list outlives a restart, and can be taken back.
    let again = Trust::load(fx.path("c1")).unwrap();
    assert_eq!(again.revoked().get(&serial).map(String::as_str), Some("host was stolen"));
    c1.trust.set_revoked([].into()).unwrap();
    call(&channel).await.unwrap();
}

#[tokio::test]
async fn a_dialler_closes_its_connection_to_a_revoked_coordinator() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = coordinator(&fx).await;
    let agent = fx.member(Role::Agent, "p1");
    let channel = c1.dial(&agent).await.unwrap();
    call(&channel).await.unwrap();
    agent.set_revoked([(c1.trust.leaf().serial, "broken into".into())].into()).unwrap();
    log.expect(&["closed an open connection", "coordinator `c1`", "broken into"]).await;
    expect_refusal(&channel, "broken into").await;
    assert!(wait_for(async || c1.trust.open_connections() == 0).await);
}

#[tokio::test]
async fn a_certificate_that_ends_takes_its_connection_along() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = coordinator(&fx).await;
    let dir = fx.path("p1");
    let identity = fx.identity(Role::Agent, "p1");
    fx.authority.equip(&dir, &identity, Duration::from_millis(2500), now()).unwrap();
    let agent = Trust::load(&dir).unwrap();
    let channel = c1.dial(&agent).await.unwrap();
    call(&channel).await.unwrap();
    let _watch = c1.trust.watch(Duration::from_millis(20), std::future::pending());
    log.expect(&["closed an open connection", "agent `p1`", "expired"]).await;
    expect_refusal(&channel, "refused our certificate: it has expired").await;
}

#[tokio::test]
async fn the_wrong_role_is_refused_in_words() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = coordinator(&fx).await;
    // Let in, but not to this call.
    let operator = fx.member(Role::Operator(Rank::Admin), "ann");
    let status = call(&c1.dial(&operator).await.unwrap()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    assert_eq!(
        explain_status(&status),
        "this is operator `ann` (admin); only agents may call Check"
    );
    log.expect(&["WARN", "refused a call", "operator `ann` (admin)", "127.0.0.1:"]).await;

    // An agent cannot pose as a coordinator.
    let impostor = serve(fx.member(Role::Agent, "p1"), Limits::default()).await;
    let error = impostor.dial(&operator).await.unwrap_err();
    assert!(explain(&error).contains("agent `p1` answers where a coordinator belongs"), "{error}");
    log.expect(&["refused a connection", &impostor.at(), "agent `p1` answers where"]).await;
    log.expect(&["a dialler refused our certificate", "role"]).await;

    // Nor one coordinator as another.
    let expected = Expected::coordinator().named("c2");
    let error = connect(&operator, &c1.at(), &expected, &link()).await.unwrap_err();
    assert!(explain(&error).contains("coordinator `c1` answers where `c2` belongs"), "{error}");
}

#[tokio::test]
async fn no_certificate_is_refused() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = coordinator(&fx).await;
    let mut roots = rustls::RootCertStore::empty();
    for root in certificate::certificates(fx.authority.certificate_pem()).unwrap() {
        roots.add(root).unwrap();
    }
    let mut config = rustls::ClientConfig::builder_with_provider(tls::provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = server_name(RoleKind::Coordinator).try_into().unwrap();
    let tcp = TcpStream::connect(c1.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let mut stream = connector.connect(name, tcp).await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(Refused::find(&error), Some(Refused::NoCertificate));
    log.expect(&["WARN", "refused a connection", "presented no certificate"]).await;
}

#[tokio::test]
async fn tls_1_2_is_not_spoken_and_nonsense_is_no_harm() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = coordinator(&fx).await;
    let mut plain = TcpStream::connect(c1.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    log.expect(&["a TLS handshake failed"]).await;

    let config = rustls::ClientConfig::builder_with_provider(tls::provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let tcp = TcpStream::connect(c1.address).await.unwrap();
    let name = server_name(RoleKind::Coordinator).try_into().unwrap();
    let error = connector.connect(name, tcp).await.unwrap_err();
    assert!(matches!(Refused::find(&error), Some(Refused::Protocol { .. })), "{error:?}");
    call(&c1.dial(&fx.member(Role::Agent, "p1")).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn handshakes_and_connections_are_bounded() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let limits = Limits {
        connections: 2,
        handshakes: 1,
        handshake: Duration::from_millis(100),
        ..Limits::default()
    };
    let c1 = serve(fx.member(Role::Coordinator, "c1"), limits).await;
    let agent = fx.member(Role::Agent, "p1");
    // A silent peer holds the only handshake, and only until its deadline.
    let silent = TcpStream::connect(c1.address).await.unwrap();
    let first = c1.dial(&agent).await.unwrap();
    log.expect(&["gave up a TLS handshake", "100 ms"]).await;
    drop(silent);
    let second = c1.dial(&agent).await.unwrap();
    call(&first).await.unwrap();
    call(&second).await.unwrap();
    let error = c1.dial(&agent).await.unwrap_err();
    assert!(matches!(error, ConnectError::Closed { .. }), "{error:?}");
    log.expect(&["too many are open"]).await;
    drop(first);
    assert!(wait_for(async || c1.dial(&agent).await.is_ok()).await, "the place was not given back");
    call(&second).await.unwrap();
}

#[tokio::test]
async fn a_dial_has_a_deadline_and_addresses_are_checked() {
    let fx = Installation::new("fx");
    let agent = fx.member(Role::Agent, "p1");
    let expected = Expected::coordinator();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = silent.local_addr().unwrap().to_string();
    let link = Link { connect: Duration::from_millis(100), ..link() };
    let error = connect(&agent, &at, &expected, &link).await.unwrap_err();
    let words = explain(&error);
    assert!(words.contains("did not finish the TLS handshake within 100 ms"), "{words}");
    drop(silent);
    let words = explain(&connect(&agent, &at, &expected, &link).await.unwrap_err());
    assert!(words.contains("cannot reach") && words.contains("refused"), "{words}");
    for bad in ["c1", "c1:", ":7443", "c1:x", "c1:0", "::1:7443", "c1:70000"] {
        let error = connect_lazy(&agent, bad, &expected, &link).unwrap_err();
        assert!(matches!(error, ConnectError::Address { .. }), "{bad}");
    }
    assert!(connect_lazy(&agent, "[::1]:7443", &expected, &link).is_ok());
}

#[tokio::test]
async fn a_listener_ends_at_shutdown() {
    let fx = Installation::new("fx");
    let trust = fx.member(Role::Coordinator, "c1");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut incoming = listen(listener, &trust, Limits::default(), async move {
        let _ = stopped.await;
    });
    stop.send(()).unwrap();
    assert!(tokio_stream::StreamExt::next(&mut incoming).await.is_none());
}
