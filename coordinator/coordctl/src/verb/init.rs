//! `init`: the authority, the first coordinator, the first operator.
//!
//! Nothing that is there is ever replaced. A marker says that an `init` is
//! under way and which directories were empty when it began; an `init` that
//! finds the marker of one that died takes that one's files away and begins
//! anew, which is safe because nobody can have used them: the founding marker,
//! without which no coordinator starts a cluster, is written last.

use crate::{
    cli::{Global, Init},
    context::{self, Context},
    end::{End, Failure},
    out::Out,
};
use certs::{Authority, COORDINATOR_VALIDITY, Identity, OPERATOR_VALIDITY, Rank, Role};
use daemon::{durable, lock::StateLock};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::{MetadataExt, lchown},
    path::{Path, PathBuf},
};

/// Says that an `init` did not finish.
const UNFINISHED: &str = "init-unfinished.json";
/// What the coordinator consumes at its first start, and so founds the cluster.
const FOUNDING: &str = "founding.json";
/// The coordinator's journal: where it is, a coordinator has run.
const JOURNAL: &str = "journal.redb";
/// Everything that `certs` writes into a credentials directory.
const CREDENTIALS: [&str; 6] = [
    "authority.key",
    "authority.pem",
    "identity.pem",
    "identity.key",
    "identity.key.next",
    "revoked.json",
];

/// The founding marker.
#[derive(Serialize)]
struct Founding<'a> {
    name: &'a str,
    advertise: &'a str,
    /// What the authority signed before there was a journal to note it in, so
    /// that `certs list` knows these too.
    certificates: [Signed; 2],
}

/// A certificate, under the names that `certs list --json` has.
#[derive(Serialize)]
struct Signed {
    serial: String,
    identity: String,
    issued_unix_ms: u64,
    not_after_unix_ms: u64,
}

/// The marker of an `init` under way.
#[derive(Serialize, Deserialize)]
struct Unfinished {
    context: PathBuf,
}

/// What `init --json` prints.
#[derive(Serialize)]
struct Made<'a> {
    installation: &'a str,
    authority: String,
    coordinator: &'a str,
    coordinator_serial: String,
    advertise: &'a str,
    state_dir: &'a Path,
    operator: &'a str,
    operator_serial: String,
    context: &'a Path,
}

/// What is to be made, with every name checked.
struct Wanted<'a> {
    args: &'a Init,
    coordinator: Identity,
    operator: Identity,
    state: PathBuf,
    context: PathBuf,
}

pub(crate) fn run(args: &Init, global: &Global, out: Out) -> Result<End, Failure> {
    let wanted = Wanted::check(args, global)?;
    let (made, repeated) = perform(&wanted)?;
    if repeated {
        out.talk(
            "note: an earlier `coordctl init` did not finish; its files were taken away first",
        );
    }
    out.either(&made, text)?;
    out.talk(&next(&wanted, global));
    Ok(End::DONE)
}

/// Makes it all; also whether an unfinished `init` was cleaned up before.
fn perform<'a>(wanted: &'a Wanted<'_>) -> Result<(Made<'a>, bool), Failure> {
    refuse_a_used_state_dir(&wanted.state)?;
    durable::create_private_dir(&wanted.state)?;
    // A coordinator that runs here, or another `init`, holds it.
    let _lock = StateLock::acquire(&wanted.state, "coordctl init")
        .map_err(|error| Failure::failed(error.to_string()))?;
    let repeated = clean_unfinished(&wanted.state)?;
    refuse_what_is_there(wanted)?;
    Ok((make(wanted)?, repeated))
}

