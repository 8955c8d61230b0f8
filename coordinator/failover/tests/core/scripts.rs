//! Text scenarios: each file of `scripts/` is played line by line, and what
//! left the engine is compared with the transcript kept beside it.

use crate::world::{World, group, spec};
use failover::{DeliveryResult, HookResult, PlanKind, ProofLevel, Record, decide};
use model::{Millis, Outcome, ServiceState};
use std::{fs, path::Path, str::SplitWhitespace};

fn number(word: Option<&str>) -> u64 {
    word.and_then(|word| word.parse().ok()).expect("a number")
}

/// Arranges for failures to come.
fn arrange(world: &mut World, verb: &str, first: Option<&str>, mut words: SplitWhitespace<'_>) {
    match verb {
        "fails" => {
            // fails HOST ACTION TIMES WORDS...
            let (action, times) = (words.next().expect("an action"), number(words.next()));
            let detail = words.collect::<Vec<_>>().join(" ");
            let failures = (0..times).map(|_| Outcome::Failed { detail: detail.clone() });
            world.agent(first.expect("a host")).answers.insert(action.into(), failures.collect());
        }
        "hook-fails" => {
            let detail = words.collect::<Vec<_>>().join(" ");
            let failure = || HookResult { switched: false, detail: detail.clone() };
            world.hook.extend((0..number(first)).map(|_| failure()));
        }
        "channel-fails" => {
            let failure =
                || DeliveryResult::Failed { detail: "503".into(), retry_after: Some(Millis::ZERO) };
            world.refusals.extend((0..number(first)).map(|_| failure()));
        }
        other => panic!("nothing can be arranged with {other:?}"),
    }
}

/// Plays one line; what each word means stands in the match.
fn play(world: &mut World, line: &str) {
    let mut words = line.split_whitespace();
    let verb = words.next().unwrap_or_default();
    let first = words.next();
    match verb {
        "elect" => world.elect(number(first)),
        "apply" => {
            let mut policy = spec();
            if let Some(needs) = first {
                let level = needs.parse::<u8>().expect("a proof level");
                policy.automatic_failover_needs = ProofLevel::try_from(level).expect("1 to 5");
            }
            world.apply(policy);
        }
        "pass" => world.pass(number(first)),
        "kill" => {
            let agent = world.agent(first.expect("a host"));
            (agent.alive, agent.lease_until, agent.state) = (false, None, ServiceState::Stopped);
        }
        "cut" => world.agent(first.expect("a host")).cut = true,
        "revive" => {
            let agent = world.agent(first.expect("a host"));
            (agent.alive, agent.cut, agent.boot) = (true, false, agent.boot + 1);
        }
        "service" => {
            let state = match words.next() {
                Some("failed") => ServiceState::Failed,
                Some("running") => ServiceState::Running,
                other => panic!("no service state {other:?}"),
            };
            world.agent(first.expect("a host")).state = state;
        }
        "fails" | "hook-fails" | "channel-fails" => arrange(world, verb, first, words),
        "failover" => {
            let accept = words.next().map(|_| ProofLevel::Lapsed);
            world.ask(PlanKind::Failover, first, accept);
        }
        "switchover" => world.ask(PlanKind::Switchover, first, None),
        "failback" => world.ask(PlanKind::Failback, None, None),
        "hold" | "resume" => {
            let (by, at) = ("ann".to_owned(), world.now().wall);
            world.write(match verb {
                "hold" => {
                    let reason = "maintenance".into();
                    Record::AutomationHeld { group: Some(group()), by, reason, at }
                }
                _ => Record::AutomationResumed { group: None, by, at },
            });
        }
        "new-leader" => world.new_leader(number(first)),
        "explain" => {
            let sight = world.engine.look(&group(), world.now()).expect("the group");
            world.say(format!("decision: {}", decide(&sight)));
        }
        other => panic!("no such word in a script: {other:?}"),
    }
}

#[test]
fn every_script_leads_to_its_transcript() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/core/scripts");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 8, "scripts are missing");
    for file in files {
        let mut world = World::new();
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            world.transcript.push(format!("> {line}"));
            play(&mut world, line);
        }
        assert_eq!(world.alarms, 0, "{}", file.display());
        world.assert_replay();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        insta::assert_snapshot!(name, world.transcript.join("\n"), &text);
    }
}
