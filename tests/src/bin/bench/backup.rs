//! Backups side by side with the `restic` program and with tar, zstd and openssl:
//! 1 GiB of mixed data the first time, with 1 % changed, and back; then a tree of
//! 100,000 small files. Everybody reads from the page cache and writes to the same
//! disk, without a cache of its own, one after the other.

use crate::{Measured, agent::profile};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};
use tests::{programs::Programs, stats::Figures};

/// Files that do not compress, as archives and databases do not: 512 MiB.
const NOISE: (u64, usize) = (64, 8 << 20);
/// Files that compress as text does: 256 MiB.
const TEXT: (u64, usize) = (2048, 128 << 10);
/// Large logs: 256 MiB.
const LOGS: (u64, usize) = (4, 64 << 20);
/// Small files of the second tree, and how many are in a directory.
const SMALL: u64 = 100_000;
const FOLDER: u64 = 1000;
/// A piece that is changed.
const PIECE: usize = 64 << 10;

/// The three that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Ours,
    Restic,
    Tar,
}

impl Who {
    const ALL: [Self; 3] = [Self::Ours, Self::Restic, Self::Tar];

    const fn word(self) -> &'static str {
        match self {
            Self::Ours => "understudy",
            Self::Restic => "restic",
            Self::Tar => "tar_zstd_openssl",
        }
    }
}

/// What is done, in this order.
const STEPS: [&str; 3] = ["first", "second", "restore"];

struct Room {
    folder: tempfile::TempDir,
    agent: PathBuf,
}

/// Measures `trials` rounds.
pub(crate) fn measure(trials: u32) -> Result<Measured> {
    let (mut all, mut peaks) = (Vec::new(), Vec::new());
    for trial in 0..trials {
        mixed(u64::from(trial), &mut all, &mut peaks)?;
        small(&mut all)?;
    }
    let mut figures = Vec::new();
    for (name, _) in &all {
        if !figures.iter().any(|(known, _)| known == name) {
            let of: Vec<f64> =
                all.iter().filter(|(other, _)| other == name).map(|(_, took)| *took).collect();
            figures.push((name.clone(), Figures::of(&of)?));
        }
    }
    let mut goals = Vec::new();
    for step in STEPS.into_iter().chain(["small_files_first", "small_files_restore"]) {
        let median = |who: Who| {
            let name = format!("{step}_{}_s", who.word());
            figures.iter().find(|(known, _)| *known == name).map(|(_, of)| of.p50)
        };
        let (Some(ours), Some(restic)) = (median(Who::Ours), median(Who::Restic)) else { continue };
        let ratio = ours / restic;
        goals.push((
            format!("{step}: median {ratio:.2} of restic's"),
            "at most 1.00".to_owned(),
            ratio <= 1.0,
        ));
    }
    figures.push(("peak_memory_mib".into(), Figures::of(&peaks)?));
    Ok(Measured {
        configuration: json!({
            "profile": profile(),
            "data": "512 MiB that does not compress, 256 MiB of text, 256 MiB of logs; 1 % changed",
            "small_files": SMALL,
            "restic": version()?,
            "unit": "seconds",
        }),
        figures,
        goals,
    })
}

fn version() -> Result<String> {
    let said = Command::new("restic").arg("version").output().context("restic")?.stdout;
    Ok(String::from_utf8_lossy(&said).trim().to_owned())
}

/// One round with the mixed data.
fn mixed(seed: u64, all: &mut Vec<(String, f64)>, peaks: &mut Vec<f64>) -> Result<()> {
    let room = Room::make()?;
    let live = room.path("live");
    for (kind, (count, length)) in [("noise", NOISE), ("text", TEXT), ("logs", LOGS)] {
        fs::create_dir_all(live.join(kind))?;
        for file in 0..count {
            let from = seed * 1_000_000 + file;
            let bytes = if kind == "noise" { noise(from, length) } else { text(from, length) };
            fs::write(live.join(kind).join(format!("f{file}")), bytes)?;
        }
    }
    let mut done = |step: &str, who: Who, took: f64| {
        all.push((format!("{step}_{}_s", who.word()), took));
    };
    for who in Who::ALL {
        done("first", who, room.copy(who, peaks)?);
    }
    change(&live, seed)?;
    for who in Who::ALL {
        done("second", who, room.copy(who, peaks)?);
    }
    for who in Who::ALL {
        done("restore", who, room.bring_back(who)?);
    }
    Ok(())
}

/// One round with many files; tar has nothing to say to that.
fn small(all: &mut Vec<(String, f64)>) -> Result<()> {
    let room = Room::make()?;
    for file in 0..SMALL {
        let folder = room.path("live").join(format!("d{}", file / FOLDER));
        if file % FOLDER == 0 {
            fs::create_dir_all(&folder)?;
        }
        fs::write(folder.join(format!("f{file}")), noise(file, usize::try_from(file % 2048)?))?;
    }
    for who in [Who::Ours, Who::Restic] {
        let took = room.copy(who, &mut Vec::new())?;
        all.push((format!("small_files_first_{}_s", who.word()), took));
        let took = room.bring_back(who)?;
        all.push((format!("small_files_restore_{}_s", who.word()), took));
    }
    Ok(())
}

