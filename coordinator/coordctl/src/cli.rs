//! The command line as types. Names and flags are a contract and stay stable;
//! the man pages and completions are generated from here.

mod backup;
mod evidence;
mod host;
mod moves;
mod people;

pub(crate) use backup::{BackupVerb, On, RestoreArgs};
pub(crate) use evidence::{Collect, EvidenceVerb};
pub(crate) use host::{EmergencyStop, Isolate, IsolateVerb, Profile, Release};
pub(crate) use moves::{Failback, Hold, How, Move, Resume};
pub(crate) use people::{Approve, Enroll, OperatorVerb, RankOf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{path::PathBuf, time::Duration};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 refused by a safety rule,
4 no leader or unreachable, 5 ended held for a human; 130 after Ctrl-C while a
plan goes on in the coordinators.";

/// The operator's hand: look at, fail over and configure an Understudy installation.
#[derive(Debug, Parser)]
#[command(name = "coordctl", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb understands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Directory with the operator's credentials and context.toml
    /// [default: ~/.config/understudy]
    #[arg(long, global = true, value_name = "DIR", env = "UNDERSTUDY_CONTEXT")]
    pub(crate) context: Option<PathBuf>,
    /// How long to look for the leader before giving up
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Print one JSON document on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a new installation: the authority, the first coordinator, the first operator
    Init(Init),
    /// Sites, roles, leases, health, open incidents
    Status(Status),
    /// Move a group to another site, whether the active one is alive or not
    #[command(after_help = EXIT_CODES)]
    Failover(Move),
    /// Move a group to another site while both are healthy
    #[command(after_help = EXIT_CODES)]
    Switchover(Move),
    /// Move a group back to its primary site
    #[command(after_help = EXIT_CODES)]
    Failback(Failback),
    /// Approve, as a second operator, what another one asked for
    #[command(after_help = EXIT_CODES)]
    Approve(Approve),
    /// Stop automatic failover until `resume`; with --all, for every group
    Hold(Hold),
    /// Allow automatic failover again
    Resume(Resume),
    /// Cut a host off after a breach, but for administrators and coordinators
    #[command(after_help = EXIT_CODES)]
    Isolate(Isolate),
    /// End a host's isolation: everything there is as it was before
    #[command(after_help = EXIT_CODES)]
    Release(Release),
    /// Stop what is exclusive of a group at once, on every host, until it is released
    #[command(after_help = EXIT_CODES)]
    EmergencyStop(EmergencyStop),
    /// Could I fail over now? Every check, with what to do
    ///
    /// Exit code 1 when the group is not ready.
    Doctor(OneGroup),
    /// Why it did, or did not
    Explain(Explain),
    /// Every bound that follows from the group's lease
    Timing(OneGroup),
    /// Incidents and their reports
    #[command(subcommand)]
    Incident(IncidentVerb),
    /// Plans and their steps
    #[command(subcommand)]
    Plan(PlanVerb),
    /// Bring group files into force, all or nothing
    Apply(Files),
    /// What `apply` would change
    Diff(Files),
    /// The group files in force, ready for `apply`
    Export(Export),
    /// The coordinators and the witness
    #[command(subcommand)]
    Members(MembersVerb),
    /// Join tokens for new hosts
    #[command(subcommand)]
    Token(TokenVerb),
    /// Operators: add another one
    #[command(subcommand)]
    Operator(OperatorVerb),
    /// Become the operator that a token was made for: `operator add`
    Enroll(Enroll),
    /// Certificates that were issued
    #[command(subcommand)]
    Certs(CertsVerb),
    /// Notifications and their deliveries
    #[command(subcommand)]
    Notify(NotifyVerb),
    /// Backups of a host, done there by its agent, and what a loss would lose
    #[command(subcommand, after_help = EXIT_CODES)]
    Backup(BackupVerb),
    /// What shows what happened on a host after a breach
    #[command(subcommand, after_help = EXIT_CODES)]
    Evidence(EvidenceVerb),
    /// Print the completions of a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a directory
    Man {
        /// Where to; made when it is not there
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Name of the installation, part of every certificate
    #[arg(long, value_name = "NAME")]
    pub(crate) installation: String,
    /// Name of this first coordinator, as in its coordinator.toml
    #[arg(long, value_name = "NAME")]
    pub(crate) coordinator: String,
    /// How others reach this coordinator: `advertise` of its coordinator.toml
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: String,
    /// `state_dir` of its coordinator.toml
    #[arg(long, value_name = "DIR")]
    pub(crate) coordinator_state: PathBuf,
    /// Name of the first operator, who gets the rank admin
    #[arg(long, value_name = "NAME", default_value = "admin")]
    pub(crate) operator: String,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only this group
    pub(crate) group: Option<String>,
    /// Draw again every second, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OneGroup {
    /// The group; may be left out when there is one
    pub(crate) group: Option<String>,
}

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = true, args = ["what", "now", "last", "incident", "at"])]
pub(crate) struct Explain {
    /// A group, or the number of an incident
    #[arg(conflicts_with = "now")]
    pub(crate) what: Option<String>,
    /// The decision as it is now, for this group
    #[arg(long, value_name = "GROUP", num_args = 0..=1, default_missing_value = "")]
    pub(crate) now: Option<String>,
    /// The newest N decisions on record, those to do nothing among them
    #[arg(long, value_name = "N", conflicts_with_all = ["now", "incident", "at"],
          value_parser = clap::value_parser!(u32).range(1..=250))]
    pub(crate) last: Option<u32>,
    /// What this incident was opened for
    #[arg(long, value_name = "ID", conflicts_with_all = ["now", "at"])]
    pub(crate) incident: Option<u64>,
    /// What stood at this moment: 2026-03-01T03:12:07Z
    #[arg(long, value_name = "TIME", conflicts_with = "now")]
    pub(crate) at: Option<jiff::Timestamp>,
    /// Show the recorded evidence too
    #[arg(long)]
    pub(crate) evidence: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IncidentVerb {
    /// List incidents
    List {
        /// Only this group
        group: Option<String>,
        /// Only those that are open
        #[arg(long)]
        open: bool,
    },
    /// One incident with its timeline
    Show {
        /// Its number
        incident: u64,
    },
    /// The report of an incident
    Report {
        /// Its number
        incident: u64,
        /// Markdown for people, JSON for machines (also chosen by --json)
        #[arg(long, value_enum, default_value_t)]
        format: ReportFormat,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    #[default]
    Markdown,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlanVerb {
    /// List plans
    List {
        /// Only this group
        group: Option<String>,
    },
    /// One plan with its steps
    Show {
        /// Its number
        plan: u64,
        /// Go on until it ends, with the exit code of `failover`
        #[arg(long)]
        follow: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Files {
    /// Directory with *.toml group files, or one such file
    #[arg(short = 'f', long = "files", value_name = "DIR")]
    pub(crate) files: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Write the files into this directory instead of to stdout
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Replace files that differ
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MembersVerb {
    /// List the coordinators and the witness
    List,
    /// Take a member out of the vote
    Remove {
        /// Its name
        name: String,
    },
    /// Hand the leadership over
    Transfer {
        /// To this coordinator [default: the most caught-up other one]
        #[arg(long, value_name = "NAME")]
        to: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a single-use join token and print it
    Create {
        /// Name of the host, or of the coordinator, that will join with it
        #[arg(long, value_name = "NAME")]
        host: String,
        /// What it joins as
        #[arg(long, value_enum, default_value_t)]
        role: JoinAs,
        /// How long the token can be used
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
        valid: Duration,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum JoinAs {
    #[default]
    Agent,
    Coordinator,
    Witness,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertsVerb {
    /// List the certificates
    List,
    /// Refuse a certificate from now on
    Revoke {
        /// Its serial number, as `certs list` shows it
        serial: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NotifyVerb {
    /// The notifications and how far each delivery is
    Outbox,
}

/// `500ms`, `10s`, `5min`, `24h`, `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let wrong =
        || format!("`{text}` is no length of time; use for example 500ms, 10s, 5min or 24h");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    match number.checked_mul(unit_ms) {
        // A hundred years: beyond it, clocks are added to without overflow no more.
        Some(ms @ 1..=3_155_760_000_000) => Ok(Duration::from_millis(ms)),
        Some(_) | None => Err(format!("`{text}` is too short or too long")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("2 min"), Ok(Duration::from_secs(120)));
        for bad in ["", "5", "s", "-1s", "5 parsecs", "0s", "99999999999999999999s", "40000000000h"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn explain_takes_a_group_an_incident_or_a_moment() {
        let parse = |args: &[&str]| {
            Cli::try_parse_from(["coordctl", "explain"].iter().chain(args))
                .map(|cli| match cli.verb {
                    Verb::Explain(explain) => {
                        (explain.what, explain.now, explain.last, explain.incident)
                    }
                    other => panic!("{other:?}"),
                })
                .map_err(|error| error.kind())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parse(&["3"]), Ok((some("3"), None, None, None)));
        assert_eq!(parse(&["fx"]), Ok((some("fx"), None, None, None)));
        assert_eq!(parse(&["fx", "--last", "5"]), Ok((some("fx"), None, Some(5), None)));
        assert_eq!(parse(&["fx", "--incident", "2"]), Ok((some("fx"), None, None, Some(2))));
        assert_eq!(parse(&["--now", "fx"]), Ok((None, some("fx"), None, None)));
        assert_eq!(parse(&["--now"]), Ok((None, some(""), None, None)));
        assert!(parse(&["fx", "--at", "2026-03-01T03:12:07Z"]).is_ok());
        assert!(parse(&[]).is_err());
        for wrong in [&["3", "--now", "fx"][..], &["fx", "--at", "noon"], &["fx", "--last", "0"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
