//! What an archive holds, as others read it.

use super::*;
use certs::{Authority, Identity, Role};
use model::evidence::{MANIFEST, PURPOSE, SEAL};
use std::{collections::BTreeMap, process::Command};

fn trust(dir: &Path) -> Trust {
    let authority = Authority::create("test", certs::now()).unwrap();
    let identity = Identity::new("test", Role::Agent, "p1").unwrap();
    let pki = dir.join("pki");
    authority.equip(&pki, &identity, Duration::from_secs(3600), certs::now()).unwrap();
    Trust::load(pki).unwrap()
}

/// Unpacked by the system's own tar, so that nobody is locked in.
fn unpacked(dir: &Path, archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let (file, into) = (dir.join("evidence.tar"), dir.join("unpacked"));
    std::fs::write(&file, archive).unwrap();
    std::fs::create_dir(&into).unwrap();
    let mut tar = Command::new("tar");
    let done = tar.arg("-xf").arg(&file).arg("-C").arg(&into).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let entries = std::fs::read_dir(into).unwrap().map(|entry| entry.unwrap());
    let member = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    };
    entries.map(member).collect()
}

fn config(text: &str) -> EvidenceConfig {
    // No Docker: what that says differs from machine to machine.
    toml::from_str(&format!("socket = \"/nonexistent/docker.sock\"\n{text}")).unwrap()
}

#[test]
fn everything_is_there_digested_sealed_and_nothing_on_the_host_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (logs, trees) = (dir.path().join("logs"), dir.path().join("trees"));
    for tree in [&logs, &trees] {
        std::fs::create_dir(tree).unwrap();
    }
    let random: Vec<u8> =
        (0..6_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(logs.join("app.log"), &random).unwrap();
    std::fs::write(trees.join("program"), "good").unwrap();
    let text = format!(
        "logs = [\"{}\"]\ntrees = [\"{}\"]\n\
         [[command]]\nname = \"db\"\nprogram = [\"/bin/echo\", \"a dump\"]\n\
         [[command]]\nname = \"fails\"\nalways = true\nprogram = [\"/bin/sh\", \"-c\", \"exit 9\"]",
        logs.display(),
        trees.display()
    );
    let (config, host, trust) = (config(&text), HostId::new("p1").unwrap(), trust(dir.path()));
    let with = ["db".to_owned()];
    let collector = Collector { host: &host, state_dir: dir.path(), config: &config, with: &with };
    let (file, digest) = collector.keep_baseline().unwrap();
    assert_eq!(Fingerprint::of(&std::fs::read(file).unwrap()), digest);
    std::fs::write(trees.join("program"), "evil").unwrap();
    let state = || {
        let mut listing = String::new();
        Listing::of(&[dir.path().to_path_buf()]).read_to_string(&mut listing).unwrap();
        listing
    };
    let before = state();
    let mut archive = Vec::new();
    let manifest = collector.collect(&trust, &mut archive).unwrap();
    assert_eq!(state(), before, "nothing is written beside the archive");

    let members = unpacked(dir.path(), &archive);
    let text = &members[MANIFEST];
    assert_eq!(serde_json::from_slice::<Manifest>(text).unwrap(), manifest);
    let seal = serde_json::from_slice(&members[SEAL]).unwrap();
    let by = trust.sealed_by(PURPOSE, text, &seal, manifest.ended).unwrap();
    assert_eq!(by.identity.name(), "p1");
    let mut named = 2;
    for member in manifest.items.iter().flat_map(|item| &item.members) {
        let bytes = &members[&member.name];
        assert_eq!(Fingerprint::of(bytes).to_string(), member.sha256, "{}", member.name);
        named += 1;
    }
    assert_eq!(members.len(), named, "no member without a digest");

    let item = |name: &str| manifest.items.iter().find(|item| item.name == name).unwrap();
    let whole = |name: &str| -> Vec<u8> {
        let pieces = item(name).members.iter().map(|member| {
            let bytes = members[&member.name].as_slice();
            if member.name.ends_with(".zst") {
                zstd::stream::decode_all(bytes).unwrap()
            } else {
                bytes.to_vec()
            }
        });
        pieces.collect::<Vec<_>>().concat()
    };
    assert_eq!(item("log-00-00000").members.len(), 2, "in pieces of 4 MiB");
    assert_eq!(whole("log-00-00000"), random);
    assert_eq!(whole("command-db"), b"a dump\n");
    assert!(item("command-fails").cut.contains('9'), "{:?}", item("command-fails"));
    assert!(whole("users").starts_with(b"root:"));
    let difference = String::from_utf8(whole("integrity-difference")).unwrap();
    assert!(difference.contains("1 difference(s)\nchanged"), "{difference}");
    assert!(difference.contains(&digest.to_string()));
    assert!(item("containers").cut.contains("no such socket"));
}

