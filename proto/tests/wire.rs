//! The wire: what is written is read back the same, and whatever bytes come,
//! the answer is a value or a refusal in words.

use model::{
    Action, AttemptId, AttemptRate, BackupStanding, Command, CommandId, CopyAge, CopyKind,
    CopyName, Derived, Epoch, GateState, GroupAssignment, GroupId, GroupStanding, Heartbeat,
    HostDeed, HostId, HostOrder, HostSilence, IsolationProfile, LeaseGrant, LeaseRefusal,
    LeaseReply, LeaseRequest, Millis, Nonce, Observation, OrderId, OrderOutcome, Outcome,
    PeerAddress, PlanId, ProbeKind, ProbeName, PromiseRefusal, PromiseReply, PromiseRequest,
    Reading, Refusal, ServiceName, ServiceState, ServiceStatus, SiteId, SourceName, StandbyMode,
    StepId, StepReport, StopDeed, StopOrder, Term, Verdict, VerifyEvidence, Wall, WatchdogState,
};
use proptest::prelude::*;
use prost::Message;
use proto::{convert::WireError, v1};

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9][a-z0-9._-]{0,20}"
}

macro_rules! named {
    ($($make:ident -> $name:ident),*) => {$(
        fn $make() -> impl Strategy<Value = $name> {
            name().prop_map(|text| $name::new(text).unwrap())
        }
    )*};
}
named!(group -> GroupId, host -> HostId, service -> ServiceName, probe -> ProbeName, site -> SiteId, source -> SourceName);

fn standing() -> impl Strategy<Value = GroupStanding> {
    let gates =
        prop_oneof![Just(GateState::Absent), Just(GateState::Closed), Just(GateState::Open)];
    let spans = (proptest::option::of(any::<u64>()), proptest::option::of(any::<u64>()));
    let words = (".{0,40}", ".{0,40}");
    (group(), any::<u64>(), spans, gates, words, any::<bool>()).prop_map(
        |(group, epoch, (left, promised), gate, (gate_detail, barred), failsafe)| GroupStanding {
            group,
            epoch: Epoch(epoch),
            lease_left: left.map(Millis),
            gate,
            gate_detail,
            failsafe,
            promised: promised.map(Millis),
            barred,
            stopped: failsafe,
            stop_order: (epoch > 0).then_some(OrderId { number: epoch, at: Wall(epoch / 2) }),
        },
    )
}

fn status() -> impl Strategy<Value = ServiceStatus> {
    let states = prop_oneof![
        Just(ServiceState::Stopped),
        Just(ServiceState::Starting),
        Just(ServiceState::Running),
        Just(ServiceState::Unhealthy),
        Just(ServiceState::Failed),
        Just(ServiceState::Unknown),
    ];
    let standbys = prop_oneof![Just(StandbyMode::Stopped), Just(StandbyMode::Gated)];
    (service(), group(), any::<bool>(), states, standbys, ".{0,40}").prop_map(
        |(service, group, exclusive, state, standby, detail)| ServiceStatus {
            service,
            group,
            exclusive,
            standby,
            state,
            detail,
        },
    )
}

fn reading() -> impl Strategy<Value = Reading> {
    let kinds = prop_oneof![
        Just(ProbeKind::Container),
        Just(ProbeKind::Disk),
        Just(ProbeKind::Host),
        Just(ProbeKind::Zeromq),
        Just(ProbeKind::Watermark),
        Just(ProbeKind::Tcp),
        Just(ProbeKind::Recovery),
    ];
    let verdicts = prop_oneof![
        Just(Verdict::Ok),
        Just(Verdict::Unknown),
        Just(Verdict::Warn),
        Just(Verdict::Critical),
    ];
    let measures = proptest::collection::btree_map("[a-z_]{1,12}", any::<i64>(), 0..5);
    (probe(), kinds, verdicts, ".{0,40}", measures, any::<u64>()).prop_map(
        |(probe, kind, verdict, summary, measures, age)| Reading {
            probe,
            kind,
            verdict,
            summary,
            measures,
            age: Millis(age),
        },
    )
}

