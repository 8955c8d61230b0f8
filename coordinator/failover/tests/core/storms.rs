//! Random storms: hosts die and return, leaders change, the quorum goes and
//! comes, operators ask for things at bad moments. Whatever happens, the
//! invariants hold, and when the storm is over every incident ends.

use crate::{
    promises::failsafe_spec,
    world::{World, group},
};
use failover::{IncidentState, PlanKind, ProofLevel, Record};
use model::{Epoch, Outcome, ServiceState};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Weather {
    Pass(u64),
    Kill(bool),
    Cut(bool),
    Revive(bool),
    NewLeader,
    Quorum(bool),
    Service(bool),
    Ask(bool, bool),
    Failback,
    StartFails(bool),
    Stall(u64),
    Deaf(bool),
    Sees(bool, bool),
    Mute(bool, bool),
    Frozen(bool, bool),
    Apart(bool),
}

fn weather() -> impl Strategy<Value = Weather> {
    prop_oneof![
        4 => (25u64..3000).prop_map(Weather::Pass),
        2 => any::<bool>().prop_map(Weather::Kill),
        3 => any::<bool>().prop_map(Weather::Cut),
        2 => any::<bool>().prop_map(Weather::Revive),
        2 => Just(Weather::NewLeader),
        1 => any::<bool>().prop_map(Weather::Quorum),
        1 => any::<bool>().prop_map(Weather::Service),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(to, force)| Weather::Ask(to, force)),
        1 => Just(Weather::Failback),
        1 => any::<bool>().prop_map(Weather::StartFails),
        1 => (200u64..20_000).prop_map(Weather::Stall),
        1 => any::<bool>().prop_map(Weather::Deaf),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(who, host)| Weather::Sees(who, host)),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(who, on)| Weather::Mute(who, on)),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(who, on)| Weather::Frozen(who, on)),
        1 => any::<bool>().prop_map(Weather::Apart),
    ]
}

fn name(primary: bool) -> &'static str {
    if primary { "p1" } else { "s1" }
}

fn fellow(second: bool) -> &'static str {
    if second { "c2" } else { "w" }
}

fn blow(world: &mut World, weather: &Weather) {
    match weather {
        Weather::Pass(ms) => world.pass(*ms),
        Weather::Kill(primary) => {
            let agent = world.agent(name(*primary));
            // The process driver's holder ends the service with the agent.
            (agent.alive, agent.lease_until, agent.state) = (false, None, ServiceState::Stopped);
        }
        Weather::Cut(primary) => world.agent(name(*primary)).cut = true,
        Weather::Revive(primary) => {
            world.restart(name(*primary));
        }
        Weather::Apart(apart) => world.apart = *apart,
        Weather::NewLeader => {
            let term = world.term.0 + 1;
            world.new_leader(term);
        }
        Weather::Quorum(up) => (world.quorum, world.commits) = (*up, *up),
        Weather::Service(primary) => {
            let agent = world.agent(name(*primary));
            if agent.state == ServiceState::Running {
                agent.state = ServiceState::Failed;
            }
        }
        Weather::Ask(standby, force) => {
            let to = if *standby { "standby" } else { "primary" };
            let accept = force.then_some(ProofLevel::Lapsed);
            world.ask(PlanKind::Failover, Some(to), accept);
        }
        Weather::Failback => world.ask(PlanKind::Failback, None, None),
        Weather::StartFails(primary) => {
            let failure = Outcome::Failed { detail: "no such image".into() };
            let agent = world.agent(name(*primary));
            agent.answers.insert("start-service".into(), vec![failure; 2].into());
        }
        Weather::Stall(ms) => {
            // The coordinator alone stands still: leases lapse meanwhile.
            world.stall(*ms);
            for agent in world.agents.values_mut() {
                if agent.lease_until.is_some_and(|until| until <= world.mono) {
                    (agent.lease_until, agent.state) = (None, ServiceState::Stopped);
                }
            }
        }
        Weather::Deaf(primary) => world.followers_lose(name(*primary)),
        Weather::Sees(who, primary) => world.fellow_sees(fellow(*who), name(*primary)),
        Weather::Mute(who, on) => world.fellow(fellow(*who)).mute = *on,
        Weather::Frozen(who, on) => world.fellow(fellow(*who)).frozen = *on,
    }
}

fn epochs_only_grow(world: &World) {
    let mut last = Epoch(0);
    for (_, record) in &world.journal {
        if let Record::Activated { epoch, .. } = record
            && *epoch > last
        {
            last = *epoch;
        }
    }
    assert_eq!(world.state().groups[&group()].epoch, last);
}

fn weathers(world: &mut World, storm: &[Weather]) {
    for weather in storm {
        blow(world, weather);
    }
    // The storm is over.
    (world.quorum, world.commits, world.apart) = (true, true, false);
    world.fellows.recover();
    for host in ["p1", "s1"] {
        world.restart(host);
    }
    let term = world.term.0 + 1;
    world.new_leader(term);
    // Five fences that fail take the longest: a lapse and half a minute each.
    let calm = |world: &World| {
        let open = |incident: &failover::Incident| incident.state == IncidentState::Open;
        let settled = world.state().outbox.values().all(|n| n.settled("log"));
        settled && !world.state().incidents.values().any(open)
    };
    for _ in 0..40 {
        world.pass(5000);
        if calm(world) {
            return;
        }
    }
}

fn invariants(world: &World) {
    epochs_only_grow(world);
    world.assert_replay();
    assert_eq!(world.alarms, 0, "{}", world.transcript.join("\n"));
    for incident in world.state().incidents.values() {
        assert!(
            incident.state != IncidentState::Open,
            "{}:\n{}",
            incident.title(),
            world.transcript.join("\n")
        );
    }
    assert!(world.state().outbox.values().all(|notification| notification.settled("log")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn invariants_hold_in_any_storm(storm in proptest::collection::vec(weather(), 1..40)) {
        let mut world = World::running();
        weathers(&mut world, &storm);
        invariants(&world);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn a6_invariants_hold_in_any_storm_with_failsafe(
        storm in proptest::collection::vec(weather(), 1..40)
    ) {
        let mut world = World::new().started(failsafe_spec());
        weathers(&mut world, &storm);
        invariants(&world);
    }
}
