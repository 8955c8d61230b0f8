//! What the keeper says to do, by example and for any order of events.

use super::*;
use model::{AttemptId, GroupId, HostId, PlanId, SiteId, StepId, Term};
use proptest::prelude::*;

fn command(step: u64, epoch: u64, action: Action) -> Command {
    Command {
        id: CommandId { plan: PlanId(1), step: StepId(step), attempt: AttemptId(1), part: 0 },
        term: Term(1),
        host: HostId::new("p1").unwrap(),
        group: GroupId::new("fx").unwrap(),
        epoch: Epoch(epoch),
        deadline: Millis(1000),
        action,
    }
}

fn start(step: u64) -> Waiting {
    let action = Action::StartService { service: name("bridge") };
    Waiting { command: command(step, 1, action), until: Mono(1000), from: 0 }
}

fn promote(step: u64) -> Waiting {
    let action = Action::Promote { site: SiteId::new("standby").unwrap() };
    Waiting { command: command(step, 1, action), until: Mono(1000), from: 0 }
}

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn stopped() -> Result<Vec<ServiceName>, String> {
    Ok(vec![name("bridge")])
}

#[test]
fn a3_a_fence_cancels_what_is_at_work_and_ends_with_a_clean_pass() {
    let mut keeper = Keeper::default();
    assert_eq!(keeper.submit(start(1)), None);
    assert!(keeper.has(&start(1).command.id));
    assert_eq!(keeper.next(Mono(0), true), Some(Next::Begin(start(1))));
    assert!(keeper.has(&start(1).command.id) && keeper.next(Mono(0), true).is_none());
    let fence = command(2, 1, Action::Fence);
    assert_eq!(keeper.fence(fence.clone(), Mono(500), Mono(10)), None);
    assert!(keeper.has(&fence.id));
    assert_eq!(keeper.next(Mono(10), false), Some(Next::Cancel));
    assert_eq!(keeper.next(Mono(10), false), Some(Next::Close), "closing waits for nothing");
    assert_eq!(keeper.next(Mono(10), false), None);
    assert!(keeper.pass_ended(Mono(20), stopped()).is_empty(), "a start was under way");
    assert_eq!(keeper.next(Mono(20), false), None);
    assert_eq!(keeper.wake(), Some(Mono(500)), "no busy waiting");
    keeper.job_ended();
    assert_eq!(keeper.next(Mono(30), false), Some(Next::Close));
    let ended = keeper.pass_ended(Mono(40), stopped());
    assert_eq!(ended, [Fenced { command: fence, result: stopped() }]);
    assert!(keeper.is_closed() && keeper.wake().is_none());
}

#[test]
fn a3_a_fence_that_cannot_be_confirmed_fails_at_its_deadline() {
    let mut keeper = Keeper::default();
    let fence = command(2, 1, Action::Fence);
    keeper.fence(fence.clone(), Mono(500), Mono(0));
    assert_eq!(keeper.next(Mono(0), false), Some(Next::Close));
    // A second fence meanwhile needs a pass of its own.
    let second = command(3, 1, Action::Fence);
    keeper.fence(second.clone(), Mono(900), Mono(5));
    assert_eq!(keeper.pass_ended(Mono(10), stopped()).len(), 1);
    assert_eq!(keeper.next(Mono(10), false), Some(Next::Close));
    keeper.pass_ended(Mono(20), Err("docker does not answer".into()));
    assert_eq!(keeper.next(Mono(119), false), None);
    assert_eq!(keeper.wake(), Some(Mono(120)));
    assert_eq!(keeper.next(Mono(120), false), Some(Next::Close));
    keeper.pass_ended(Mono(130), Err("docker does not answer".into()));
    assert_eq!(keeper.wake(), Some(Mono(330)), "the wait doubles");
    assert!(keeper.late(Mono(899)).is_empty());
    let late = keeper.late(Mono(900));
    assert_eq!(late[0].command, second);
    assert!(late[0].result.as_ref().unwrap_err().contains("docker does not answer"));
    keeper.fence(fence, Mono(5000), Mono(1000));
    assert_eq!(keeper.overtaken(Epoch(1)), []);
    assert!(keeper.overtaken(Epoch(2))[0].result.is_err());
}

#[test]
fn a3_a_lapse_closes_and_a_new_lease_starts_again_what_ran() {
    let mut keeper = Keeper::default();
    keeper.close(Mono(0), Why::Lapse);
    assert_eq!(keeper.next(Mono(0), false), Some(Next::Close));
    keeper.opened(Mono(5), true);
    assert_eq!(keeper.next(Mono(5), true), None, "the pass goes first");
    keeper.pass_ended(Mono(10), stopped());
    assert_eq!(keeper.next(Mono(10), true), Some(Next::Restore));
    assert!(!keeper.restored(Mono(20), false));
    assert_eq!((keeper.next(Mono(1019), true), keeper.wake()), (None, Some(Mono(1020))));
    assert_eq!(keeper.next(Mono(1020), true), Some(Next::Restore));
    assert!(!keeper.restored(Mono(1030), true));
    assert_eq!((keeper.next(Mono(9999), true), keeper.wake()), (None, None));
    keeper.opened(Mono(0), false);
    assert_eq!(keeper.next(Mono(9999), true), None, "nothing was started");
}