fn copy() -> impl Strategy<Value = CopyAge> {
    (".{0,40}", any::<u64>(), 1..=3_u8, any::<u64>()).prop_map(
        |(snapshot, age, level, verified)| CopyAge {
            snapshot,
            age: Millis(age),
            level,
            verified: Millis(verified),
        },
    )
}

fn rate() -> impl Strategy<Value = AttemptRate> {
    (any::<u32>(), any::<u32>(), any::<u64>()).prop_map(|(one, other, took)| AttemptRate {
        count: one.max(other),
        well: one.min(other),
        took_p95: Millis(took),
    })
}

fn backup() -> impl Strategy<Value = BackupStanding> {
    let span = || proptest::option::of(any::<u64>().prop_map(Millis));
    let copies = (any::<bool>(), proptest::option::of(copy()), proptest::option::of(copy()));
    let spans = (span(), span(), span(), span());
    (source(), proptest::option::of(group()), copies, spans, ".{0,40}", (rate(), rate())).prop_map(
        |(source, group, (survives, surviving, newest), spans, failed, (runs, proofs))| {
            let (target, max, last_run, next) = spans;
            BackupStanding {
                source,
                group,
                survives,
                surviving,
                newest,
                target,
                max,
                last_run,
                failed,
                next,
                runs,
                proofs,
            }
        },
    )
}

#[test]
fn a_level_that_nobody_knows_is_refused() {
    let copy = v1::CopyAge { snapshot: "a".into(), age_ms: 1, level: 4, verified_ms_ago: 1 };
    let words = CopyAge::try_from(copy).unwrap_err().to_string();
    assert!(words.contains("CopyAge") && words.contains("level"), "{words}");
}

fn heartbeat() -> impl Strategy<Value = Heartbeat> {
    let lists = (
        proptest::collection::vec(standing(), 0..4),
        proptest::collection::vec(status(), 0..4),
        proptest::collection::vec(reading(), 0..4),
        proptest::collection::vec(backup(), 0..4),
    );
    let watchdogs = prop_oneof![
        Just(WatchdogState::Absent),
        Just(WatchdogState::Disarmed),
        Just(WatchdogState::Armed),
    ];
    let watchdogs = (watchdogs, proptest::option::of(any::<u64>().prop_map(Millis)));
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    let words = ("[a-z0-9.:]{0,20}", ".{0,40}");
    (host(), numbers, watchdogs, words, lists).prop_map(
        |(host, (boot, sequence, term), watchdog, words, lists)| Heartbeat {
            host,
            boot,
            sequence,
            term: Term(term),
            watchdog: watchdog.0,
            watchdog_timeout: watchdog.1,
            peer: words.0,
            isolation: words.1,
            order: Some(OrderOutcome {
                id: OrderId { number: sequence, at: Wall(boot) },
                done: boot % 2 == 0,
                detail: String::new(),
            }),
            groups: lists.0,
            services: lists.1,
            readings: lists.2,
            backups: lists.3,
        },
    )
}

