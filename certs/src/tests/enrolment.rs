//! The enrolment port: the token pins the authority, the key proves the host.

use super::support::*;
use crate::*;
use model::{HostId, Wall};
use std::{net::SocketAddr, time::Duration};
use tokio::net::TcpListener;

async fn enrolment(trust: &Trust) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = enrol_listen(listener, trust, Limits::default(), std::future::pending());
    tokio::spawn(health(incoming, |request| {
        // The request of the test's key comes along as metadata, as hexadecimal.
        let joining = joining(&request)?;
        assert_eq!(Fingerprint::of(&joining.public_key), joining.fingerprint);
        if let Some(csr) = request.metadata().get_bin("csr-bin") {
            joining.check_request(&csr.to_bytes().unwrap())?;
        }
        Ok(request)
    }));
    address
}

fn token(authority: Fingerprint, addresses: &[SocketAddr]) -> Token {
    let addresses = addresses.iter().map(ToString::to_string).collect();
    let expires = Wall(now().0 + 60_000);
    Token::create(HostId::new("p1").unwrap(), JoinRole::Agent, authority, addresses, expires)
        .unwrap()
}

async fn send(channel: &tonic::transport::Channel, csr: &[u8]) -> Result<(), tonic::Status> {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let mut request = tonic::Request::new(HealthCheckRequest { service: String::new() });
    request.metadata_mut().insert_bin("csr-bin", tonic::metadata::MetadataValue::from_bytes(csr));
    HealthClient::new(channel.clone()).check(request).await.map(|_| ())
}

#[tokio::test]
async fn a_host_enrols_with_its_token_and_then_speaks() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = serve(fx.member(Role::Coordinator, "c1"), Limits::default()).await;
    let port = enrolment(&c1.trust).await;
    let unreachable: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let line = token(fx.authority.fingerprint(), &[unreachable, port]).print();

    let token = Token::parse(&line, now()).unwrap();
    let store = Store::at(fx.path("p1"));
    let request = store.pending().unwrap();
    let channel = enrol_connect(&token, &request, &link()).await.unwrap();
    send(&channel, request.csr_der()).await.unwrap();
    // Another key's request is refused: the key of the handshake counts.
    let status = send(&channel, KeyRequest::generate().unwrap().csr_der()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("another key"), "{status:?}");
    log.expect(&["refused a certificate request", "another key", "127.0.0.1:"]).await;

    let identity = Identity::new("fx", token.role.role(), token.host.as_str()).unwrap();
    let issued = fx.authority.issue(request.csr_der(), &identity, MONTH, now()).unwrap();
    let authorities = c1.trust.authorities_pem();
    token.check_authority(&authorities).unwrap();
    store.complete(&issued.cert_pem, &authorities).unwrap();
    let agent = Trust::load(fx.path("p1")).unwrap();
    assert_eq!(agent.identity(), identity);
    call(&c1.dial(&agent).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn another_authority_than_the_pinned_one_is_refused_in_words() {
    let (log, _guard) = Log::capture();
    let (fx, other) = (Installation::new("fx"), Installation::new("fx"));
    let port = enrolment(&other.member(Role::Coordinator, "c1")).await;
    let token = token(fx.authority.fingerprint(), &[port]);
    let request = KeyRequest::generate().unwrap();
    let error = enrol_connect(&token, &request, &link()).await.unwrap_err();
    let words = explain(&error);
    assert!(
        words.contains("join token pins") && words.contains(&fx.authority.fingerprint().short()),
        "{words}"
    );
    log.expect(&["refused a connection", "coordinator `c1`", "join token pins"]).await;
    log.expect(&["a dialler refused our certificate", "do not trust"]).await;
}

#[tokio::test]
async fn a_presented_pin_alone_is_not_enough() {
    let (_log, _guard) = Log::capture();
    let (fx, evil) = (Installation::new("fx"), Installation::new("fx"));
    // Somebody in between presents the pinned authority, which is no secret,
    // beside a certificate of his own authority.
    let dir = evil.equip(Role::Coordinator, "c1");
    std::fs::write(dir.join("authority.pem"), fx.authority.certificate_pem()).unwrap();
    let port = enrolment(&Trust::load(dir).unwrap()).await;
    let token = token(fx.authority.fingerprint(), &[port]);
    let request = KeyRequest::generate().unwrap();
    let error = enrol_connect(&token, &request, &link()).await.unwrap_err();
    assert!(explain(&error).contains("does not trust"), "{error}");

    // Nor is a member of the installation that is no coordinator.
    let port = enrolment(&fx.member(Role::Agent, "p9")).await;
    let token = self::token(fx.authority.fingerprint(), &[port]);
    let error = enrol_connect(&token, &request, &link()).await.unwrap_err();
    assert!(explain(&error).contains("agent `p9` answers where a coordinator"), "{error}");
}

#[tokio::test]
async fn the_ports_do_not_take_each_others_diallers() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = serve(fx.member(Role::Coordinator, "c1"), Limits::default()).await;
    let port = enrolment(&c1.trust).await;
    // A member at the enrolment port: its certificate is not self-signed.
    let agent = fx.member(Role::Agent, "p1");
    let expected = Expected::coordinator();
    let error = connect(&agent, &port.to_string(), &expected, &link()).await.unwrap_err();
    assert_eq!(error.refused(), Some(&Refused::Unusable));
    log.expect(&["refused a connection", "agent `p1`", "another key signed it"]).await;

    // A joining host at the members' port. It does not present the authorities,
    // so the host refuses first.
    let request = KeyRequest::generate().unwrap();
    let pin = fx.authority.fingerprint();
    let error = enrol_connect_to(&c1.at(), pin, &request, &link()).await.unwrap_err();
    assert!(explain(&error).contains("join token pins"), "{error}");
}

#[tokio::test]
async fn a_self_signed_certificate_does_not_speak_at_the_members_port() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let dir = fx.equip(Role::Coordinator, "c1");
    // A coordinator whose identity.pem holds its chain with the authority.
    let pem = std::fs::read_to_string(dir.join("identity.pem")).unwrap();
    let chain = format!("{pem}{}", fx.authority.certificate_pem());
    std::fs::write(dir.join("identity.pem"), chain).unwrap();
    let c1 = serve(Trust::load(dir).unwrap(), Limits::default()).await;
    let request = KeyRequest::generate().unwrap();
    let pin = fx.authority.fingerprint();
    let error = enrol_connect_to(&c1.at(), pin, &request, &link()).await.unwrap_err();
    assert!(error.refused().is_some(), "{error:?}");
    assert!(explain(&error).contains("enrolment port"), "{error}");
    log.expect(&["refused a connection", "authority that this installation does not trust"]).await;
}

#[tokio::test]
async fn every_address_is_tried_within_its_bound() {
    let fx = Installation::new("fx");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let token = token(fx.authority.fingerprint(), &[silent.local_addr().unwrap(); 2]);
    let link = Link { connect: Duration::from_millis(50), ..link() };
    let request = KeyRequest::generate().unwrap();
    let error = enrol_connect(&token, &request, &link).await.unwrap_err();
    let ConnectError::All(each) = &error else { panic!("{error:?}") };
    assert_eq!(each.len(), 2);
    assert!(explain(&error).contains("within 50 ms"), "{error}");
}