impl<'a> Wanted<'a> {
    fn check(args: &'a Init, global: &Global) -> Result<Self, Failure> {
        let identity = |role, name: &str| {
            Identity::new(&args.installation, role, name)
                .map_err(|error| Failure::usage(error.to_string()))
        };
        if !context::is_address(&args.advertise) {
            return Err(Failure::usage(format!(
                "--advertise: `{}` is not HOST:PORT",
                args.advertise
            ))
            .hint("for example 192.0.2.1:7443; IPv6 in brackets, as in [2001:db8::1]:7443"));
        }
        let absolute = |path: &Path| {
            std::path::absolute(path)
                .map_err(|error| Failure::usage(format!("`{}`: {error}", path.display())))
        };
        Ok(Self {
            args,
            coordinator: identity(Role::Coordinator, &args.coordinator)?,
            operator: identity(Role::Operator(Rank::Admin), &args.operator)?,
            state: absolute(&args.coordinator_state)?,
            context: absolute(&context::directory(global.context.as_deref())?)?,
        })
    }

    fn pki(&self) -> PathBuf {
        self.state.join("pki")
    }
}

/// Before anything is touched: a coordinator has run in this directory.
fn refuse_a_used_state_dir(state: &Path) -> Result<(), Failure> {
    if state.join(JOURNAL).exists() {
        return Err(Failure::failed(format!(
            "{} holds a coordinator's journal: this coordinator belongs to an installation already",
            state.display()
        ))
        .hint("look at it with `coordctl status`, or give --coordinator-state another directory"));
    }
    Ok(())
}

/// Takes away what an `init` that died half way has left; whether one had.
fn clean_unfinished(state: &Path) -> Result<bool, Failure> {
    let marker = state.join(UNFINISHED);
    let Some(bytes) = durable::read_optional(&marker)? else { return Ok(false) };
    let unfinished: Unfinished = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::failed(format!("{} is not readable: {error}", marker.display())).hint(
            "it was left by a `coordctl init` that died; look into the directory, then remove it",
        )
    })?;
    for dir in [&state.join("pki"), &unfinished.context] {
        for name in CREDENTIALS {
            remove(&dir.join(name))?;
        }
        for path in half_written(dir)? {
            remove(&path)?;
        }
    }
    remove(&unfinished.context.join(context::FILE))?;
    remove(&state.join(FOUNDING))?;
    remove(&marker)?;
    Ok(true)
}

