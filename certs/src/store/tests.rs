//! The credentials directory: whole pairs, private keys, faults with their fix.

use super::*;
use crate::{Authority, Identity, Role, now};
use std::{
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

const HOUR: Duration = Duration::from_secs(3600);

fn authority() -> Authority {
    Authority::create("fx", now()).unwrap()
}

fn agent(name: &str) -> Identity {
    Identity::new("fx", Role::Agent, name).unwrap()
}

fn credentials(authority: &Authority) -> Credentials {
    let request = KeyRequest::generate().unwrap();
    let issued = authority.issue(request.csr_der(), &agent("p1"), HOUR, now()).unwrap();
    Credentials {
        authority_pem: authority.certificate_pem().into(),
        identity_pem: issued.cert_pem,
        key_pem: request.key_pem(),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_saved_is_loaded_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path().join("state/pki"));
    assert!(!store.is_enrolled());
    let saved = credentials(&authority());
    store.save(&saved).unwrap();
    assert!(store.is_enrolled());
    assert_eq!(store.load().unwrap(), saved);
    assert_eq!(mode(store.dir()), 0o700);
    assert_eq!(mode(&store.file("identity.key")), 0o600);
    assert!(!store.file("identity.key.next").exists());
    let left: Vec<_> = fs::read_dir(store.dir()).unwrap().collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn every_fault_names_the_file_and_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    let words = |store: &Store| store.load().unwrap_err().to_string();
    assert!(words(&store).contains("authority.pem is missing") && words(&store).contains("enroll"));

    let authority = authority();
    store.save(&credentials(&authority)).unwrap();
    let key = store.file("identity.key");
    fs::set_permissions(&key, PermissionsExt::from_mode(0o640)).unwrap();
    assert!(words(&store).contains("chmod 600"), "{}", words(&store));
    fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();

    fs::write(&key, KeyRequest::generate().unwrap().key_pem()).unwrap();
    assert!(words(&store).contains("does not belong to"), "{}", words(&store));
    fs::write(&key, "junk").unwrap();
    assert!(words(&store).contains("identity.key is not usable"), "{}", words(&store));
    fs::remove_file(&key).unwrap();
    assert!(words(&store).contains("identity.key is missing"), "{}", words(&store));
    fs::write(store.file("identity.pem"), "junk").unwrap();
    assert!(words(&store).contains("identity.pem is not usable"), "{}", words(&store));

    let mixed = Credentials { key_pem: credentials(&authority).key_pem, ..credentials(&authority) };
    assert!(matches!(store.save(&mixed), Err(StoreError::Mismatch { .. })));
    fs::write(store.file("revoked.json"), "{").unwrap();
    assert!(store.load_revoked().unwrap_err().to_string().contains("remove it"));
}

#[test]
fn an_enrolment_tried_again_uses_the_same_key_and_repairs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    let authority = authority();
    let old = credentials(&authority);
    store.save(&old).unwrap();

    let first = store.pending().unwrap();
    assert_eq!(store.pending().unwrap().public_key(), first.public_key());
    assert_eq!(mode(&store.file("identity.key.next")), 0o600);
    assert_eq!(store.load().unwrap(), old, "the old identity works until the new one is there");

    let other = credentials(&authority);
    assert!(matches!(
        store.complete(&other.identity_pem, &other.authority_pem),
        Err(StoreError::Mismatch { .. })
    ));
    let issued = authority.issue(first.csr_der(), &agent("p1"), HOUR, now()).unwrap();
    assert!(store.complete(&issued.cert_pem, "").is_err());
    assert_eq!(store.load().unwrap(), old);
    store.complete(&issued.cert_pem, authority.certificate_pem()).unwrap();
    assert_eq!(store.load().unwrap().key_pem, first.key_pem());
    assert_ne!(store.pending().unwrap().public_key(), first.public_key());
}

#[test]
fn a_stop_between_certificate_and_key_loses_neither() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    let authority = authority();
    let (old, new) = (credentials(&authority), credentials(&authority));
    store.save(&old).unwrap();
    // As a writer leaves it that stopped before its last rename.
    store.write("identity.key.next", &new.key_pem, file::PRIVATE).unwrap();
    assert_eq!(store.load().unwrap(), old);
    store.write("identity.pem", &new.identity_pem, file::PUBLIC).unwrap();
    assert_eq!(store.load().unwrap().key_pem, new.key_pem);
    // The next writer finishes that before it begins.
    let pending = store.pending().unwrap();
    assert_ne!(pending.public_key(), KeyRequest::from_key_pem(&new.key_pem).unwrap().public_key());
    assert_eq!(store.load().unwrap().key_pem, new.key_pem);
}

#[test]
fn a_reader_beside_a_writer_always_finds_a_pair() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    let authority = authority();
    let sets = [credentials(&authority), credentials(&authority)];
    store.save(&sets[0]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..40 {
                store.save(&sets[round % 2]).unwrap();
                let reason = "x".repeat(round * 50);
                store.save_revoked(&[("01".into(), reason)].into()).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut reads = 0;
        while !done.load(Ordering::SeqCst) || reads == 0 {
            let loaded = store.load().unwrap();
            assert!(sets.contains(&loaded));
            store.load_revoked().unwrap();
            reads += 1;
        }
    });
}

#[test]
fn revoked_serials_have_one_form_and_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    assert!(store.load_revoked().unwrap().is_empty());
    store.save_revoked(&[("00:AB:cd".into(), "stolen".into())].into()).unwrap();
    assert_eq!(store.load_revoked().unwrap(), [("abcd".into(), "stolen".into())].into());
    let bad = [("no serial".to_owned(), String::new())].into();
    assert!(matches!(store.save_revoked(&bad), Err(StoreError::Serial { .. })));
    let many = (0..=REVOKED_MAX).map(|n| (format!("{:08x}", n + 1), String::new())).collect();
    assert!(matches!(store.save_revoked(&many), Err(StoreError::TooManyRevoked { .. })));
}
