//! `coordctl status`, the members, and the checks that concern the coordinators.

use super::{OperatorService, backups, by, views};
use crate::consensus::MemberStatus;
use certs::Peer;
use failover::{
    ChannelState, Check, CheckResult, Engine, Group, Now, ProofLevel, Standing, decide,
};
use model::{GroupStanding, HostId, Millis};
use proto::v1;
use std::{collections::BTreeSet, sync::Arc};
use tonic::Status;

/// A voter that the leader has not heard for this long counts as lost.
const VOTER_LOST: u64 = 2000;

impl OperatorService {
    pub(super) async fn show_status(
        &self,
        _: &Arc<Peer>,
        asked: v1::StatusRequest,
    ) -> Result<v1::StatusReply, Status> {
        if !asked.group.is_empty() {
            let group = self.group(&asked.group).await?;
            let known = self.ask(move |engine, now| engine.look(&group, now)).await?;
            known.map_err(|why| self.refuse(&why))?;
        }
        let members = self.consensus.members();
        let leader = members.iter().find(|m| m.leader).map(|m| m.member.name.clone());
        let only = asked.group;
        let mut reply = self.ask(move |engine, now| of_engine(engine, now, &only)).await?;
        reply.installation = self.trust.identity().installation().to_owned();
        reply.leader = leader.unwrap_or_default();
        reply.warnings = warnings(&members);
        reply.members = members.into_iter().map(member).collect();
        Ok(reply)
    }

    pub(super) async fn show_members(
        &self,
        _: &Arc<Peer>,
        _: v1::MembersRequest,
    ) -> Result<v1::MembersReply, Status> {
        self.ask(|_, _| ()).await?;
        Ok(v1::MembersReply { members: self.consensus.members().into_iter().map(member).collect() })
    }

    pub(super) async fn remove_a_member(
        &self,
        peer: &Arc<Peer>,
        asked: v1::RemoveMemberRequest,
    ) -> Result<v1::RemoveMemberReply, Status> {
        let node = self.node_called(&asked.name).await?;
        tracing::info!(by = by(peer), member = asked.name, "removing a member");
        let removed = self.consensus.remove(node).await;
        removed.map_err(|error| Status::failed_precondition(certs::explain(&error)))?;
        Ok(v1::RemoveMemberReply {})
    }

    pub(super) async fn transfer(
        &self,
        peer: &Arc<Peer>,
        asked: v1::TransferLeadershipRequest,
    ) -> Result<v1::TransferLeadershipReply, Status> {
        let node = match asked.to.as_str() {
            "" => self.other_coordinator().await?,
            name => self.node_called(name).await?,
        };
        tracing::info!(by = by(peer), to = asked.to, "handing leadership over");
        let handed = self.consensus.transfer_leadership(node).await;
        handed.map_err(|error| Status::failed_precondition(certs::explain(&error)))?;
        let name = self.consensus.members().into_iter().find(|m| m.node == node);
        Ok(v1::TransferLeadershipReply { leader: name.map(|m| m.member.name).unwrap_or_default() })
    }

    async fn node_called(&self, name: &str) -> Result<u64, Status> {
        self.ask(|_, _| ()).await?;
        let members = self.consensus.members();
        members.iter().find(|m| m.member.name == name).map(|m| m.node).ok_or_else(|| {
            let names: Vec<&str> = members.iter().map(|m| m.member.name.as_str()).collect();
            Status::not_found(format!(
                "no member is called `{name}`; there are: {}",
                names.join(", ")
            ))
        })
    }

    async fn other_coordinator(&self) -> Result<u64, Status> {
        self.ask(|_, _| ()).await?;
        let mut others: Vec<MemberStatus> = self.consensus.members();
        others.retain(|m| !m.leader && m.voter && !m.member.witness);
        others.sort_by_key(|m| std::cmp::Reverse(m.matched));
        others.first().map(|m| m.node).ok_or_else(|| {
            Status::failed_precondition("there is no other coordinator to hand leadership to")
        })
    }

