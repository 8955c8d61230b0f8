//! `evidence ...`: an archive taken off a host as it is made, checked here.

use super::{
    client,
    task::{self, Wish},
};
use crate::{
    archive::{self, Worth},
    cli::{Collect, EvidenceVerb, Global},
    context::Context,
    end::{End, Failure},
    out::Out,
    render,
};
use certs::{Fingerprint, Trust};
use model::evidence::difference;
use proto::v1::{self, task::Work};
use serde::Serialize;
use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// What an archive may have: twice what agent.toml allows at the most.
const ARCHIVE_MAX: u64 = 16 << 30;
/// What a listing may have: a million lines.
const LISTING_MAX: u64 = 256 << 20;
/// How long a listing may take: a large server's files read at 100 MiB/s.
const LISTING_LIMIT: Duration = Duration::from_secs(3600);

pub(crate) async fn run(verb: EvidenceVerb, global: &Global, out: Out) -> Result<End, Failure> {
    match verb {
        EvidenceVerb::Collect(args) => collect(args, global, out).await,
        EvidenceVerb::Verify { file, baseline } => verify(&file, baseline.as_deref(), global, out),
        EvidenceVerb::Baseline { host, out: path, reason } => {
            let work = Work::EvidenceBaseline(v1::EvidenceBaseline {});
            let limits = (LISTING_LIMIT, LISTING_MAX);
            taken(wish(&host, reason, limits, work), &path, global, out).await?;
            let text = read(&path)?;
            let digest = Fingerprint::of(text.as_bytes()).to_string();
            let kept = Kept { host: &host, file: &path, sha256: &digest };
            out.either(&kept, |kept| format!("{}: SHA-256 {}", kept.file.display(), kept.sha256))?;
            Ok(End::DONE)
        }
    }
}

/// What `--json` prints of a baseline.
#[derive(Serialize)]
struct Kept<'a> {
    host: &'a str,
    file: &'a Path,
    sha256: &'a str,
}

fn wish(host: &str, reason: String, limits: (Duration, u64), work: Work) -> Wish {
    let (limit, limit_bytes) = limits;
    Wish { host: host.to_owned(), reason, limit, limit_bytes, json: false, work }
}

async fn collect(args: Collect, global: &Global, out: Out) -> Result<End, Failure> {
    let path = args.out.unwrap_or_else(|| {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        PathBuf::from(format!("{}-{now}.evidence.tar", args.host))
    });
    let work = Work::EvidenceCollect(v1::EvidenceCollect { with: args.with });
    let limits = (args.limit, ARCHIVE_MAX);
    taken(wish(&args.host, args.reason, limits, work), &path, global, out).await?;
    // What arrived is looked at at once: a second try may come too late.
    verify(&path, None, global, out)
}

/// Has it done, and puts what it writes into a file that is there only once it is whole.
async fn taken(wish: Wish, path: &Path, global: &Global, out: Out) -> Result<(), Failure> {
    let failed = |what: &str, path: &Path, error: std::io::Error| {
        Failure::failed(format!("cannot {what} {}: {error}", path.display()))
    };
    if path.exists() {
        return Err(Failure::usage(format!("{} is there already", path.display()))
            .hint("name another file with --out"));
    }
    let mut client = client(global, out)?;
    let part = path.with_added_extension("part");
    let mut options = OpenOptions::new();
    let made = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
    let mut file = made.map_err(|error| failed("make", &part, error))?;
    let mut bytes = 0_u64;
    let done = task::run(wish, &mut client, out, |piece| {
        bytes += piece.len() as u64;
        out.passing(&format!("{} KiB", bytes / 1024));
        file.write_all(piece).map_err(|error| failed("write", &part, error))
    });
    let done = done.await;
    out.passing("");
    if done.is_err() {
        out.talk(&format!("what came until then is in {}", part.display()));
    }
    done?;
    file.sync_all().map_err(|error| failed("sync", &part, error))?;
    fs::rename(&part, path).map_err(|error| failed("name", path, error))
}

