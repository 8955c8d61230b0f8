//! A host's evidence, taken off it through the coordinators while it is cut off,
//! and checked where nobody from there can reach.

use crate::{
    play,
    tasks::{configure, manual, newest, typed},
};
use anyhow::{Context, Result, ensure};
use std::fs;

/// The newest archive's members begin here: behind the first header.
const FIRST_MEMBER: usize = 512;

#[test]
fn evidence_is_collected_sealed_verified_and_a_flipped_byte_is_found() {
    play(manual(), |cluster| {
        let folder = cluster.node("p1")?.folder().to_path_buf();
        let trees = folder.join("trees");
        fs::create_dir(&trees)?;
        fs::write(trees.join("bridge"), "good")?;
        fs::write(folder.join("app.log"), "a line of the log\n")?;
        let more = format!(
            "\n[tasks]\nallow = [\"evidence\"]\n\n[evidence]\nlogs = [\"{0}/app.log\"]\n\
             trees = [\"{0}/trees\"]\njournal_since = \"-1min\"\n\
             [[evidence.command]]\nname = \"db\"\nprogram = [\"/bin/echo\", \"a dump\"]\n",
            folder.display()
        );
        configure(cluster, "p1", &more)?;
        let out = |name: &str| cluster.folder().join(name).display().to_string();
        let (kept, archive) = (out("p1.baseline"), out("p1.tar"));
        let told = cluster.ctl.json(&["evidence", "baseline", "p1", "--out", &kept])?;
        let (code, here) = typed(cluster, "p1", &["evidence", "baseline"])?;
        let digest = told["sha256"].as_str().context("no digest")?;
        ensure!(code == 0 && here.contains(digest), "the host's own differs: {here} {told}");

        fs::write(trees.join("bridge"), "evil")?;
        let before = files_of(&folder.join("state"))?;
        let collect = ["evidence", "collect", "p1", "--out", &archive, "--with", "db"];
        let sealed = cluster.ctl.json(&collect)?;
        ensure!(sealed["sound"] == true && sealed["host"] == "p1", "{sealed}");
        ensure!(sealed["items"].as_u64() > Some(30), "{sealed}");
        ensure!(files_of(&folder.join("state"))? == before, "files came up on the host");
        let task = newest(cluster)?;
        ensure!(task["task"] == "evidence collect --with db", "{task}");
        ensure!(task["end"]["exit"] == 0 && task["bytes"].as_u64() > Some(10_000), "{task}");

        // Nothing is overwritten; the baseline that was kept here tells what changed.
        ensure!(cluster.ctl.run(&collect)?.code == 2, "an archive was overwritten");
        let differs = cluster.ctl.run(&["evidence", "verify", &archive, "--baseline", &kept])?;
        ensure!(differs.code == 1, "{differs:?}");
        let line = differs.stdout.lines().find(|line| line.starts_with("changed"));
        ensure!(line.is_some_and(|line| line.contains("trees/bridge")), "{differs:?}");

        let mut bytes = fs::read(&archive)?;
        *bytes.get_mut(FIRST_MEMBER + 20).context("an empty archive")? ^= 1;
        let altered = out("altered.tar");
        fs::write(&altered, bytes)?;
        let found = cluster.ctl.run(&["evidence", "verify", &altered])?;
        ensure!(
            found.code == 1 && found.stdout.contains("altered: processes.0000.zst"),
            "{found:?}"
        );
        Ok(())
    });
}

/// The names of everything below a folder, but for what the running agent itself
/// writes anew: its ledger is one file, with one name.
fn files_of(folder: &std::path::Path) -> Result<Vec<std::ffi::OsString>> {
    let mut names =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
