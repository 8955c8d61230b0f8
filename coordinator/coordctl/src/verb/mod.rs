//! One file a family of verbs: each asks, shows, and says how it ended.

mod backup;
mod certs;
mod emergency;
mod evidence;
mod files;
mod generate;
mod groups;
mod host;
mod incident;
mod init;
mod members;
mod notify;
mod operator;
mod plan;
mod recover;
mod rpo;
mod status;
mod task;
mod token;

use crate::{
    cli::{Cli, Global, Verb},
    client::Client,
    context::Context,
    end::{End, Failure},
    out::Out,
};

/// A client for this command line's context.
fn client(global: &Global, out: Out) -> Result<Client, Failure> {
    Client::new(Context::load(global.context.as_deref())?, global.timeout, out)
}

/// Runs the verb.
pub(crate) async fn run(cli: Cli, out: Out) -> Result<End, Failure> {
    let global = &cli.global;
    let open = || client(global, out);
    match cli.verb {
        Verb::Init(args) => init::run(&args, global, out),
        Verb::Completions { shell } => generate::completions(shell, out),
        Verb::Man { dir } => generate::man(&dir, out),
        Verb::Status(args) => status::run(args, &mut open()?, out).await,
        Verb::Failover(args) => recover::run(recover::failover(args), open, out).await,
        Verb::Switchover(args) => recover::run(recover::switchover(args), open, out).await,
        Verb::Failback(args) => recover::run(recover::failback(args), open, out).await,
        Verb::Approve(args) => recover::approve(args, open, out).await,
        Verb::Hold(args) => groups::hold(args, &mut open()?, out).await,
        Verb::Resume(args) => groups::resume(args, &mut open()?, out).await,
        Verb::Isolate(args) => host::isolate(args, &mut open()?, out).await,
        Verb::Release(args) => host::release(args, &mut open()?, out).await,
        Verb::EmergencyStop(args) => emergency::run(args, open, out).await,
        Verb::Doctor(args) => groups::doctor(args, &mut open()?, out).await,
        Verb::Timing(args) => groups::timing(args, &mut open()?, out).await,
        Verb::Explain(args) => incident::explain(args, &mut open()?, out).await,
        Verb::Incident(verb) => incident::run(verb, &mut open()?, out).await,
        Verb::Plan(verb) => plan::run(verb, &mut open()?, out).await,
        Verb::Apply(args) => files::apply(&args, open, out).await,
        Verb::Diff(args) => files::diff(&args, open, out).await,
        Verb::Export(args) => files::export(&args, &mut open()?, out).await,
        Verb::Members(verb) => members::run(verb, &mut open()?, out).await,
        Verb::Operator(verb) => operator::add(verb, &mut open()?, out).await,
        Verb::Enroll(args) => operator::enroll(args, global, out).await,
        Verb::Token(verb) => token::run(verb, &mut open()?, out).await,
        Verb::Certs(verb) => certs::run(verb, &mut open()?, out).await,
        Verb::Backup(verb) => backup::run(verb, open, out).await,
        Verb::Evidence(verb) => evidence::run(verb, global, out).await,
        Verb::Notify(verb) => notify::run(verb, &mut open()?, out).await,
    }
}
