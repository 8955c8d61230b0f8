//! Certificates, authorities and revocations change without a restart.

use super::support::*;
use crate::*;
use std::{fs, time::Duration};

const LOOK: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_new_certificate_is_taken_up_and_open_connections_stay() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = serve(fx.member(Role::Coordinator, "c1"), Limits::default()).await;
    let agent = fx.member(Role::Agent, "p1");
    let open = c1.dial(&agent).await.unwrap();
    call(&open).await.unwrap();
    let before = c1.trust.leaf().serial;
    let _watch = c1.trust.watch(LOOK, std::future::pending());

    let issued = fx
        .authority
        .equip(&fx.path("c1"), &fx.identity(Role::Coordinator, "c1"), MONTH, now())
        .unwrap();
    assert!(wait_for(async || c1.trust.leaf().serial == issued.serial).await, "{}", log.text());
    log.expect(&["credentials reloaded", &issued.serial]).await;
    call(&open).await.unwrap();
    assert!(!log.text().contains("closed an open connection"), "{}", log.text());

    // Which certificate is shown now? A dialler that refuses the old one gets
    // through, and loses only the connection that was made with it.
    agent.set_revoked([(before, "replaced".into())].into()).unwrap();
    log.expect(&["closed an open connection", "replaced"]).await;
    let fresh = c1.dial(&agent).await.unwrap();
    call(&fresh).await.unwrap();
    assert_eq!(agent.open_connections(), 1);
    agent.set_revoked([(issued.serial, "this too".into())].into()).unwrap();
    let error = c1.dial(&agent).await.unwrap_err();
    let ConnectError::WeRefused { refusal: Refusal::Revoked { reason, .. }, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(reason, "this too");
}

#[tokio::test]
async fn authorities_follow_each_other() {
    let (log, _guard) = Log::capture();
    let (old, new) = (Installation::new("fx"), Installation::new("fx"));
    let c1 = serve(old.member(Role::Coordinator, "c1"), Limits::default()).await;
    let _watch = c1.trust.watch(LOOK, std::future::pending());
    let dir = new.equip(Role::Agent, "p2");
    let both = format!("{}{}", old.authority.certificate_pem(), new.authority.certificate_pem());
    fs::write(dir.join("authority.pem"), &both).unwrap();
    let (veteran, newcomer) = (old.member(Role::Agent, "p1"), Trust::load(dir).unwrap());
    let open = c1.dial(&veteran).await.unwrap();
    call(&open).await.unwrap();
    assert_eq!(c1.dial(&newcomer).await.unwrap_err().refused(), Some(&Refused::UnknownAuthority));

    // Both are trusted: the newcomer gets in, the veteran stays.
    fs::write(old.path("c1").join("authority.pem"), &both).unwrap();
    assert!(wait_for(async || c1.trust.authorities().len() == 2).await);
    call(&c1.dial(&newcomer).await.unwrap()).await.unwrap();
    call(&open).await.unwrap();

    // The old one is dropped: the veteran's open connection ends.
    fs::write(old.path("c1").join("authority.pem"), new.authority.certificate_pem()).unwrap();
    log.expect(&["closed an open connection", "agent `p1`", "does not trust"]).await;
    assert!(wait_for(async || veteran.open_connections() == 0).await);
    expect_refusal(&open, "do not trust").await;
    log.expect(&["peers will refuse our own certificate", "coordinator `c1`"]).await;
}

#[tokio::test]
async fn a_revocation_that_another_process_writes_is_seen() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = serve(fx.member(Role::Coordinator, "c1"), Limits::default()).await;
    let _watch = c1.trust.watch(LOOK, std::future::pending());
    let agent = fx.member(Role::Agent, "p1");
    let channel = c1.dial(&agent).await.unwrap();
    call(&channel).await.unwrap();
    let list = [(agent.leaf().serial, "by hand".into())].into();
    Store::at(fx.path("c1")).save_revoked(&list).unwrap();
    log.expect(&["closed an open connection", "by hand"]).await;
}

#[tokio::test]
async fn a_broken_directory_leaves_the_old_trust_and_is_told_once() {
    let (log, _guard) = Log::capture();
    let fx = Installation::new("fx");
    let c1 = serve(fx.member(Role::Coordinator, "c1"), Limits::default()).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let watch = c1.trust.watch(LOOK, async move {
        let _ = stopped.await;
    });
    let pem = fs::read_to_string(fx.path("c1").join("identity.pem")).unwrap();
    fs::write(fx.path("c1").join("identity.pem"), "junk").unwrap();
    log.expect(&["do not load", "identity.pem is not usable"]).await;
    call(&c1.dial(&fx.member(Role::Agent, "p1")).await.unwrap()).await.unwrap();

    fs::write(fx.path("c1").join("identity.pem"), pem).unwrap();
    log.expect(&["credentials reloaded"]).await;
    assert_eq!(log.text().matches("do not load").count(), 1);
    stop.send(()).unwrap();
    watch.await.unwrap();
    fs::remove_file(fx.path("c1").join("identity.pem")).unwrap();
    assert!(c1.trust.reload().is_err());
    assert_eq!(c1.trust.identity(), fx.identity(Role::Coordinator, "c1"));
}

#[test]
fn bad_serials_change_nothing() {
    let fx = Installation::new("fx");
    let trust = fx.member(Role::Coordinator, "c1");
    trust.set_revoked([("0A".into(), "x".into())].into()).unwrap();
    assert!(trust.set_revoked([("zz".into(), "x".into())].into()).is_err());
    assert_eq!(trust.revoked(), [("0a".into(), "x".into())].into());
}

#[test]
fn too_many_or_no_authorities_are_refused() {
    let fx = Installation::new("fx");
    let dir = fx.equip(Role::Agent, "p1");
    fs::write(dir.join("authority.pem"), fx.authority.certificate_pem().repeat(9)).unwrap();
    assert!(matches!(Trust::load(&dir), Err(TrustError::Authorities { count: 9, .. })));
    fs::write(dir.join("authority.pem"), "").unwrap();
    assert!(matches!(Trust::load(&dir), Err(TrustError::Authorities { count: 0, .. })));
    fs::write(dir.join("authority.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    assert!(matches!(Trust::load(&dir), Err(TrustError::Certificate { .. })));
}
