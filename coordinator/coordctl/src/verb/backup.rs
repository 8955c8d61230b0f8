//! `backup ...`: done on a host by its agent, shown as the host says it.

use super::{
    rpo,
    task::{self, Wish},
};
use crate::{
    cli::{BackupVerb, On, RestoreArgs},
    client::Client,
    confirm::{self, Consent},
    end::{End, Failure},
    out::Out,
};
use proto::v1::{self, task::Work};

/// What a host may write about its backups: a list of a hundred thousand snapshots.
const BYTES_MAX: u64 = 64 << 20;

pub(crate) async fn run(
    verb: BackupVerb,
    open: impl FnOnce() -> Result<Client, Failure>,
    out: Out,
) -> Result<End, Failure> {
    let or_empty = Option::unwrap_or_default;
    let (on, work) = match verb {
        BackupVerb::Run { source, on } => {
            (on, Work::BackupRun(v1::BackupRun { source: or_empty(source) }))
        }
        BackupVerb::List { source, on } => {
            (on, Work::BackupList(v1::BackupList { source: or_empty(source) }))
        }
        BackupVerb::Verify { source, level, percent, snapshot, of, on } => {
            let verify = v1::BackupVerify {
                source: or_empty(source),
                level: level.unwrap_or_default(),
                percent: percent.unwrap_or_default(),
                snapshot: or_empty(snapshot),
                of: or_empty(of),
            };
            (on, Work::BackupVerify(verify))
        }
        BackupVerb::Rpo { group } => return rpo::rpo(group, &mut open()?, out).await,
        BackupVerb::Restore(args) => return restore(args, open, out).await,
        BackupVerb::Prune { source, dry_run, on } => {
            (on, Work::BackupPrune(v1::BackupPrune { source: or_empty(source), dry_run }))
        }
    };
    have_done(on, work, &mut open()?, out).await
}

async fn restore(
    args: RestoreArgs,
    open: impl FnOnce() -> Result<Client, Failure>,
    out: Out,
) -> Result<End, Failure> {
    if args.unverified && args.on.reason.trim().is_empty() {
        return Err(Failure::usage("--unverified needs a reason: --reason \"...\""));
    }
    let (source, host) = (args.source.clone(), args.on.host.clone());
    // A copy in a directory of its own, or a look, replaces nothing.
    let harmless = args.dry_run || args.to.is_some();
    let what = format!("this replaces {source} on {host}");
    let consent = if harmless { Consent::Given } else { confirm::consent_to(&what, args.yes)? };
    let work = |dry_run| {
        Work::BackupRestore(v1::BackupRestore {
            source: source.clone(),
            at: args.at.clone().unwrap_or_default(),
            snapshot: args.snapshot.clone().unwrap_or_default(),
            to: args.to.clone().unwrap_or_default(),
            of: args.of.clone().unwrap_or_default(),
            unverified: args.unverified,
            dry_run,
        })
    };
    let mut client = open()?;
    if consent == Consent::Ask {
        // A person sees the plan before the question.
        let On { host, reason, limit } = &args.on;
        let on = On { host: host.clone(), reason: reason.clone(), limit: *limit };
        let end = have_done(on, work(true), &mut client, out).await?;
        if end != End::DONE || !confirm::ask(format!("Replace {source} on {host}?")).await? {
            return Err(Failure::failed("not confirmed; nothing was restored"));
        }
    }
    have_done(args.on, work(args.dry_run), &mut client, out).await
}

/// The host's own words and its own exit code.
async fn have_done(on: On, work: Work, client: &mut Client, out: Out) -> Result<End, Failure> {
    let wish = Wish {
        host: on.host,
        reason: on.reason,
        limit: on.limit,
        limit_bytes: BYTES_MAX,
        json: out.json,
        work,
    };
    task::run(wish, client, out, |piece| out.bytes(piece)).await
}