#[test]
fn what_is_cut_says_so_and_the_whole_has_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (host, trust) = (HostId::new("p1").unwrap(), trust(dir.path()));
    let collected = |text: &str, with: &[String]| {
        let config = config(text);
        let collector = Collector { host: &host, state_dir: dir.path(), config: &config, with };
        let mut archive = Vec::new();
        collector.collect(&trust, &mut archive).map(|manifest| (manifest, archive.len()))
    };
    // Noise, so that compressing it makes it no smaller.
    let noise = "[[command]]\nname = \"noise\"\nprogram = [\"/usr/bin/head\", \"-c\", \
                 \"3000000\", \"/dev/urandom\"]";
    let with = ["noise".to_owned()];
    let (manifest, _) = collected(&format!("item_mib = 1\n{noise}"), &with).unwrap();
    let item = manifest.items.iter().find(|item| item.name == "command-noise").unwrap();
    assert_eq!((item.bytes, item.cut.as_str()), (1 << 20, "only its first 1048576 bytes are here"));
    assert_eq!(manifest.cut, "");
    let (manifest, length) = collected(&format!("total_mib = 1\n{noise}"), &with).unwrap();
    let item = manifest.items.iter().find(|item| item.name == "command-noise").unwrap();
    assert!(item.cut.contains("full") && manifest.cut.contains("full"), "{item:?}");
    assert!(length < 3 << 20, "{length}");
    let error = collected(noise, &["dump".to_owned()]).unwrap_err();
    assert!(error.to_string().contains("it has: noise"), "{error}");
}

#[test]
fn a_baseline_of_nothing_or_of_half_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let host = HostId::new("p1").unwrap();
    let kept = |text: &str| {
        let config = config(text);
        let collector =
            Collector { host: &host, state_dir: dir.path(), config: &config, with: &[] };
        collector.keep_baseline().unwrap_err().to_string()
    };
    assert!(kept("").contains("names no trees"));
    assert!(kept("trees = [\"/nonexistent\"]").contains("not whole"));
    assert!(!dir.path().join(BASELINE).exists());
}

#[test]
fn evidence_docker_has_both_streams_of_a_log_and_no_values_of_environments() {
    use crate::service::docker_lab::{Container, docker, docker_is_there};
    if !docker_is_there() {
        return;
    }
    let script = "echo a line of the log; echo and another >&2";
    let container = Container::create(&["-e", "TOKEN=s3cret"], &["sh", "-c", script]);
    // It has ended when this returns: what does not run any more is evidence too.
    docker(&["start", "-a", &container.0]);
    let dir = tempfile::tempdir().unwrap();
    let (host, trust) = (HostId::new("p1").unwrap(), trust(dir.path()));
    let collected = |text: &str| {
        let config: EvidenceConfig = toml::from_str(text).unwrap();
        let collector =
            Collector { host: &host, state_dir: dir.path(), config: &config, with: &[] };
        let mut archive = Vec::new();
        let manifest = collector.collect(&trust, &mut archive).unwrap();
        let into = tempfile::tempdir().unwrap();
        let members = unpacked(into.path(), &archive);
        let whose = format!("of {}", container.0);
        let item = |end: &str| {
            let all = manifest.items.iter();
            let mut found = all.filter(|item| item.how == whose && item.name.ends_with(end));
            let item = found.next().unwrap();
            let pieces = item
                .members
                .iter()
                .map(|member| zstd::stream::decode_all(members[&member.name].as_slice()).unwrap());
            String::from_utf8(pieces.collect::<Vec<_>>().concat()).unwrap()
        };
        (item("-inspect"), item("-log"))
    };
    let (inspect, log) = collected("");
    assert!(log.contains("a line of the log") && log.contains("and another"), "{log}");
    assert!(inspect.contains("TOKEN=[redacted]") && !inspect.contains("s3cret"), "{inspect}");
    let (inspect, _) = collected("environment = true");
    assert!(inspect.contains("TOKEN=s3cret"), "shown where agent.toml says so");
}
