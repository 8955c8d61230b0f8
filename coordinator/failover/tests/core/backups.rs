//! Backups in the core: what a failover loses by them, what `doctor` says, and
//! when a person is told.

use crate::{
    standby::watermark,
    world::{World, group, spec},
};
use failover::{Check, CheckResult, Report};
use model::{AttemptRate, BackupStanding, CopyAge, Epoch, GroupId, Millis, SourceName};

fn backup(source: &str, age: Option<u64>) -> BackupStanding {
    let copy = |age| CopyAge {
        snapshot: "abcdef01".into(),
        age: Millis(age),
        level: 3,
        verified: Millis(age),
    };
    BackupStanding {
        source: SourceName::new(source).unwrap(),
        group: Some(group()),
        survives: age.is_some(),
        surviving: age.map(copy),
        newest: Some(copy(1)),
        target: None,
        max: None,
        last_run: Some(Millis(1)),
        failed: String::new(),
        next: None,
        runs: AttemptRate::default(),
        proofs: AttemptRate::default(),
    }
}

fn checks(world: &World) -> Vec<Check> {
    let all = world.engine.examine(&group(), world.now()).unwrap();
    all.into_iter().filter(|check| check.name == "backup").collect()
}

/// The report of the failover after the primary's loss.
fn lost(mut world: World) -> Report {
    world.pass(200);
    world.agent("p1").alive = false;
    world.pass(4000);
    assert_eq!(world.state().groups[&group()].epoch, Epoch(2), "{}", world.transcript.join("\n"));
    world.assert_replay();
    Report::of_plan(world.state().plans.values().next_back().unwrap())
}

#[test]
fn the_oldest_source_is_the_rpo_where_no_watermark_is() {
    let mut world = World::running();
    let mut foreign = backup("foreign", None);
    foreign.group = Some(GroupId::new("other").unwrap());
    world.agent("p1").backups = vec![backup("db", Some(5000)), backup("etc", Some(900)), foreign];
    let report = lost(world);
    let rpo = report.rpo_ms.unwrap();
    assert!(rpo > Millis(5000) && rpo < Millis(8000), "with the silence until the decision: {rpo}");
    assert!(
        report.summary().contains("the age of the newest proven backups"),
        "{}",
        report.summary()
    );
}

#[test]
fn a_watermark_says_more_and_one_source_without_a_copy_makes_it_unknown() {
    let mut world = World::running();
    world.agent("p1").backups = vec![backup("db", Some(5000))];
    world.agent("s1").readings.push(watermark(1200));
    assert_eq!(lost(world).rpo_ms, Some(Millis(1200)));
    let mut world = World::running();
    world.agent("p1").backups = vec![backup("db", Some(5000)), backup("keys", None)];
    let report = lost(world);
    assert_eq!(report.rpo_ms, None, "a local copy is lost with its host");
    assert!(report.summary().contains("no backup of it survives"), "{}", report.summary());
}

#[test]
fn doctor_names_the_newest_verified_backup_its_age_and_the_target() {
    let mut world = World::running();
    let with = |age, target, max, failed: &str| {
        let mut standing = backup("db", age);
        (standing.target, standing.max) = (target, max);
        standing.failed = failed.into();
        standing
    };
    let minute = Some(Millis::from_secs(60));
    let hour = Some(Millis::from_secs(3600));
    for (standing, result, words) in [
        (with(Some(5000), minute, hour, ""), CheckResult::Ok, "abcdef01 is 5"),
        (
            with(Some(5000), minute, hour, ""),
            CheckResult::Ok,
            "level 3 (target 1 min 0 s, at most 1 h 0 min)",
        ),
        (with(Some(70_000), minute, hour, ""), CheckResult::Warn, "1 min 10 s old"),
        (with(Some(3_700_000), minute, hour, ""), CheckResult::Failed, "at most 1 h"),
        (with(Some(5000), None, None, "no space"), CheckResult::Warn, "last run failed: no space"),
        (with(None, None, None, ""), CheckResult::Warn, "lost with the host"),
        (with(None, minute, hour, ""), CheckResult::Failed, "lost with the host"),
    ] {
        world.agent("p1").backups = vec![standing];
        world.pass(100);
        let found = checks(&world);
        assert_eq!((found.len(), found[0].result), (1, result), "{found:?}");
        assert!(found[0].found.contains(words), "{found:?}");
        assert_eq!(found[0].hint.is_empty(), result == CheckResult::Ok);
    }
}

#[test]
fn a_person_is_told_once_in_six_hours() {
    let mut world = World::running();
    let mut by_hand = spec();
    by_hand.automatic = false;
    world.apply(by_hand);
    let count = |world: &World| {
        world.state().outbox.values().filter(|n| n.title.contains("is too old")).count()
    };
    let mut old = backup("db", Some(20_000));
    old.max = Some(Millis(30_000));
    world.agent("p1").backups = vec![old.clone()];
    world.pass(2000);
    assert_eq!(count(&world), 0, "within the bound");
    old.surviving.as_mut().unwrap().age = Millis(30_001);
    world.agent("p1").backups = vec![old.clone()];
    world.pass(5000);
    assert_eq!(count(&world), 1);
    let told = world.state().outbox.values().find(|n| n.title.contains("is too old")).unwrap();
    assert!(told.title.contains("backup `db` of p1"), "{}", told.title);
    assert!(told.body.contains("at most 30 s is acceptable"), "{}", told.body);
    world.pass(60_000);
    assert_eq!(count(&world), 1, "not at every heartbeat");
    // A new leader knows what was told.
    world.assert_replay();
    world.mono += Millis::from_secs(6 * 3600);
    world.pass(5000);
    assert_eq!(count(&world), 2);
    // On a site that waits nothing is at risk.
    world.agent("p1").backups.clear();
    old.source = SourceName::new("other").unwrap();
    world.agent("s1").backups = vec![old];
    world.pass(5000);
    assert_eq!(count(&world), 2);
}
