//! The authority: what it signs, what it refuses, and its two files.

use super::*;
use crate::{certificate::Leaf, identity::Rank};
use std::os::unix::fs::PermissionsExt;

const NOW: Wall = Wall(1_800_000_000_123);

fn agent() -> Identity {
    Identity::new("fx", Role::Agent, "p1").unwrap()
}

#[test]
fn a_certificate_says_what_the_identity_says_and_nothing_of_the_request() {
    let authority = Authority::create("fx", NOW).unwrap();
    // A request that asks to be an operator, and an authority.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["evil.example".into()]).unwrap();
    let uri = "understudy://fx/operator/admin/eve".try_into().unwrap();
    params.subject_alt_names.push(SanType::URI(uri));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let csr = params.serialize_request(&key).unwrap();
    let issued = authority.issue(csr.der(), &agent(), AGENT_VALIDITY, NOW).unwrap();

    let leaf = Leaf::of_pem(&issued.cert_pem).unwrap();
    assert_eq!(leaf.identity, agent());
    assert_eq!(leaf.serial, issued.serial);
    assert_eq!(leaf.not_after, issued.not_after);
    assert_eq!(leaf.not_before, Wall(1_800_000_000_000 - 300_000));
    assert_eq!(leaf.not_after, Wall(1_800_000_000_000 + 90 * 86_400_000));
    assert_eq!(leaf.public_key, key.subject_public_key_info());

    let der = certificates(&issued.cert_pem).unwrap().remove(0);
    let (_, x509) = X509Certificate::from_der(&der).unwrap();
    let names = format!("{:?}", x509.subject_alternative_name().unwrap().unwrap().value);
    assert!(names.contains("agent.understudy.internal") && !names.contains("evil"), "{names}");
    assert!(!x509.is_ca());
    let usage = x509.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && usage.server_auth);
}

#[test]
fn operators_are_never_dialled() {
    let authority = Authority::create("fx", NOW).unwrap();
    for (role, server) in
        [(Role::Agent, true), (Role::Coordinator, true), (Role::Operator(Rank::Admin), false)]
    {
        let request = KeyRequest::generate().unwrap();
        let identity = Identity::new("fx", role, "x").unwrap();
        let issued = authority.issue(request.csr_der(), &identity, validity_of(role), NOW).unwrap();
        let der = certificates(&issued.cert_pem).unwrap().remove(0);
        let (_, x509) = X509Certificate::from_der(&der).unwrap();
        let usage = x509.extended_key_usage().unwrap().unwrap().value;
        assert_eq!((usage.client_auth, usage.server_auth), (true, server), "{role:?}");
    }
}

#[test]
fn serials_are_random_and_have_sixteen_bytes() {
    let authority = Authority::create("fx", NOW).unwrap();
    let request = KeyRequest::generate().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let issued = authority.issue(request.csr_der(), &agent(), AGENT_VALIDITY, NOW).unwrap();
        assert_eq!(issued.serial.len(), 32);
        assert_eq!(Leaf::of_pem(&issued.cert_pem).unwrap().serial, issued.serial);
        assert!(seen.insert(issued.serial));
    }
}

#[test]
fn an_authority_is_saved_once_and_loaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let pki = dir.path().join("pki");
    let authority = Authority::create("fx", NOW).unwrap();
    authority.save(&pki).unwrap();
    let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&pki), 0o700);
    assert_eq!(mode(&pki.join("authority.key")), 0o600);

    let again = Authority::load(&pki).unwrap();
    assert_eq!(again.fingerprint(), authority.fingerprint());
    assert_eq!(again.installation(), "fx");
    assert_eq!(again.certificate_pem().replace("\r\n", "\n"), authority.pem.replace("\r\n", "\n"));
    let request = KeyRequest::generate().unwrap();
    again.issue(request.csr_der(), &agent(), AGENT_VALIDITY, NOW).unwrap();

    let other = Authority::create("fx", NOW).unwrap();
    let words = other.save(&pki).unwrap_err().to_string();
    assert!(words.contains("exists"), "{words}");
    assert_eq!(Authority::load(&pki).unwrap().fingerprint(), authority.fingerprint());
}

#[test]
fn a_broken_authority_is_named_with_its_fix() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create("fx", NOW).unwrap();
    authority.save(dir.path()).unwrap();
    let key = dir.path().join("authority.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let words = Authority::load(dir.path()).unwrap_err().to_string();
    assert!(words.contains("chmod 600"), "{words}");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(matches!(Authority::load(dir.path()), Err(AuthorityError::Mismatch { .. })));
    std::fs::write(&key, "junk").unwrap();
    assert!(matches!(Authority::load(dir.path()), Err(AuthorityError::Key { .. })));
}

#[test]
fn nothing_is_signed_for_others_or_after_the_end() {
    let authority = Authority::create("fx", NOW).unwrap();
    let request = KeyRequest::generate().unwrap();
    let foreign = Identity::new("metals", Role::Agent, "p1").unwrap();
    let refused = authority.issue(request.csr_der(), &foreign, AGENT_VALIDITY, NOW);
    assert!(matches!(refused, Err(AuthorityError::OtherInstallation { .. })));
    let near_end = Wall(after(NOW, AUTHORITY_VALIDITY).0 - 1000);
    let issued = authority.issue(request.csr_der(), &agent(), AGENT_VALIDITY, near_end).unwrap();
    assert_eq!(issued.not_after, after(NOW, AUTHORITY_VALIDITY));
    let late = after(NOW, AUTHORITY_VALIDITY);
    let refused = authority.issue(request.csr_der(), &agent(), AGENT_VALIDITY, late);
    assert!(matches!(refused, Err(AuthorityError::Expired { .. })));
}
