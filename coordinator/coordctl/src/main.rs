//! The operator's hand: reads the command line, runs one verb, ends with its exit code.
//!
//! Talks plain gRPC to the coordinators with the operator's own certificate and
//! has no other way in. Decides nothing about groups: what is allowed is the
//! coordinators' word, shown as it came.

mod archive;
mod cli;
mod client;
mod confirm;
mod context;
mod end;
mod follow;
mod group;
mod out;
mod progress;
mod render;
mod verb;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A second call would only say that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = cli::Cli::parse();
    let out = out::Out::of_process(cli.global.json);
    // The operator sees answers, not events; whoever looks for a fault sets the filter.
    if std::env::var_os(daemon::telemetry::FILTER_VARIABLE).is_some()
        && let Err(error) = daemon::telemetry::init("coordctl", false, "")
    {
        out.talk(&format!("warning: {error}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let end = match runtime {
        Ok(runtime) => runtime.block_on(verb::run(cli, out)),
        Err(error) => Err(end::Failure::failed(format!("cannot start the runtime: {error}"))),
    };
    let end = end.unwrap_or_else(|failure| {
        out.failure(&failure);
        failure.end
    });
    ExitCode::from(end.code())
}
