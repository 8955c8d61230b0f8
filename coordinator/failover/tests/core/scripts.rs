//! Text scenarios: each file of `scripts/` is played line by line, and what
//! left the engine is compared with the transcript kept beside it.

use crate::{
    feeds::feed,
    standby::watermark,
    world::{World, group, spec},
};
use failover::{
    DeliveryResult, HookResult, HookVerdict, OnFeedSilent, PlanKind, ProofLevel, Record, decide,
};
use model::{Millis, Outcome, ServiceState, Verdict};
use std::{fs, path::Path, str::SplitWhitespace};

fn number(word: Option<&str>) -> u64 {
    word.and_then(|word| word.parse().ok()).expect("a number")
}

fn level(word: &str) -> ProofLevel {
    ProofLevel::try_from(word.parse::<u8>().expect("a proof level")).expect("1 to 5")
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
        "power-says" => {
            // power-says confirmed|failed|unknown TIMES
            let verdict = match first {
                Some("confirmed") => HookVerdict::Confirmed,
                Some("failed") => HookVerdict::Failed,
                Some("unknown") => HookVerdict::Unknown,
                other => panic!("no verdict {other:?}"),
            };
            world.fence_words.extend((0..number(words.next())).map(|_| verdict));
        }
        "channel-fails" => {
            let failure =
                || DeliveryResult::Failed { detail: "503".into(), retry_after: Some(Millis::ZERO) };
            world.refusals.extend((0..number(first)).map(|_| failure()));
        }
        other => panic!("nothing can be arranged with {other:?}"),
    }
}

/// Writes down every sentence of an explanation.
fn explain_all(world: &mut World) {
    let sight = world.engine.look(&group(), world.now()).expect("the group");
    world.transcript.extend(failover::explain_now(&sight).because);
}

/// What the voters hear.
fn watch(world: &mut World, verb: &str, name: &str, second: Option<&str>) {
    match verb {
        "fellow-sees" => world.fellow_sees(name, second.expect("a host")),
        "followers-see" => world.followers_see(name),
        "followers-lose" => world.followers_lose(name),
        "mute" => world.fellow(name).mute = true,
        _ => world.fellow(name).frozen = verb == "freeze",
    }
}

/// What a host's probes say, or what the policy does.
fn tell(world: &mut World, verb: &str, first: Option<&str>, mut words: SplitWhitespace<'_>) {
    match verb {
        "policy" => {
            // policy on-feed-silent | policy max-data-lag MS
            let mut policy = world.state().groups[&group()].spec.clone();
            match first {
                Some("on-feed-silent") => policy.on_feed_silent = OnFeedSilent::Failover,
                Some("max-data-lag") => policy.max_data_lag = Some(Millis(number(words.next()))),
                other => panic!("no policy {other:?}"),
            }
            world.apply(policy);
        }
        "feed" => {
            // feed HOST VERDICT LAYER
            let verdict = match words.next() {
                Some("ok") => Verdict::Ok,
                Some("unknown") => Verdict::Unknown,
                _ => Verdict::Critical,
            };
            let layer = i64::try_from(number(words.next())).expect("a layer");
            world.agent(first.expect("a host")).readings = vec![feed(verdict, layer)];
        }
        _ => {
            // watermark HOST MS
            let lag = i64::try_from(number(words.next())).expect("a lag");
            world.agent(first.expect("a host")).readings = vec![watermark(lag)];
        }
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
            for word in first.into_iter().chain(words) {
                match word {
                    "failsafe" => policy.failsafe = true,
                    "two-operators" => policy.two_operators = true,
                    "power" => policy.fence.push("power".into()),
                    needs => policy.automatic_failover_needs = level(needs),
                }
            }
            world.apply(policy);
        }
        "pass" => world.pass(number(first)),
        "kill" => {
            let agent = world.agent(first.expect("a host"));
            (agent.alive, agent.lease_until, agent.state) = (false, None, ServiceState::Stopped);
        }
        "cut" => world.agent(first.expect("a host")).cut = true,
        "revive" => world.restart(first.expect("a host")),
        "service" => {
            let state = match words.next() {
                Some("failed") => ServiceState::Failed,
                Some("running") => ServiceState::Running,
                other => panic!("no service state {other:?}"),
            };
            world.agent(first.expect("a host")).state = state;
        }
        "fails" | "hook-fails" | "channel-fails" | "power-says" => {
            arrange(world, verb, first, words)
        }
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
        "quorum" => (world.quorum, world.commits) = (first == Some("back"), first == Some("back")),
        "approve" => world.approve(number(first), words.next().expect("an operator")),
        "new-leader" => world.new_leader(number(first)),
        "policy" | "feed" | "watermark" => tell(world, verb, first, words),
        "fellow-sees" | "followers-see" | "followers-lose" | "mute" | "freeze" | "thaw" => {
            watch(world, verb, first.expect("a name"), words.next());
        }
        "explain" => {
            let sight = world.engine.look(&group(), world.now()).expect("the group");
            world.say(format!("decision: {}", decide(&sight)));
        }
        "explain-all" => explain_all(world),
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
        let mut world = World::with_hooks(&[("power", ProofLevel::Provider)]);
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