    /// The coordinators' own part of `doctor`.
    pub(super) fn checks(&self) -> Vec<Check> {
        let members = self.consensus.members();
        let warnings = warnings(&members);
        let (result, found) = match warnings.is_empty() {
            true => (CheckResult::Ok, format!("{} voters, all heard", voters(&members).len())),
            false => (CheckResult::Warn, warnings.join(" ")),
        };
        let hint = "coordctl members list; a third voter may be a witness on any small machine";
        vec![Check::new("coordinators", "", result, found, hint)]
    }
}

fn voters(members: &[MemberStatus]) -> Vec<&MemberStatus> {
    members.iter().filter(|m| m.voter).collect()
}

fn lost(member: &MemberStatus) -> bool {
    !member.leader && member.last_contact_ms.is_none_or(|ms| ms > VOTER_LOST)
}

/// What an operator must know about the coordinators, in plain sentences.
fn warnings(members: &[MemberStatus]) -> Vec<String> {
    let voters = voters(members);
    let mut out = Vec::new();
    for member in voters.iter().filter(|m| lost(m)) {
        let why = member.problem.as_ref().map(|p| format!(" ({p})")).unwrap_or_default();
        out.push(format!("{} {} is not heard{why}.", member.member.role(), member.member.name));
    }
    let missing = voters.iter().filter(|m| lost(m)).count();
    match (voters.len(), missing) {
        (1, _) => out.push(
            "There is one coordinator alone: losing it stops automatic failover. Add a second one \
             and a witness."
                .into(),
        ),
        (2, _) => out.push(
            "There are two coordinators and no witness: losing one of them stops automatic \
             failover. Add a witness on any third machine."
                .into(),
        ),
        (n, missing) if missing > 0 && (n - missing) <= n / 2 + 1 => {
            out.push("Losing one more voter stops automatic failover.".into());
        }
        _ => {}
    }
    if voters.iter().all(|m| m.member.witness || m.leader) && voters.len() > 1 {
        out.push("Only one voter can lead; the others are witnesses.".into());
    }
    out
}

fn member(status: MemberStatus) -> v1::Member {
    v1::Member {
        node: status.node,
        role: status.member.role().into(),
        name: status.member.name,
        address: status.member.address,
        voter: status.voter,
        leader: status.leader,
        last_contact_ms: status.last_contact_ms,
        matched_index: status.matched.unwrap_or(0),
    }
}

fn of_engine(engine: &Engine, now: Now, only: &str) -> v1::StatusReply {
    let state = engine.state();
    let wanted = |name: &str| only.is_empty() || only == name;
    let groups: Vec<v1::Group> = state
        .groups
        .values()
        .filter(|group| wanted(group.spec.name.as_str()))
        .map(|group| of_group(engine, group, now))
        .collect();
    let named: BTreeSet<&HostId> = state
        .groups
        .values()
        .filter(|group| wanted(group.spec.name.as_str()))
        .flat_map(|group| group.spec.sites.iter().flat_map(|site| site.hosts.iter()))
        .collect();
    let every: BTreeSet<&HostId> = state.named_hosts().collect();
    let heard = engine.view().hosts().map(|(host, _)| host);
    let strangers: Vec<&HostId> = heard.filter(|host| !every.contains(host)).collect();
    let unassigned_hosts: Vec<String> = strangers.iter().map(ToString::to_string).collect();
    let shown = named.into_iter().chain(strangers.into_iter().filter(|_| only.is_empty()));
    let waiting = state.outbox.values().filter(|n| {
        n.channels
            .values()
            .any(|c| matches!(c.state, ChannelState::Waiting | ChannelState::Sending))
    });
    v1::StatusReply {
        term: engine.leads().map_or(0, |term| term.0),
        hosts: shown.map(|host| of_host(engine, host, now)).collect(),
        groups,
        unassigned_hosts,
        at_unix_ms: now.wall.0,
        outbox_waiting: u32::try_from(waiting.count()).unwrap_or(u32::MAX),
        held_everywhere: state
            .hold
            .as_ref()
            .map(|hold| format!("{} ({})", hold.reason, hold.by))
            .unwrap_or_default(),
        approvals: state
            .approvals
            .values()
            .filter(|approval| approval.word(now.wall) == "waiting")
            .filter(|approval| wanted(approval.asked.group.as_str()))
            .map(|approval| views::approval(approval, now.wall))
            .collect(),
        ..v1::StatusReply::default()
    }
}

