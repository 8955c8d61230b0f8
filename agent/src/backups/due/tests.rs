//! What is due when, in every order of events.

use super::*;
use backup::schedule::Schedule;
use proptest::prelude::*;
use std::time::Duration;

const HOUR: i64 = 3600;

fn now(second: i64) -> Now {
    Now {
        wall: Timestamp::from_second(1_800_000_000 + second).unwrap(),
        mono: Mono(u64::try_from(1_000_000 + second).unwrap() * 1000),
    }
}

fn hourly() -> Schedule {
    Schedule::every(Duration::from_secs(3600), Duration::ZERO)
}

fn job(source: &str, deed: Deed, repository: &str, schedule: Option<Schedule>) -> Job {
    let word = if deed == Deed::Run { "run" } else { "verify" };
    let repositories = [repository.to_owned()].into();
    Job::new(format!("{word}:{source}"), source, deed, repositories, schedule, "p1")
}

fn begun(jobs: &mut Jobs, second: i64) -> Vec<String> {
    std::iter::from_fn(|| jobs.begin(now(second))).map(|job| job.key).collect()
}

#[test]
fn missed_turns_are_one_run_and_the_first_copy_is_made_at_once() {
    let mut jobs = Jobs::new(vec![job("db", Deed::Run, "r", Some(hourly()))]);
    jobs.iter_mut().for_each(|job| job.resume(None, now(0).wall));
    assert_eq!(begun(&mut jobs, 0), ["run:db"]);
    jobs.ended("run:db", true, Millis(1000), now(1).mono);
    assert_eq!(begun(&mut jobs, 1), [""; 0]);
    // As after a week of downtime.
    let taken = jobs.iter().next().unwrap().taken();
    jobs.iter_mut().for_each(|job| job.resume(taken, now(7 * 24 * HOUR + 60).wall));
    assert_eq!(begun(&mut jobs, 7 * 24 * HOUR + 60), ["run:db"]);
    jobs.ended("run:db", true, Millis(1000), now(7 * 24 * HOUR + 61).mono);
    assert_eq!(begun(&mut jobs, 7 * 24 * HOUR + 61), [""; 0], "once, not 168 times");
    assert_eq!(begun(&mut jobs, 7 * 24 * HOUR + HOUR), ["run:db"]);
}

#[test]
fn a_proofs_first_turn_is_before_it() {
    let deed = Deed::Verify { level: 3, percent: 100 };
    let mut jobs = Jobs::new(vec![job("db", deed, "r", Some(hourly()))]);
    jobs.iter_mut().for_each(|job| job.resume(None, now(5).wall));
    assert_eq!(begun(&mut jobs, 6), [""; 0]);
    assert_eq!(begun(&mut jobs, HOUR), ["verify:db"]);
}

#[test]
fn a_failure_is_tried_three_times_then_the_next_turn_comes() {
    let mut jobs = Jobs::new(vec![job("db", Deed::Run, "r", Some(hourly()))]);
    let mut second = 0;
    assert_eq!(begun(&mut jobs, second), ["run:db"]);
    for wait in [60, 240, 900] {
        jobs.ended("run:db", false, Millis(0), now(second).mono);
        assert_eq!(begun(&mut jobs, second + wait - 1), [""; 0]);
        second += wait;
        assert_eq!(begun(&mut jobs, second), ["run:db"]);
    }
    jobs.ended("run:db", false, Millis(0), now(second).mono);
    assert_eq!(begun(&mut jobs, HOUR - 1), [""; 0], "it has been tried enough");
    assert_eq!(begun(&mut jobs, HOUR), ["run:db"], "the next turn");
    jobs.ended("run:db", false, Millis(0), now(HOUR).mono);
    assert_eq!(begun(&mut jobs, HOUR + 60), ["run:db"], "which begins to count anew");
}

#[test]
fn a_changed_file_that_could_not_be_copied_is_never_given_up() {
    let mut jobs = Jobs::new(vec![job("etc", Deed::Run, "r", None)]);
    jobs.changed("etc", now(0).mono);
    assert_eq!(begun(&mut jobs, 0), [""; 0], "an editor may be in the middle of it");
    assert_eq!(jobs.wait(now(0)), Some(SETTLE));
    assert_eq!(begun(&mut jobs, 1), ["run:etc"]);
    let mut second = 1;
    for wait in [60, 240, 900, 900, 900] {
        jobs.ended("run:etc", false, Millis(0), now(second).mono);
        jobs.changed("etc", now(second).mono);
        assert_eq!(begun(&mut jobs, second + wait - 1), [""; 0]);
        second += wait;
        assert_eq!(begun(&mut jobs, second), ["run:etc"]);
    }
    jobs.ended("run:etc", true, Millis(0), now(second).mono);
    assert_eq!(begun(&mut jobs, second + 10_000), [""; 0], "nothing has changed since");
}