/// The hidden files that `certs` writes beside the real ones.
fn half_written(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::failed(format!("cannot read {}: {error}", dir.display()));
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ours = CREDENTIALS.iter().any(|real| name.starts_with(&format!(".{real}.")));
        if ours && name.ends_with(".new") {
            found.push(path);
        }
    }
    Ok(found)
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::failed(format!("cannot remove {}: {error}", path.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn refuse_what_is_there(wanted: &Wanted<'_>) -> Result<(), Failure> {
    let pki = wanted.pki();
    if pki.is_symlink() {
        return Err(Failure::failed(format!(
            "{} is a link; keys are not written through one",
            pki.display()
        ))
        .hint("remove the link, or give --coordinator-state another directory"));
    }
    for name in CREDENTIALS {
        let path = pki.join(name);
        if path.exists() {
            return Err(Failure::failed(format!(
                "{} is there already; `init` replaces nothing, because every host trusts what it has",
                path.display()
            ))
            .hint("for another coordinator use `coordctl token create --role coordinator`; \
                   for a new installation give --coordinator-state an empty directory"));
        }
    }
    for name in [context::FILE, "identity.pem", "identity.key"] {
        let path = wanted.context.join(name);
        if path.exists() {
            return Err(Failure::failed(format!(
                "{} is there already: this context belongs to an operator",
                path.display()
            ))
            .hint("name another directory for the new operator with --context DIR"));
        }
    }
    Ok(())
}

fn make<'a>(wanted: &'a Wanted<'_>) -> Result<Made<'a>, Failure> {
    let failed = |error: certs::AuthorityError| Failure::failed(certs::explain(&error));
    let (state, pki, args) = (&wanted.state, wanted.pki(), wanted.args);
    durable::create_private_dir(&wanted.context)?;
    durable::create_private_dir(&pki)?;
    let unfinished = Unfinished { context: wanted.context.clone() };
    write_json(&state.join(UNFINISHED), &unfinished)?;

    let now = certs::now();
    let authority = Authority::create(&args.installation, now).map_err(failed)?;
    authority.save(&pki).map_err(failed)?;
    let coordinator =
        authority.equip(&pki, &wanted.coordinator, COORDINATOR_VALIDITY, now).map_err(failed)?;
    let operator = authority
        .equip(&wanted.context, &wanted.operator, OPERATOR_VALIDITY, now)
        .map_err(failed)?;
    Context { dir: wanted.context.clone(), coordinators: vec![args.advertise.clone()] }.save()?;
    let signed = |identity: &Identity, issued: &certs::Issued| Signed {
        serial: issued.serial.clone(),
        identity: identity.uri(),
        issued_unix_ms: now.0,
        not_after_unix_ms: issued.not_after.0,
    };
    let founding = Founding {
        name: &args.coordinator,
        advertise: &args.advertise,
        certificates: [
            signed(&wanted.coordinator, &coordinator),
            signed(&wanted.operator, &operator),
        ],
    };
    write_json(&state.join(FOUNDING), &founding)?;
    give_to_owner(state)?;
    remove(&state.join(UNFINISHED))?;
    durable::sync_directory(state)?;
    Ok(Made {
        installation: &args.installation,
        authority: authority.fingerprint().to_string(),
        coordinator: &args.coordinator,
        coordinator_serial: coordinator.serial,
        advertise: &args.advertise,
        state_dir: state,
        operator: &args.operator,
        operator_serial: operator.serial,
        context: &wanted.context,
    })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
    Ok(durable::write_atomic(path, &text, 0o600)?)
}

/// Run as root in a directory of the coordinator's user, the files must be
/// that user's: the coordinator could not read them otherwise. Only what was
/// made here is given away, and no link is followed: the directory's user
/// might have planted one.
fn give_to_owner(state: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let dir = state.display();
        Failure::failed(format!("cannot give the files in {dir} to its owner: {error}"))
            .hint("run this as root, or as the user that the coordinator runs as")
    };
    let owner = fs::metadata(state).map_err(failed)?;
    let pki = state.join("pki");
    let files = [state.join(FOUNDING), state.join("lock")];
    let made = CREDENTIALS.map(|name| pki.join(name)).into_iter().chain(files).chain([pki]);
    for path in made {
        match fs::symlink_metadata(&path) {
            Ok(file) if file.uid() == owner.uid() => {}
            Ok(_) => lchown(&path, Some(owner.uid()), Some(owner.gid())).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

fn text(made: &Made<'_>) -> String {
    format!(
        "installation {}: authority {} is made\n\
         coordinator {}: credentials and the authority's key in {}, serial {}\n\
         operator {} (rank admin): context in {}, serial {}",
        made.installation,
        made.authority.get(..16).unwrap_or(&made.authority),
        made.coordinator,
        made.state_dir.join("pki").display(),
        made.coordinator_serial,
        made.operator,
        made.context.display(),
        made.operator_serial
    )
}

/// The commands to type next.
fn next(wanted: &Wanted<'_>, global: &Global) -> String {
    let context = match &global.context {
        Some(_) => format!(" --context {}", wanted.context.display()),
        None => String::new(),
    };
    let args = wanted.args;
    format!(
        "note: keep a copy of {key} offline\n\
         note: the coordinator's certificate is valid for {coordinator} days, the operator's for {operator}\n\
         next, with name = \"{name}\", state_dir = \"{state}\" and advertise = \"{advertise}\" in coordinator.toml:\n\
         \u{20} understudy-coordinator run --config /etc/understudy/coordinator.toml\n\
         \u{20} coordctl{context} status\n\
         \u{20} coordctl{context} token create --role coordinator --host NAME    the second of the pair\n\
         \u{20} coordctl{context} token create --role witness --host NAME        the third voter\n\
         \u{20} coordctl{context} token create --host NAME                       each trading host",
        key = wanted.pki().join("authority.key").display(),
        coordinator = COORDINATOR_VALIDITY.as_secs() / 86_400,
        operator = OPERATOR_VALIDITY.as_secs() / 86_400,
        name = args.coordinator,
        state = wanted.state.display(),
        advertise = args.advertise,
    )
}

#[cfg(test)]
mod tests;