/// What `--json` prints of an archive.
#[derive(Serialize)]
struct Verified<'a> {
    file: &'a Path,
    sound: bool,
    host: Option<&'a str>,
    /// Serial of the certificate that sealed it.
    serial: Option<&'a str>,
    begun_unix_ms: Option<u64>,
    ended_unix_ms: Option<u64>,
    faults: &'a [String],
    /// Items that are not there or not whole, and why.
    cut: Vec<String>,
    items: usize,
    bytes: u64,
    /// Differences to the baseline; absent without one.
    differences: Option<Vec<String>>,
}

fn verify(path: &Path, baseline: Option<&Path>, global: &Global, out: Out) -> Result<End, Failure> {
    let context = Context::load(global.context.as_deref())?;
    let trust = Trust::load(&context.dir).map_err(|error| {
        let dir = context.dir.display();
        Failure::usage(format!("the context {dir} is not usable: {}", certs::explain(&error)))
    })?;
    let file = File::open(path)
        .map_err(|error| Failure::usage(format!("cannot open {}: {error}", path.display())))?;
    let kept = baseline.map(read).transpose()?;
    let worth = archive::examine(BufReader::new(file), &trust);
    let differences = match (&kept, worth.listing.as_str()) {
        (None, _) => None,
        (Some(_), "") => {
            return Err(Failure::failed("the archive has no sound listing to compare with"));
        }
        (Some(kept), now) => Some(difference(kept, now)),
    };
    let verified = verified(path, &worth, differences);
    out.either(&verified, words)?;
    if !verified.sound {
        let count = verified.faults.len();
        return Err(Failure::failed(format!("{}: {count} fault(s)", path.display())));
    }
    match &verified.differences {
        Some(lines) if !lines.is_empty() => {
            Err(Failure::failed(format!("{} difference(s) to the baseline", lines.len())))
        }
        Some(_) | None => Ok(End::DONE),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}

fn verified<'a>(
    file: &'a Path,
    worth: &'a Worth,
    differences: Option<Vec<String>>,
) -> Verified<'a> {
    let manifest = worth.manifest.as_ref();
    let items = manifest.map_or(&[][..], |manifest| &manifest.items);
    let mut cut: Vec<String> = items
        .iter()
        .filter(|item| !item.cut.is_empty())
        .map(|item| format!("{} ({}): {}", item.name, item.how, item.cut))
        .collect();
    cut.extend(manifest.map(|of| of.cut.clone()).filter(|why| !why.is_empty()));
    let by = worth.sealed_by.as_ref();
    Verified {
        file,
        sound: worth.faults.is_empty(),
        host: by.map(|(_, host)| host.as_str()),
        serial: by.map(|(serial, _)| serial.as_str()),
        begun_unix_ms: manifest.map(|of| of.begun.0),
        ended_unix_ms: manifest.map(|of| of.ended.0),
        faults: &worth.faults,
        cut,
        items: items.len(),
        bytes: items.iter().map(|item| item.bytes).sum(),
        differences,
    }
}

fn words(of: &Verified<'_>) -> String {
    let mut lines = Vec::new();
    let file = of.file.display();
    match (of.host, of.serial, of.ended_unix_ms) {
        (Some(host), Some(serial), Some(at)) => lines.push(format!(
            "{file}: sealed by {host} (certificate {serial}) at {}: {} items, {} bytes",
            render::words::instant(at),
            of.items,
            of.bytes
        )),
        _ => lines.push(format!("{file}: NOT BELIEVED")),
    }
    lines.extend(of.faults.iter().map(|fault| format!("FAULT: {fault}")));
    if of.sound {
        lines.push("every member is as it was sealed".into());
    }
    lines.extend(of.cut.iter().map(|cut| format!("not whole: {cut}")));
    match &of.differences {
        Some(none) if none.is_empty() => lines.push("as the baseline".into()),
        Some(some) => lines.extend(some.iter().cloned()),
        None => {}
    }
    lines.join("\n")
}
