//! What the program notes of its runs, and what a repository's key costs.

use crate::bench::Bench;
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

const FILES: &str = "[[backup]]\nname = \"files\"\nkind = \"paths\"\nroot = \"DIR/live\"\n";

fn bench() -> Bench {
    let bench = Bench::new(FILES);
    fs::create_dir(bench.path("live")).unwrap();
    fs::write(bench.path("live/a"), "one").unwrap();
    bench
}

fn status(bench: &Bench) -> Value {
    let text = fs::read_to_string(bench.path("state/backup/status/files.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn rounds(bench: &Bench, repository: &str) -> Vec<u64> {
    let keys = fs::read_dir(bench.path(repository).join("keys")).unwrap();
    let key = |path: PathBuf| {
        let key: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        key["N"].as_u64().unwrap()
    };
    keys.map(|entry| key(entry.unwrap().path())).collect()
}

#[test]
fn a_random_password_costs_little_and_a_chosen_one_what_it_must() {
    let bench = bench();
    assert_eq!(rounds(&bench, "repo"), [1024], "one key, ours");
    let peak = bench.json(&["run"])["peak_memory_mib"].as_u64().unwrap();
    assert!(peak < 100, "{peak} MiB: the usual key alone takes 128");
    bench.configure(
        "[[repository]]\nname = \"other\"\npath = \"DIR/other\"\npassword_file = \"DIR/chosen\"\n\
         secrets = true\n",
    );
    fs::write(bench.path("chosen"), "correct horse battery staple\n").unwrap();
    fs::set_permissions(bench.path("chosen"), fs::Permissions::from_mode(0o600)).unwrap();
    bench.ok(&["init"]);
    let chosen = rounds(&bench, "other");
    assert!(chosen.len() == 1 && chosen[0] >= 1 << 15, "{chosen:?}");
}

#[test]
fn every_run_and_proof_is_noted_whoever_began_it() {
    let bench = bench();
    let first = bench.json(&["run"])["done"][0].clone();
    assert_eq!(bench.list()[0]["at"], first["at"], "a copy is as old as its reading");
    let noted = status(&bench);
    assert_eq!(noted["copies"][0]["snapshot"], first["snapshot"]);
    assert_eq!(noted["copies"][0]["level"], 1);
    assert!(noted["runs"][0]["failed"].is_null() && noted["proofs"].as_array().unwrap().is_empty());
    bench.ok(&["verify", "files", "--percent", "100"]);
    assert_eq!(status(&bench)["copies"][0]["level"], 2);
    assert_eq!(status(&bench)["proofs"].as_array().unwrap().len(), 1);
    // A bit falls over in what only the second copy needs.
    let packs = || -> Vec<PathBuf> {
        let all = fs::read_dir(bench.path("repo/data")).unwrap().map(|entry| entry.unwrap().path());
        let inside = |path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.is_dir()).flat_map(inside).collect()
    };
    let before = packs();
    fs::write(bench.path("live/b"), "two").unwrap();
    bench.ok(&["run"]);
    for pack in packs().iter().filter(|pack| !before.contains(pack)) {
        let mut bytes = fs::read(pack).unwrap();
        bytes[3] ^= 1;
        fs::set_permissions(pack, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(pack, bytes).unwrap();
    }
    assert_eq!(bench.run(&["verify", "files", "--percent", "100"]).code, Some(1));
    let noted = status(&bench);
    assert!(noted["copies"][1]["level"].is_null(), "{noted}");
    assert_eq!(noted["copies"][0]["level"], 2, "the one before is what counts now");
    assert!(noted["proofs"][1]["failed"].as_str().unwrap().contains("damaged"), "{noted}");
    fs::rename(bench.path("live"), bench.path("gone")).unwrap();
    assert_eq!(bench.run(&["run"]).code, Some(1));
    let noted = status(&bench);
    assert_eq!(noted["runs"].as_array().unwrap().len(), 3);
    assert!(noted["runs"][2]["failed"].as_str().unwrap().contains("live"), "{noted}");
}
