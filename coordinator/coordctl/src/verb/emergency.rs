//! `emergency-stop` and its release: ordered through the journal, carried out by
//! the hosts' agents, and waited for host by host.

use crate::{
    cli::EmergencyStop,
    client::{Client, Repeat},
    confirm::{self, Consent},
    end::{End, Failure},
    group,
    out::Out,
};
use daemon::exit::Exit;
use proto::v1::{EmergencyStopReply, EmergencyStopRequest, Host, StatusReply, StatusRequest};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How long agents are waited for: two stops at the longest usual `stop_timeout`.
const LIMIT: Duration = Duration::from_secs(15);
/// Between two looks.
const EVERY: Duration = Duration::from_millis(100);

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Done {
    order: u64,
    release: bool,
    groups: Vec<DoneGroup>,
}

#[derive(Debug, Serialize)]
struct DoneGroup {
    group: String,
    /// What becomes of the plan under way; empty without one.
    plan: String,
    hosts: Vec<DoneHost>,
}

#[derive(Debug, Serialize)]
struct DoneHost {
    host: String,
    /// "done", "failed", "waiting", "unheard".
    state: &'static str,
    detail: String,
}

pub(crate) async fn run(
    args: EmergencyStop,
    open: impl FnOnce() -> Result<Client, Failure>,
    out: Out,
) -> Result<End, Failure> {
    let consent = confirm::consent_to("this decides whether a group may trade", args.yes)?;
    let mut client = open()?;
    let group =
        if args.all { String::new() } else { group::choose(&mut client, args.group).await? };
    let request = EmergencyStopRequest {
        group,
        site: args.site.unwrap_or_default(),
        host: args.host.unwrap_or_default(),
        reason: args.reason,
        release: args.release,
    };
    if consent == Consent::Ask && !confirm::ask(question(&request)).await? {
        return Err(Failure::failed("not confirmed; nothing was ordered"));
    }
    let release = request.release;
    // The newest order counts, and each has the same effect twice.
    let reply = client
        .call(request, Repeat::Safe, async |api, request| api.emergency_stop(request).await)
        .await?;
    out.passing("ordered; waiting for the hosts");
    let until = Instant::now() + LIMIT;
    let done = loop {
        let status = client.status(StatusRequest::default()).await?;
        let done = look(&reply, &status, release);
        let states = || done.groups.iter().flat_map(|g| &g.hosts).map(|host| host.state);
        if !states().any(|state| state == "waiting") || Instant::now() >= until {
            break done;
        }
        tokio::time::sleep(EVERY).await;
    };
    out.passing("");
    out.either(&done, text)?;
    Ok(end(&done, out))
}

fn question(request: &EmergencyStopRequest) -> String {
    let group = if request.group.is_empty() { "EVERY group" } else { &request.group };
    let place = match (request.site.as_str(), request.host.as_str()) {
        ("", "") => "all its hosts".to_owned(),
        (site, "") => format!("site {site}"),
        (_, host) => format!("host {host}"),
    };
    match request.release {
        true => format!("Let {group} run again on {place}?"),
        false => format!("Stop {group} on {place} now?"),
    }
}

fn end(done: &Done, out: Out) -> End {
    let states: Vec<&str> =
        done.groups.iter().flat_map(|g| &g.hosts).map(|host| host.state).collect();
    if !done.release {
        out.talk(
            "nothing of it starts by itself anywhere until: coordctl emergency-stop --release",
        );
    }
    match () {
        () if states.iter().all(|state| *state == "done") => End::DONE,
        () if states.contains(&"failed") || states.contains(&"waiting") => End::As(Exit::Failed),
        () => End::As(Exit::Unreachable),
    }
}

fn look(reply: &EmergencyStopReply, status: &StatusReply, release: bool) -> Done {
    let groups = reply.groups.iter().map(|of| {
        let hosts = of.hosts.iter().map(|name| {
            let host = status.hosts.iter().find(|host| host.name == *name);
            let (state, detail) = outcome(host, &of.group, reply.order, release);
            DoneHost { host: name.clone(), state, detail }
        });
        DoneGroup { group: of.group.clone(), plan: of.plan.clone(), hosts: hosts.collect() }
    });
    Done { order: reply.order, release, groups: groups.collect() }
}

fn outcome(host: Option<&Host>, group: &str, order: u64, release: bool) -> (&'static str, String) {
    let Some(host) = host.filter(|host| ["alive", "suspect"].contains(&host.state.as_str())) else {
        let state = host.map_or("never heard", |host| &host.state);
        let more = match release {
            true => "its agent hears of it when it comes back",
            false => {
                "no lease is granted to it, so by its own clock it has stopped, or will at its \
                 lease's end; its agent stops it for good when it comes back"
            }
        };
        return ("unheard", format!("recorded; the host is {state}: {more}"));
    };
    let part = host.groups.iter().find(|part| part.group == group);
    let Some(part) = part.filter(|part| part.stop_order >= order) else {
        return ("waiting", "its agent has not said that the order is durable there".into());
    };
    match (release, part.stopped) {
        (true, false) => ("done", "released; it runs again when a lease says so".into()),
        (true, true) => (
            "failed",
            format!(
                "released here, and still stopped there: {}; on {}: understudy-agent \
                 emergency-stop --release {group}",
                part.barred, host.name
            ),
        ),
        (false, _) => {
            let running = host.services.iter().filter(|service| {
                let over = ["stopped", "failed"].contains(&service.state.as_str());
                service.group == group && service.exclusive && !over
            });
            let mut left: Vec<String> =
                running.map(|service| format!("{} is {}", service.name, service.state)).collect();
            if part.gate == "open" {
                left.push("the gate is open".into());
            }
            match left.is_empty() {
                true => ("done", format!("stopped; gate {}", part.gate)),
                false => ("waiting", format!("NOT CONFIRMED STOPPED: {}", left.join(", "))),
            }
        }
    }
}

fn text(done: &Done) -> String {
    let mut lines = Vec::new();
    for of in &done.groups {
        if !of.plan.is_empty() {
            lines.push(format!("{}: {}", of.group, of.plan));
        }
        lines.extend(
            of.hosts.iter().map(|host| format!("{} on {}: {}", of.group, host.host, host.detail)),
        );
    }
    lines.join("\n")
}