#[test]
fn starting_again_has_a_limit() {
    let mut keeper = Keeper::default();
    keeper.opened(Mono(0), true);
    let mut tries = 0;
    while let Some(at) = keeper.wake() {
        assert_eq!(keeper.next(at, true), Some(Next::Restore));
        tries += 1;
        let given_up = keeper.restored(at, false);
        assert_eq!(given_up, keeper.wake().is_none());
    }
    assert_eq!(tries, RESTORE_TRIES);
}

#[test]
fn a_promotion_survives_a_lapse_and_not_a_higher_epoch() {
    let mut keeper = Keeper::default();
    keeper.submit(promote(1));
    keeper.close(Mono(0), Why::Over);
    assert_eq!(keeper.next(Mono(0), false), Some(Next::Close));
    assert_eq!(keeper.next(Mono(0), false), Some(Next::Begin(promote(1))), "beside a pass");
    keeper.close(Mono(1), Why::Lapse);
    keeper.close(Mono(1), Why::Taken);
    assert_eq!(keeper.next(Mono(1), false), None);
    keeper.close(Mono(2), Why::Over);
    assert_eq!(keeper.next(Mono(2), false), Some(Next::Cancel));
}

#[test]
fn a1_a_service_that_nobody_may_run_is_stopped_without_a_storm() {
    let mut keeper = Keeper::default();
    keeper.saw_running(Mono(1000));
    assert_eq!(keeper.next(Mono(1000), false), Some(Next::Close));
    keeper.saw_running(Mono(1001));
    keeper.pass_ended(Mono(1010), stopped());
    assert_eq!(keeper.next(Mono(1010), false), None);
    keeper.saw_running(Mono(1011));
    assert_eq!((keeper.next(Mono(1011), false), keeper.wake()), (None, Some(Mono(1260))));
    assert_eq!(keeper.next(Mono(1260), true), None, "a live lease allows it");
    assert_eq!(keeper.wake(), None);
}

#[test]
fn the_queue_is_bounded_and_too_late_is_not_forgotten() {
    let mut keeper = Keeper::default();
    keeper.close(Mono(0), Why::Lapse);
    assert_eq!(keeper.next(Mono(0), false), Some(Next::Close));
    for step in 0..QUEUE_MAX as u64 {
        assert_eq!(keeper.submit(start(step)), None);
    }
    assert_eq!(keeper.submit(start(99)), Some(start(99)));
    assert_eq!((keeper.next(Mono(999), false), keeper.wake()), (None, Some(Mono(1000))));
    assert_eq!(keeper.next(Mono(1000), false), Some(Next::Begin(start(0))), "to be refused");
}

#[test]
fn a1_what_is_gated_starts_in_a_closed_and_quiet_group_and_gives_way_to_commands() {
    let mut keeper = Keeper::default();
    keeper.close(Mono(0), Why::Over);
    keeper.stand_by(Mono(0), true, false);
    assert!(!keeper.is_behind(), "not before all is confirmed stopped");
    assert_eq!(keeper.next(Mono(0), false), Some(Next::Close));
    keeper.pass_ended(Mono(50), stopped());
    keeper.stand_by(Mono(50), true, false);
    assert_eq!((keeper.next(Mono(1049), false), keeper.wake()), (None, Some(Mono(1050))));
    assert_eq!(keeper.next(Mono(1050), false), Some(Next::StandBy));
    keeper.submit(promote(1));
    assert_eq!(keeper.next(Mono(1060), false), Some(Next::Cancel), "a promotion does not wait");
    assert!(keeper.stood_by(false) || keeper.is_behind());
    assert_eq!(keeper.next(Mono(1070), false), Some(Next::Begin(promote(1))));
    keeper.overtake(Mono(1070), Why::Taken);
    assert_eq!(keeper.next(Mono(1071), false), None, "what stands behind the gate stays");
    assert!(keeper.is_behind());
    keeper.job_ended();
    keeper.opened(Mono(1100), false);
    assert!(!keeper.is_behind(), "it is active now");
    keeper.overtake(Mono(1200), Why::Over);
    assert_eq!(keeper.next(Mono(1200), false), Some(Next::Close), "and ends with its epoch");
}

#[test]
fn a_gated_service_that_keeps_ending_is_given_up() {
    let mut keeper = Keeper::default();
    let (mut now, mut starts) = (Mono(0), 0);
    for _ in 0..1000 {
        now += Millis(500);
        keeper.stand_by(now, true, false);
        if keeper.next(now, false) == Some(Next::StandBy) {
            starts += 1;
            assert_eq!(keeper.stood_by(false), starts == RESTORE_TRIES);
        }
    }
    assert_eq!(starts, RESTORE_TRIES);
    keeper.close(now, Why::Over);
    assert_eq!(keeper.next(now, false), Some(Next::Close));
    keeper.pass_ended(now, stopped());
    keeper.stand_by(now, true, false);
    assert_eq!(keeper.next(now + QUIET_AFTER, false), Some(Next::StandBy), "it begins anew");
}

