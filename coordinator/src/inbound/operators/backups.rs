//! How a host's backups stand, for operators.

use failover::HostView;
use model::{BackupStanding, Millis};
use proto::v1;

/// Every source of a host that was heard `silence` ago: ages have grown since.
pub(super) fn of_host(view: &HostView, silence: Millis) -> Vec<v1::HostBackup> {
    view.heartbeat.backups.iter().map(|known| one(known, silence)).collect()
}

fn one(known: &BackupStanding, silence: Millis) -> v1::HostBackup {
    let rpo = known.rpo().map(|age| age + silence);
    let copy = known.surviving.as_ref();
    v1::HostBackup {
        source: known.source.to_string(),
        group: known.group.as_ref().map(ToString::to_string).unwrap_or_default(),
        state: state(known, rpo).into(),
        survives: known.survives,
        rpo_ms: rpo.map(|age| age.0),
        snapshot: copy.map(|copy| copy.snapshot.clone()).unwrap_or_default(),
        level: copy.map_or(0, |copy| copy.level.into()),
        verified_ms_ago: copy.map(|copy| (copy.verified + silence).0),
        newest_ms: known.newest.as_ref().map(|copy| (copy.age + silence).0),
        target_ms: known.target.map(|bound| bound.0),
        max_ms: known.max.map(|bound| bound.0),
        last_run_ms_ago: known.last_run.map(|ago| (ago + silence).0),
        failed: known.failed.clone(),
        next_in_ms: known.next.map(|left| left.saturating_sub(silence).0),
        runs: known.runs.count,
        runs_well: known.runs.well,
        proofs: known.proofs.count,
        proofs_well: known.proofs.well,
        took_p95_ms: known.runs.took_p95.0,
    }
}

fn state(known: &BackupStanding, rpo: Option<Millis>) -> &'static str {
    let beyond = |bound: Option<Millis>| bound.is_some_and(|most| rpo.is_none_or(|age| age > most));
    if beyond(known.max) {
        "failed"
    } else if beyond(known.target) || !known.failed.is_empty() {
        "warn"
    } else if rpo.is_none() {
        "unknown"
    } else {
        "ok"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{AttemptRate, CopyAge, SourceName};

    fn standing(age: Option<u64>, failed: &str) -> BackupStanding {
        let copy = |age| CopyAge {
            snapshot: "abcdef01".into(),
            age: Millis(age),
            level: 2,
            verified: Millis(age),
        };
        BackupStanding {
            source: SourceName::new("db").unwrap(),
            group: None,
            survives: true,
            surviving: age.map(copy),
            newest: age.map(copy),
            target: Some(Millis(1000)),
            max: Some(Millis(5000)),
            last_run: Some(Millis(10)),
            failed: failed.into(),
            next: Some(Millis(300)),
            runs: AttemptRate { count: 10, well: 9, took_p95: Millis(70) },
            proofs: AttemptRate::default(),
        }
    }

    #[test]
    fn ages_grow_with_the_silence_and_bounds_are_told() {
        for (age, silence, failed, wanted) in [
            (Some(900), 100, "", "ok"),
            (Some(900), 101, "", "warn"),
            (Some(900), 0, "the disk is full", "warn"),
            (Some(900), 4100, "", "warn"),
            (Some(900), 4101, "", "failed"),
            (None, 0, "", "failed"),
        ] {
            let told = one(&standing(age, failed), Millis(silence));
            assert_eq!(told.state, wanted, "{age:?} {silence} {failed}");
            assert_eq!(told.rpo_ms, age.map(|age| age + silence));
        }
        let told = one(&standing(Some(0), ""), Millis(400));
        assert_eq!((told.next_in_ms, told.last_run_ms_ago), (Some(0), Some(410)));
        let mut unbound = standing(None, "");
        (unbound.target, unbound.max) = (None, None);
        assert_eq!(one(&unbound, Millis(0)).state, "unknown");
    }
}