fn of_group(engine: &Engine, group: &Group, now: Now) -> v1::Group {
    let state = engine.state();
    let name = &group.spec.name;
    let sight = engine.look(name, now).ok();
    let held = state.held(group).unwrap_or_default();
    let word = match (&group.active, group.plan) {
        (_, Some(_)) => "moving",
        (None, None) => "never-active",
        (Some(_), None) if !held.is_empty() => "held",
        (Some(_), None) => "active",
    };
    let readiness = engine.readiness(name, now).ok();
    let (ready, readiness) = readiness.map_or((false, String::new()), |r| (r.ready, r.words()));
    let reachable = sight.as_ref().and_then(|s| {
        s.active.as_ref().and_then(|active| s.site(active)).map(|site| s.reachable_proof(site))
    });
    let site = |site: &failover::SiteSpec| v1::Site {
        name: site.name.to_string(),
        role: if group.active.as_ref() == Some(&site.name) { "active" } else { "standby" }.into(),
        hosts: site.hosts.iter().map(ToString::to_string).collect(),
        addresses: site.addresses.clone(),
    };
    v1::Group {
        name: name.to_string(),
        state: word.into(),
        active_site: group.active.as_ref().map(ToString::to_string).unwrap_or_default(),
        epoch: group.epoch.0,
        primary: group.spec.primary.to_string(),
        sites: group.spec.sites.iter().map(site).collect(),
        held,
        plan: group.plan.map_or(0, |plan| plan.0),
        incidents: state
            .incidents
            .values()
            .filter(|i| i.group == *name && i.state != failover::IncidentState::Closed)
            .map(|i| i.id.0)
            .collect(),
        readiness,
        ready,
        proof_reachable: reachable.map_or(0, |level| u32::from(level.number())),
        proof_needed: u32::from(group.spec.automatic_failover_needs.number()),
        lease_ms: group.spec.lease.0,
        decision: sight.as_ref().map(|s| decide(s).to_string()).unwrap_or_default(),
        // What a failover would lose now: as the first other site's watermarks say,
        // else by the backups that survive.
        rpo_ms: sight.as_ref().and_then(|s| {
            let mut others = s.sites.iter().filter(|site| s.active.as_ref() != Some(&site.site));
            let lag = others.next().and_then(|site| s.data_lag(&site.site));
            lag.or_else(|| s.backup_lag()).map(|lag| lag.0)
        }),
        failsafe: group.failsafe.is_some(),
        stops: stops(state, name),
    }
}

/// The emergency stops that stand, host by host.
fn stops(state: &failover::State, group: &model::GroupId) -> Vec<v1::EmergencyStop> {
    let hosts = state.stopped_hosts(group);
    let orders = hosts.iter().filter_map(|host| Some((host, state.stop_on(group, host)?)));
    let one = |(host, order): (&HostId, &model::StopOrder)| v1::EmergencyStop {
        host: host.to_string(),
        by: order.by.clone(),
        reason: order.reason.clone(),
        at_unix_ms: order.id.at.0,
        order: order.id.number,
    };
    orders.map(one).collect()
}

/// What there is to say of a gate; of a silent host's, how it was.
fn gate_detail(standing: &GroupStanding, alive: bool) -> String {
    match (alive, standing.gate_detail.as_str()) {
        (true, why) => why.to_owned(),
        (false, "") => format!("{} when last heard", standing.gate),
        (false, why) => format!("{} when last heard: {why}", standing.gate),
    }
}