fn id() -> impl Strategy<Value = CommandId> {
    (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
        |(plan, step, attempt, part)| CommandId {
            plan: PlanId(plan),
            step: StepId(step),
            attempt: AttemptId(attempt),
            part,
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let actions = prop_oneof![
        Just(Action::Fence),
        site().prop_map(|site| Action::Promote { site }),
        service().prop_map(|service| Action::StartService { service }),
        proptest::collection::vec(probe(), 0..4).prop_map(|feeds| Action::Verify { feeds }),
    ];
    (id(), any::<u64>(), host(), group(), any::<u64>(), any::<u64>(), actions).prop_map(
        |(id, term, host, group, epoch, deadline, action)| Command {
            id,
            term: Term(term),
            host,
            group,
            epoch: Epoch(epoch),
            deadline: Millis(deadline),
            action,
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let refusals = prop_oneof![
        (any::<u64>(), any::<u64>())
            .prop_map(|(given, seen)| Refusal::StaleTerm { given: Term(given), seen: Term(seen) }),
        (any::<u64>(), any::<u64>()).prop_map(|(given, seen)| Refusal::StaleEpoch {
            given: Epoch(given),
            seen: Epoch(seen)
        }),
        (host(), host()).prop_map(|(given, own)| Refusal::WrongHost { given, own }),
        ".{0,40}".prop_map(|what| Refusal::NotAllowed { what }),
        any::<u64>().prop_map(|epoch| Refusal::NoLease { epoch: Epoch(epoch) }),
        any::<u64>().prop_map(|left| Refusal::Promised { left: Millis(left) }),
        ".{0,40}".prop_map(|why| Refusal::Barred { why }),
        Just(Refusal::TooLate),
        Just(Refusal::UnknownAction),
    ];
    let seen = (any::<u32>(), any::<u64>(), proptest::option::of(any::<u64>()));
    prop_oneof![
        ".{0,40}".prop_map(|detail| Outcome::Done { detail }),
        ".{0,40}".prop_map(|detail| Outcome::Failed { detail }),
        (proptest::collection::vec(service(), 0..4), any::<bool>())
            .prop_map(|(stopped, gate_closed)| Outcome::Fenced { stopped, gate_closed }),
        seen.prop_map(|(fresh_feeds, messages, first)| Outcome::Verified(VerifyEvidence {
            fresh_feeds,
            messages,
            first_message_after: first.map(Millis),
        })),
        refusals.prop_map(Outcome::Refused),
    ]
}

fn derived() -> impl Strategy<Value = Derived> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    (numbers, numbers).prop_map(|((a, b, c), (d, e, f))| Derived {
        lease: Millis(a),
        heartbeat: Millis(b),
        gate_margin: Millis(c),
        rate_error: Millis(d),
        skew_margin: Millis(e),
        suspicion: Millis(f),
    })
}

fn promise_reply() -> impl Strategy<Value = PromiseReply> {
    let reasons = prop_oneof![
        any::<u64>().prop_map(|epoch| PromiseRefusal::HigherEpoch { epoch: Epoch(epoch) }),
        Just(PromiseRefusal::Fencing),
        Just(PromiseRefusal::Active),
        ".{0,40}".prop_map(|detail| PromiseRefusal::Unknown { detail }),
    ];
    (group(), host(), any::<u64>(), proptest::option::of(reasons)).prop_map(
        |(group, host, nonce, reason)| match reason {
            None => PromiseReply::Promised { group, host, nonce: Nonce(nonce) },
            Some(reason) => PromiseReply::Refused { group, host, nonce: Nonce(nonce), reason },
        },
    )
}

fn observation() -> impl Strategy<Value = Observation> {
    let silence = (host(), any::<u64>())
        .prop_map(|(host, silence)| HostSilence { host, silence: Millis(silence) });
    let hosts = proptest::collection::vec(silence, 0..4);
    (name(), any::<u64>(), any::<bool>(), hosts, derived()).prop_map(
        |(observer, watched, abstains, hosts, derived)| Observation {
            observer,
            watched: Millis(watched),
            abstains,
            hosts,
            derived,
        },
    )
}

fn lease_reply() -> impl Strategy<Value = LeaseReply> {
    let reasons = prop_oneof![
        Just(LeaseRefusal::NotLeader),
        Just(LeaseRefusal::NoQuorum),
        any::<u64>().prop_map(|epoch| LeaseRefusal::Superseded { epoch: Epoch(epoch) }),
        Just(LeaseRefusal::NotActive),
        ".{0,40}".prop_map(|why| LeaseRefusal::Stopped { why }),
        (derived(), derived())
            .prop_map(|(leader, host)| LeaseRefusal::TimingDiffers { leader, host }),
        ".{0,40}".prop_map(|detail| LeaseRefusal::Unknown { detail }),
    ];
    prop_oneof![
        (group(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
            |(group, epoch, nonce, term, lease)| LeaseReply::Granted(LeaseGrant {
                group,
                epoch: Epoch(epoch),
                nonce: Nonce(nonce),
                term: Term(term),
                lease: Millis(lease),
                gate_margin: Millis(lease / 20),
            })
        ),
        (group(), any::<u64>(), any::<u64>(), reasons).prop_map(|(group, nonce, term, reason)| {
            LeaseReply::Refused { group, nonce: Nonce(nonce), term: Term(term), reason }
        }),
    ]
}

/// Through the wire's bytes and back.
fn carried<M, W>(message: M) -> Result<M, WireError>
where
    W: Message + Default + From<M>,
    M: TryFrom<W, Error = WireError>,
{
    let bytes = W::from(message).encode_to_vec();
    M::try_from(W::decode(bytes.as_slice()).unwrap_or_default())
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        heartbeat in heartbeat(),
        command in command(),
        (id, host, group, epoch, outcome) in (id(), host(), group(), any::<u64>(), outcome()),
        reply in lease_reply(),
        active in proptest::option::of(site()),
        site in site(),
        derived in proptest::option::of(derived()),
        (fencing, peers) in (any::<bool>(), proptest::option::of(proptest::collection::vec(host(), 0..3))),
    ) {
        let profile = if fencing { IsolationProfile::Breach } else { IsolationProfile::EgressBlock };
        let isolate = HostDeed::Isolate { profile, span: Some(Millis(epoch)), force: fencing };
        for deed in [isolate, HostDeed::Confirm, HostDeed::Release] {
            let id = OrderId { number: epoch, at: Wall(7) };
            let order = HostOrder { id, deed, by: "ann".into(), reason: "an odd process".into() };
            prop_assert_eq!(carried::<_, v1::HostOrder>(order.clone()), Ok(order));
        }
        for deed in [StopDeed::Stop, StopDeed::Release] {
            let (id, group) = (OrderId { number: epoch, at: Wall(7) }, group.clone());
            let order = StopOrder { id, group, deed, by: "ann".into(), reason: "halt".into() };
            prop_assert_eq!(carried::<_, v1::StopOrder>(order.clone()), Ok(order));
        }
        let address = |host| PeerAddress { host, address: "192.0.2.7:7444".into() };
        let failsafe = peers.map(|hosts| hosts.into_iter().map(address).collect());
        prop_assert_eq!(carried::<_, v1::Heartbeat>(heartbeat.clone()), Ok(heartbeat));
        prop_assert_eq!(carried::<_, v1::Command>(command.clone()), Ok(command));
        let request = LeaseRequest {
            group: group.clone(),
            host: host.clone(),
            epoch: Epoch(epoch),
            nonce: Nonce(7),
            derived,
        };
        prop_assert_eq!(carried::<_, v1::LeaseRequest>(request.clone()), Ok(request));
        let assignment = GroupAssignment {
            group: group.clone(),
            site,
            active,
            epoch: Epoch(epoch),
            lease: Millis(5000),
            fencing,
            failsafe,
        };
        prop_assert_eq!(carried::<_, v1::GroupAssignment>(assignment.clone()), Ok(assignment));
        let report = StepReport { host, id, group, epoch: Epoch(epoch), outcome };
        prop_assert_eq!(carried::<_, v1::StepReport>(report.clone()), Ok(report));
        prop_assert_eq!(carried::<_, v1::LeaseReply>(reply.clone()), Ok(reply));
    }

    #[test]
    fn what_agents_and_voters_say_among_themselves_is_read_back(
        (group, host, numbers) in (group(), host(), (any::<u64>(), any::<u64>(), any::<u64>())),
        reply in promise_reply(),
        observation in observation(),
    ) {
        let (epoch, nonce, lease) = (Epoch(numbers.0), Nonce(numbers.1), Millis(numbers.2));
        let request = PromiseRequest { group, host, epoch, nonce, lease };
        prop_assert_eq!(carried::<_, v1::PromiseRequest>(request.clone()), Ok(request));
        prop_assert_eq!(carried::<_, v1::PromiseReply>(reply.clone()), Ok(reply));
        prop_assert_eq!(carried::<_, v1::Observation>(observation.clone()), Ok(observation));
    }

    #[test]
    fn any_bytes_are_a_value_or_a_refusal(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = v1::Heartbeat::decode(bytes.as_slice()) {
            let _ = Heartbeat::try_from(message);
        }
        if let Ok(message) = v1::Command::decode(bytes.as_slice()) {
            let _ = Command::try_from(message);
        }
        if let Ok(message) = v1::StepReport::decode(bytes.as_slice()) {
            let _ = StepReport::try_from(message);
        }
        if let Ok(message) = v1::PromiseReply::decode(bytes.as_slice()) {
            let _ = PromiseReply::try_from(message);
        }
        if let Ok(message) = v1::Observation::decode(bytes.as_slice()) {
            let _ = Observation::try_from(message);
        }
        if let Ok(message) = v1::LeaseReply::decode(bytes.as_slice()) {
            let _ = LeaseReply::try_from(message);
        }
    }
}

#[test]
fn an_unknown_field_is_ignored_and_an_unknown_value_refused() {
    let request = v1::LeaseRequest {
        group: "fx".into(),
        host: "p1".into(),
        epoch: 1,
        nonce: 2,
        derived: None,
    };
    let mut bytes = request.encode_to_vec();
    // Field 99, a varint: what a newer program might add.
    bytes.extend([0x98, 0x06, 0x01]);
    assert_eq!(v1::LeaseRequest::decode(bytes.as_slice()).unwrap(), request);

    let status = v1::ServiceStatus {
        service: "bridge".into(),
        group: "fx".into(),
        state: 42,
        ..v1::ServiceStatus::default()
    };
    let refused = ServiceStatus::try_from(status).unwrap_err().to_string();
    assert!(refused.contains("does not know (42)") && refused.contains("upgrade"), "{refused}");

    let command = v1::Command {
        id: Some(v1::CommandId::default()),
        host: "p1".into(),
        group: "fx".into(),
        ..v1::Command::default()
    };
    let refused = Command::try_from(command).unwrap_err();
    assert_eq!(refused, WireError::Missing { message: "Command", field: "action" });
}

#[test]
fn c4_an_older_agents_watchdog_has_no_time_that_counts() {
    let armed = v1::WatchdogState::Armed.into();
    let older = v1::Heartbeat { host: "p1".into(), watchdog: armed, ..v1::Heartbeat::default() };
    let said = |timeout| v1::Heartbeat { watchdog_timeout_ms: timeout, ..older.clone() };
    let within = |timeout| Heartbeat::try_from(said(timeout)).unwrap().resets_within();
    assert_eq!(within(None), None);
    assert_eq!(within(Some(10_000)), Some(Millis(10_600)), "by the slower clock");
    assert_eq!(within(Some(60_001)), None, "longer than any agent takes");
    let disarmed = v1::WatchdogState::Disarmed.into();
    let idle = v1::Heartbeat { watchdog: disarmed, ..said(Some(10_000)) };
    assert_eq!(Heartbeat::try_from(idle).unwrap().resets_within(), None);
}

#[test]
fn too_much_is_refused_and_long_words_are_cut() {
    let groups =
        vec![v1::GroupStanding { group: "fx".into(), gate: 1, ..Default::default() }; 1001];
    let heartbeat = v1::Heartbeat { host: "p1".into(), groups, ..v1::Heartbeat::default() };
    let refused = Heartbeat::try_from(heartbeat).unwrap_err().to_string();
    assert!(refused.contains("1001 entries"), "{refused}");

    let status = v1::ServiceStatus {
        service: "bridge".into(),
        group: "fx".into(),
        state: 3,
        detail: "ä".repeat(5000),
        ..v1::ServiceStatus::default()
    };
    assert!(ServiceStatus::try_from(status).unwrap().detail.len() <= 4096);
}

#[test]
fn only_names_of_a_restic_repository_become_paths() {
    let digest = "0123456789abcdef".repeat(4);
    for kind in CopyKind::ALL {
        let name = if kind == CopyKind::Config { "" } else { &digest };
        let name = CopyName::new(kind, name).unwrap();
        assert_eq!(CopyName::try_from(v1::CopyFile::from(&name)).unwrap(), name);
    }
    let pack = CopyName::new(CopyKind::Pack, &digest).unwrap();
    assert_eq!(pack.path(), format!("data/01/{digest}"));
    let upper = digest.to_uppercase();
    for bad in ["", "..", "../../../etc/passwd", "/etc/passwd", "a", &upper, &format!("{digest}0")]
    {
        for kind in CopyKind::ALL.into_iter().filter(|kind| *kind != CopyKind::Config) {
            let file = v1::CopyFile { kind: v1::CopyKind::from(kind).into(), name: bad.into() };
            let refused = CopyName::try_from(file).unwrap_err().to_string();
            assert!(refused.contains("no name of a file"), "{refused}");
        }
    }
    let config = v1::CopyFile { kind: v1::CopyKind::Config.into(), name: "../config".into() };
    assert!(CopyName::try_from(config).is_err());
    for kind in [0, 99] {
        assert!(CopyName::try_from(v1::CopyFile { kind, name: digest.clone() }).is_err());
    }
    for bad in ["", ".", "..", ".hidden", "a/b", "A", &"a".repeat(64)] {
        assert!(model::repository_name(bad).is_err(), "{bad}");
    }
    assert!(model::repository_name("standby-2.0").is_ok());
}

#[test]
fn a_task_is_read_back_and_what_makes_no_sense_is_refused() {
    use model::{Restore, Task, TaskOrder};
    let db = || Some("db".to_owned());
    let restore = Restore {
        source: "db".into(),
        at: Some("1h ago".into()),
        snapshot: None,
        to: Some("/srv/copy".into()),
        of: Some("p1".into()),
        unverified: true,
        dry_run: true,
    };
    let verify = |level| Task::BackupVerify {
        source: db(),
        level,
        percent: Some(100),
        snapshot: Some("0a1b".into()),
        of: None,
    };
    let all = [
        Task::BackupRun { source: None },
        Task::BackupList { source: db() },
        verify(Some(3)),
        Task::BackupRestore(restore),
        Task::BackupPrune { source: None, dry_run: true },
        Task::EvidenceCollect { with: vec!["db".into(), "queue".into()] },
        Task::EvidenceBaseline,
    ];
    for task in all {
        let (by, reason) = ("ann".to_owned(), "a drill".to_owned());
        let limit = Millis(7);
        let order = TaskOrder { request: "r1".into(), by, reason, limit, json: true, task };
        assert_eq!(carried::<_, v1::HostTask>(order.clone()), Ok(order));
    }
    assert_eq!(verify(None).words(), "backup verify db --percent 100 --snapshot 0a1b");
    assert!(Task::try_from(v1::Task { work: None }).is_err(), "an arm that is not known");
    assert!(carried::<Task, v1::Task>(verify(Some(4))).is_err(), "there is no level 4");
    let nothing = v1::task::Work::BackupRestore(v1::BackupRestore::default());
    assert!(Task::try_from(v1::Task { work: Some(nothing) }).is_err(), "of which source?");
    assert!(TaskOrder::try_from(v1::HostTask::default()).is_err());
}
