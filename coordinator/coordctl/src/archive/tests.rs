//! Archives that somebody touched.

use super::*;
use certs::{Authority, Identity, Rank, Role};
use model::{
    HostId, Wall,
    evidence::{Item, Member},
};
use std::{path::Path, time::Duration};

/// As an agent writes one.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, bytes) in members {
        let mut block = [0_u8; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        block[148..156].fill(b' ');
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        all.extend(block);
        all.extend(*bytes);
        all.resize(all.len().next_multiple_of(BLOCK), 0);
    }
    all.extend([0; 2 * BLOCK]);
    all
}

struct Scene {
    _dir: tempfile::TempDir,
    agent: Trust,
    operator: Trust,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create("test", certs::now()).unwrap();
        let equip = |role, name: &str, dir: &Path| {
            let identity = Identity::new("test", role, name).unwrap();
            let hour = Duration::from_secs(3600);
            authority.equip(dir, &identity, hour, certs::now()).unwrap();
            Trust::load(dir).unwrap()
        };
        let agent = equip(Role::Agent, "p1", &dir.path().join("p1"));
        let operator = equip(Role::Operator(Rank::Viewer), "ann", &dir.path().join("ann"));
        Self { _dir: dir, agent, operator }
    }

    fn manifest(host: &str) -> Manifest {
        let member = |name: &str, bytes: &[u8]| Member {
            name: name.into(),
            bytes: bytes.len() as u64,
            sha256: Fingerprint::of(bytes).to_string(),
        };
        let item = |name: &str, members| Item {
            name: name.into(),
            how: "a test".into(),
            at: Wall(0),
            bytes: 5,
            members,
            cut: String::new(),
        };
        Manifest {
            version: VERSION,
            host: HostId::new(host).unwrap(),
            begun: certs::now(),
            ended: certs::now(),
            items: vec![
                item("users", vec![member("users.0000.zst", b"first")]),
                item("integrity", vec![member("integrity.0000", b"lines")]),
            ],
            cut: String::new(),
        }
    }

    fn sealed(&self, manifest: &Manifest) -> Vec<u8> {
        let text = serde_json::to_vec(manifest).unwrap();
        let seal = serde_json::to_vec(&self.agent.seal(PURPOSE, &text).unwrap()).unwrap();
        tar(&[
            ("users.0000.zst", b"first"),
            ("integrity.0000", b"lines"),
            (MANIFEST, &text),
            (SEAL, &seal),
        ])
    }

    fn faults(&self, archive: &[u8]) -> String {
        examine(archive, &self.operator).faults.join("\n")
    }
}

#[test]
fn an_archive_as_it_was_made_is_believed() {
    let scene = Scene::new();
    let manifest = Scene::manifest("p1");
    let worth = examine(scene.sealed(&manifest).as_slice(), &scene.operator);
    assert_eq!(worth.faults, Vec::<String>::new());
    assert_eq!(worth.sealed_by.unwrap().1, "p1");
    assert_eq!((worth.manifest, worth.listing.as_str()), (Some(manifest), "lines"));
}

#[test]
fn every_flipped_byte_is_found() {
    let scene = Scene::new();
    let archive = scene.sealed(&Scene::manifest("p1"));
    // The last block of nothing belongs to no one.
    for at in 0..archive.len() - BLOCK {
        let mut altered = archive.clone();
        altered[at] ^= 1;
        assert_ne!(scene.faults(&altered), "", "byte {at}");
    }
    let mut altered = archive;
    altered[BLOCK + 1] ^= 0x20;
    let words = scene.faults(&altered);
    assert!(words.starts_with("altered: users.0000.zst (of users: a test)"), "{words}");
}

#[test]
fn what_is_missing_added_or_cut_off_is_named() {
    let scene = Scene::new();
    let text = serde_json::to_vec(&Scene::manifest("p1")).unwrap();
    let seal = serde_json::to_vec(&scene.agent.seal(PURPOSE, &text).unwrap()).unwrap();
    let (users, integrity) = (("users.0000.zst", &b"first"[..]), ("integrity.0000", &b"lines"[..]));
    let (manifest, sealed) = ((MANIFEST, text.as_slice()), (SEAL, seal.as_slice()));
    let missing = scene.faults(&tar(&[users, manifest, sealed]));
    assert!(missing.starts_with("missing: integrity.0000"), "{missing}");
    let more = ("shell.0000", &b"x"[..]);
    let added = scene.faults(&tar(&[users, integrity, more, manifest, sealed]));
    assert_eq!(added, "not in the manifest: shell.0000");
    let twice = scene.faults(&tar(&[users, users, integrity, manifest, sealed]));
    assert_eq!(twice, "users.0000.zst is there twice");
    let whole = scene.sealed(&Scene::manifest("p1"));
    for length in [0, 100, BLOCK + 2, 2 * BLOCK, whole.len() - 2 * BLOCK] {
        let cut = scene.faults(&whole[..length]);
        assert!(cut.contains("cut off"), "{length}: {cut}");
    }
}

#[test]
fn another_host_s_name_and_a_stranger_s_seal_are_not_believed() {
    let scene = Scene::new();
    let words = scene.faults(&scene.sealed(&Scene::manifest("s1")));
    assert!(words.contains("of s1, and was sealed by p1"), "{words}");
    let stranger = Scene::new();
    let words = scene.faults(&stranger.sealed(&Scene::manifest("p1")));
    assert!(words.contains("not believed"), "{words}");
}