/// More than a group has to be quiet for.
const QUIET_AFTER: Millis = Millis(2000);

#[derive(Debug, Clone)]
enum Step {
    Close(Why),
    Fence(u64),
    Submit(bool),
    Opened,
    SawRunning,
    PassEnds(bool),
    JobEnds(bool),
    Up(bool),
    Wait(u64),
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Start,
    Promote,
    Restore,
    StandBy,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        prop_oneof![Just(Why::Lapse), Just(Why::Over), Just(Why::Taken)].prop_map(Step::Close),
        (1..3000u64).prop_map(Step::Fence),
        any::<bool>().prop_map(Step::Submit),
        Just(Step::Opened),
        Just(Step::SawRunning),
        any::<bool>().prop_map(Step::PassEnds),
        any::<bool>().prop_map(Step::JobEnds),
        any::<bool>().prop_map(Step::Up),
        (0..2000u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What the keeper says in one go at most: every command that waits is begun,
/// to be refused where it is too late, and beside them it says one pass, one
/// cancel and one restart or standby start.
const ASKED_MAX: usize = QUEUE_MAX + 3;

/// Does what the keeper says until it says nothing.
fn all_that_is_next(
    keeper: &mut Keeper,
    now: Mono,
    live: bool,
    pass: &mut bool,
    job: &mut Option<Work>,
) -> Result<(), TestCaseError> {
    let mut asked = 0;
    while let Some(next) = keeper.next(now, live) {
        asked += 1;
        prop_assert!(asked <= ASKED_MAX, "it never comes to rest");
        match next {
            Next::Close => {
                prop_assert!(!*pass);
                *pass = true;
            }
            Next::Cancel => prop_assert!(job.is_some()),
            Next::Begin(waiting) => {
                let promotes = matches!(waiting.command.action, Action::Promote { .. });
                let late = waiting.until <= now;
                prop_assert!(job.is_none() && (promotes || late || !*pass));
                if late {
                    // The guard refuses it on the spot.
                    keeper.job_ended();
                } else {
                    *job = Some(if promotes { Work::Promote } else { Work::Start });
                }
            }
            Next::Restore => {
                prop_assert!(job.is_none() && !*pass && live);
                *job = Some(Work::Restore);
            }
            Next::StandBy => {
                prop_assert!(job.is_none() && !*pass && !live && keeper.is_behind());
                *job = Some(Work::StandBy);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn nothing_is_started_while_closing_and_nothing_spins(steps in steps()) {
        let mut keeper = Keeper::default();
        let (mut now, mut live, mut number) = (Mono(0), false, 0);
        // Whether a pass is under way, and what is at work.
        let (mut pass, mut job) = (false, None::<Work>);
        let mut up = false;
        for step in steps {
            number += 1;
            match step {
                Step::Close(why) => {
                    live = false;
                    keeper.close(now, why);
                }
                Step::Fence(after) => {
                    live = false;
                    let fence = command(number, 1, Action::Fence);
                    keeper.fence(fence, now + Millis(after), now);
                }
                Step::Submit(promotes) => {
                    let mut waiting = if promotes { promote(number) } else { start(number) };
                    waiting.until = now + Millis(1000);
                    keeper.submit(waiting);
                }
                Step::Opened if keeper.fences.is_empty() => {
                    live = true;
                    keeper.opened(now, true);
                }
                Step::Opened => {}
                Step::SawRunning => keeper.saw_running(now),
                Step::Up(is) => up = is,
                Step::PassEnds(well) if pass => {
                    pass = false;
                    let unclean = matches!(job, Some(Work::Start | Work::Restore | Work::StandBy));
                    let ended = keeper.pass_ended(now, if well { stopped() } else { Err("x".into()) });
                    prop_assert!(well || ended.is_empty());
                    prop_assert!(ended.is_empty() || !unclean, "a job ran when a fence ended");
                }
                Step::JobEnds(well) => match job.take() {
                    Some(Work::Restore) => {
                        keeper.restored(now, well);
                    }
                    Some(Work::StandBy) => {
                        keeper.stood_by(well);
                    }
                    Some(Work::Start | Work::Promote) => keeper.job_ended(),
                    None => {}
                },
                Step::PassEnds(_) => {}
                Step::Wait(time) => now += Millis(time),
            }
            keeper.late(now);
            keeper.stand_by(now, !live, up);
            all_that_is_next(&mut keeper, now, live, &mut pass, &mut job)?;
            prop_assert!(keeper.wake().is_none_or(|at| at > now), "it would spin");
        }
    }
}