/// Overwrites 1 % of the bytes: pieces within the large files, and whole small ones.
fn change(live: &Path, seed: u64) -> Result<()> {
    for file in 0..NOISE.0 {
        let mut file = File::options().write(true).open(live.join(format!("noise/f{file}")))?;
        file.seek(SeekFrom::Start(3 << 20))?;
        file.write_all(&noise(seed + 7, PIECE + PIECE / 4))?;
    }
    for file in (0..TEXT.0).step_by(100) {
        fs::write(live.join(format!("text/f{file}")), text(seed + file + 9, TEXT.1))?;
    }
    for file in 0..LOGS.0 {
        let mut file = File::options().append(true).open(live.join(format!("logs/f{file}")))?;
        file.write_all(&text(seed + 11, 640 << 10))?;
    }
    Ok(())
}

impl Room {
    fn make() -> Result<Self> {
        let programs = Programs::find()?;
        let room = Self { folder: tempfile::tempdir()?, agent: programs.path("understudy-agent") };
        fs::create_dir(room.path("live"))?;
        let at = room.folder.path().display();
        let text = format!(
            "host = \"p1\"\nstate_dir = \"{at}/state\"\n\
             [[repository]]\nname = \"local\"\npath = \"{at}/ours\"\npassword_file = \"{at}/key\"\n\
             [[backup]]\nname = \"live\"\nkind = \"paths\"\nroot = \"{at}/live\"\n"
        );
        fs::write(room.path("agent.toml"), text)?;
        let key = room.path("key");
        fs::write(&key, "a password for a benchmark\n")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        room.ours(&["init"])?;
        room.timed(room.restic().arg("init"))?;
        Ok(room)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn restic(&self) -> Command {
        let mut command = Command::new("restic");
        command.args(["--no-cache", "--quiet", "--repo"]).arg(self.path("restic"));
        command.arg("--password-file").arg(self.path("key")).current_dir(self.path("live"));
        command
    }

    /// Runs our verb; its time, and what it prints.
    fn ours(&self, arguments: &[&str]) -> Result<(f64, Value)> {
        let mut command = Command::new(&self.agent);
        command.arg("backup").args(arguments).arg("--json");
        command.arg("--config").arg(self.path("agent.toml"));
        let begun = Instant::now();
        let done = command.output().context("understudy-agent")?;
        let took = begun.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "understudy-agent backup {arguments:?}: {said}");
        Ok((took, serde_json::from_slice(&done.stdout)?))
    }

    fn timed(&self, command: &mut Command) -> Result<f64> {
        let begun = Instant::now();
        let done = command.output().with_context(|| format!("{:?}", command.get_program()))?;
        let took = begun.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{command:?}: {said}");
        Ok(took)
    }

    fn shell(&self, script: &str) -> Result<f64> {
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", script]).current_dir(self.folder.path());
        self.timed(&mut command)
    }

    /// A backup, whose bytes are on the disk at its end as far as the program sees to it.
    fn copy(&self, who: Who, peaks: &mut Vec<f64>) -> Result<f64> {
        match who {
            Who::Ours => {
                let (took, ran) = self.ours(&["run"])?;
                peaks.push(ran["peak_memory_mib"].as_f64().context("no peak_memory_mib")?);
                Ok(took)
            }
            Who::Restic => self.timed(self.restic().args(["backup", "."])),
            Who::Tar => self.shell(
                "tar -C live -cf - . | zstd -q -T2 | openssl enc -aes-256-ctr -pbkdf2 \
                 -pass file:key -out all.tar.zst.enc && sync all.tar.zst.enc",
            ),
        }
    }

    fn bring_back(&self, who: Who) -> Result<f64> {
        let to = self.path(&format!("back-{}", who.word()));
        let there = to.to_str().context("an odd temporary directory")?;
        let took = match who {
            Who::Ours => self.ours(&["restore", "live", "--to", there])?.0,
            Who::Restic => {
                self.timed(self.restic().args(["restore", "latest", "--target", there]))?
            }
            Who::Tar => {
                fs::create_dir(&to)?;
                self.shell(&format!(
                    "openssl enc -d -aes-256-ctr -pbkdf2 -pass file:key -in all.tar.zst.enc \
                     | zstd -q -d | tar -C {there} -xf -"
                ))?
            }
        };
        let same = Command::new("diff").args(["-rq"]).arg(self.path("live")).arg(&to).output()?;
        ensure!(same.status.success(), "{} brought something else back", who.word());
        fs::remove_dir_all(&to)?;
        Ok(took)
    }
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Lines as a log has them.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 128);
    let mut numbers = noise(seed, length / 8).into_iter();
    let mut line = 0_u64;
    while bytes.len() < length {
        let mut next = || u32::from(numbers.next().unwrap_or(0));
        let words = format!(
            "{seed}.{line} EURUSD bid=1.{:03}{:02} ask=1.{:03}{:02} volume={} accepted\n",
            next(),
            next() % 100,
            next(),
            next() % 100,
            next() * 100
        );
        bytes.extend_from_slice(words.as_bytes());
        line += 1;
    }
    bytes.truncate(length);
    bytes
}