fn of_host(engine: &Engine, host: &HostId, now: Now) -> v1::Host {
    let state = engine.state();
    let groups = state.groups.values().filter_map(|g| Some((g, g.spec.site_of(host)?)));
    let view = engine.view().host(host);
    let silence = view.map(|v| now.mono.since(v.heard));
    let strictest = groups.clone().map(|(g, _)| g.spec.timing()).min_by_key(|t| t.suspicion);
    let watched = now.mono.since(engine.born());
    let word = match strictest {
        Some(timing) => Standing::of(silence, watched, &timing).word(),
        None => "alive",
    };
    let alive = word == Standing::Alive.word();
    let of_membership = |(group, site): (&Group, &failover::SiteSpec)| {
        let standing = view.and_then(|v| {
            v.heartbeat.groups.iter().find(|standing| standing.group == group.spec.name)
        });
        v1::HostGroup {
            group: group.spec.name.to_string(),
            site: site.name.to_string(),
            epoch: standing.map_or(0, |s| s.epoch.0),
            // What it said, less the time since: it cannot have been renewed unheard of.
            lease_left_ms: standing
                .and_then(|s| s.lease_left)
                .map(|left| left.saturating_sub(silence.unwrap_or_default()).0)
                .filter(|left| *left > 0),
            gate: standing.filter(|_| alive).map_or("unknown", |s| s.gate.word()).into(),
            gate_detail: standing.map(|s| gate_detail(s, alive)).unwrap_or_default(),
            failsafe: standing.is_some_and(|s| s.failsafe),
            promised_ms: standing
                .and_then(|s| s.promised)
                .map(|left| left.saturating_sub(silence.unwrap_or_default()).0)
                .filter(|left| *left > 0),
            stale: stale(engine, &group.spec.name, host, now),
            barred: standing.map(|s| s.barred.clone()).unwrap_or_default(),
            stopped: standing.is_some_and(|s| s.stopped),
            stop_order: standing.and_then(|s| s.stop_order).map_or(0, |order| order.number),
        }
    };
    v1::Host {
        name: host.to_string(),
        state: word.into(),
        heard_ms_ago: silence.map(|s| s.0),
        groups: groups.map(of_membership).collect(),
        watchdog: view.map(|v| v.heartbeat.watchdog.word().to_owned()).unwrap_or_default(),
        isolation: view.map(|v| v.heartbeat.isolation.clone()).unwrap_or_default(),
        order: view.and_then(|v| v.heartbeat.order.clone()).map(|outcome| v1::HostOrderOutcome {
            order: outcome.id.number,
            done: outcome.done,
            detail: outcome.detail,
        }),
        task: engine.state().newest_task(host).map(views::task),
        services: view.map(|v| services(v, word != "alive")).unwrap_or_default(),
        readings: view
            .map(|v| v.heartbeat.readings.iter().map(|r| reading(r, silence)).collect())
            .unwrap_or_default(),
        backups: view.map(|v| backups::of_host(v, silence.unwrap_or_default())).unwrap_or_default(),
    }
}

/// What a host still holds of an epoch that is over, in words.
fn stale(engine: &Engine, group: &model::GroupId, host: &HostId, now: Now) -> String {
    let sight = engine.look(group, now).ok();
    let sites = sight.iter().flat_map(|sight| &sight.sites);
    let mut found = sites.flat_map(|site| &site.hosts).filter(|seen| seen.host == *host);
    found.find_map(|seen| seen.stale.clone()).unwrap_or_default()
}

/// A silent host's services are unknown: what they were is the past.
fn services(view: &failover::HostView, silent: bool) -> Vec<v1::HostService> {
    let one = |service: &model::ServiceStatus| {
        let word = service.state.word();
        let (state, detail) = match silent {
            true => ("unknown", format!("{word} when last heard: {}", service.detail)),
            false => (word, service.detail.clone()),
        };
        v1::HostService {
            name: service.service.to_string(),
            group: service.group.to_string(),
            exclusive: service.exclusive,
            state: state.into(),
            detail,
        }
    };
    view.heartbeat.services.iter().map(one).collect()
}

/// A reading's age grows with its host's silence.
fn reading(reading: &model::Reading, silence: Option<Millis>) -> v1::HostReading {
    v1::HostReading {
        probe: reading.probe.to_string(),
        kind: reading.kind.word().into(),
        verdict: reading.verdict.word().into(),
        summary: reading.summary.clone(),
        measures: reading.measures.clone().into_iter().collect(),
        age_ms: (reading.age + silence.unwrap_or_default()).0,
    }
}

/// The level in a preview's words.
pub(super) fn level(level: ProofLevel) -> u32 {
    u32::from(level.number())
}