#[test]
fn files_that_never_rest_are_copied_at_intervals() {
    let mut jobs = Jobs::new(vec![job("log", Deed::Run, "r", None)]);
    let at = |ms: u64| Now { mono: Mono(1_000_000 + ms), ..now(0) };
    let mut begins = Vec::new();
    let mut ends = None;
    for tick in 0..1000 {
        let ms = tick * 20;
        jobs.changed("log", at(ms).mono);
        if ends == Some(ms) {
            jobs.ended("run:log", true, Millis(400), at(ms).mono);
        }
        if jobs.begin(at(ms)).is_some() {
            begins.push(ms);
            ends = Some(ms + 400);
        }
    }
    assert_eq!(begins[0], 1000, "not later than a second after the first change");
    let apart: Vec<u64> = begins.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(apart.iter().all(|apart| *apart >= 2000), "a fifth of the time: {apart:?}");
    assert!(begins.len() >= 9, "{begins:?}");
}

#[test]
fn after_a_long_run_a_change_does_not_wait_long() {
    let mut jobs = Jobs::new(vec![job("etc", Deed::Run, "r", Some(hourly()))]);
    assert_eq!(begun(&mut jobs, 0), ["run:etc"]);
    jobs.ended("run:etc", true, Millis::from_secs(1200), now(1200).mono);
    jobs.changed("etc", now(1201).mono);
    assert_eq!(begun(&mut jobs, 1259), [""; 0]);
    assert_eq!(begun(&mut jobs, 1260), ["run:etc"]);
}

#[test]
fn a_change_has_a_place_beside_a_long_run_but_not_in_its_repository() {
    let mut jobs = Jobs::new(vec![
        job("db", Deed::Run, "big", Some(hourly())),
        job("data", Deed::Run, "other", Some(hourly())),
        job("etc", Deed::Run, "small", None),
        job("same", Deed::Run, "big", None),
    ]);
    assert_eq!(begun(&mut jobs, 0), ["run:data"], "one long run at a time");
    for source in ["etc", "same"] {
        jobs.changed(source, now(0).mono);
    }
    jobs.ended("run:data", true, Millis(1), now(0).mono);
    assert_eq!(begun(&mut jobs, 0), ["run:db"]);
    assert_eq!(begun(&mut jobs, 1), ["run:etc"]);
    let next = Some(Millis::from_secs(3599));
    assert_eq!(jobs.wait(now(1)), next, "what waits for a place wakes nobody");
    jobs.ended("run:db", true, Millis(1), now(2).mono);
    assert_eq!(begun(&mut jobs, 2), ["run:same"]);
}

#[test]
fn a_clock_that_is_set_neither_stops_nor_repeats_anything() {
    let mut jobs = Jobs::new(vec![job("db", Deed::Run, "r", Some(hourly()))]);
    assert_eq!(begun(&mut jobs, 10 * HOUR), ["run:db"]);
    jobs.ended("run:db", true, Millis(1), now(10 * HOUR).mono);
    let back = |second: i64| Now { wall: now(second).wall, ..now(10 * HOUR + second) };
    assert!(jobs.begin(back(60)).is_none());
    let left = jobs.wait(back(60)).unwrap();
    assert!(left <= Millis::from_secs(3600), "not ten hours: {left}");
}

proptest! {
    /// Whatever happens: no repository has two jobs, no job runs twice, and at
    /// the end whatever changed is copied.
    #[test]
    fn no_overlap_and_nothing_forgotten(
        events in prop::collection::vec((0_u8..6, 0_usize..4, 0_i64..400), 1..300),
    ) {
        let verify = Deed::Verify { level: 2, percent: 10 };
        let mut jobs = Jobs::new(vec![
            job("a", Deed::Run, "r1", Some(hourly())),
            job("b", Deed::Run, "r1", None),
            job("c", Deed::Run, "r2", None),
            job("a2", verify, "r1", Some(hourly())),
        ]);
        let (mut second, mut running, mut dirty) = (0, Vec::<Job>::new(), BTreeSet::new());
        let sources = ["a", "b", "c", "a2"];
        for (kind, which, step) in events {
            second += step;
            match kind {
                0 => {
                    jobs.changed(sources[which], now(second).mono);
                    if which < 3 {
                        dirty.insert(sources[which].to_owned());
                    }
                }
                1 | 2 if !running.is_empty() => {
                    let done = running.remove(which % running.len());
                    let well = kind == 1;
                    if !well && done.deed == Deed::Run {
                        dirty.insert(done.source.clone());
                    }
                    jobs.ended(&done.key, well, Millis(10), now(second).mono);
                }
                _ => while let Some(job) = jobs.begin(now(second)) {
                    prop_assert!(running.iter().all(|other| other.key != job.key));
                    prop_assert!(
                        running.iter().all(|other| other.repositories.is_disjoint(&job.repositories))
                    );
                    dirty.remove(&job.source);
                    running.push(job);
                    prop_assert!(running.len() <= AT_ONCE);
                },
            }
        }
        for _ in 0..100 {
            for done in running.drain(..) {
                jobs.ended(&done.key, true, Millis(10), now(second).mono);
            }
            second += 1000;
            while let Some(job) = jobs.begin(now(second)) {
                dirty.remove(&job.source);
                running.push(job);
            }
        }
        prop_assert!(dirty.is_empty(), "{dirty:?}");
    }
}
