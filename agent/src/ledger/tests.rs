//! The ledger under restarts, torn writes, `kill -9` and a full disk.

use super::*;
use model::{
    Action, AttemptId, Command, CommandId, Epoch, GroupId, HostId, Millis, Outcome, PlanId,
    ServiceName, SiteId, StepId, Term,
};
use proptest::prelude::*;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command as Process, Stdio},
};

fn group() -> GroupId {
    GroupId::new("fx").unwrap()
}

fn command(plan: u64) -> Command {
    let id = CommandId { plan: PlanId(plan), step: StepId(0), attempt: AttemptId(1), part: 0 };
    Command {
        id,
        term: Term(1),
        host: HostId::new("p1").unwrap(),
        group: group(),
        epoch: Epoch(1),
        deadline: Millis(1000),
        action: Action::Fence,
    }
}

fn done(plan: u64) -> Entry {
    Entry::Outcome { id: command(plan).id, outcome: Outcome::Done { detail: "stopped".into() } }
}

fn reopened(directory: &Path) -> Memory {
    LedgerFile::open(directory).unwrap().1
}

fn epoch(number: u64) -> Entry {
    Entry::Epoch { group: group(), epoch: Epoch(number) }
}

#[tokio::test]
async fn a7_what_was_settled_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, _failure) = Ledger::open(dir.path()).unwrap();
    let entries = vec![Entry::Term(Term(3)), epoch(2), Entry::Intent(command(1))];
    assert!(ledger.append(entries).unwrap().settled().await);
    assert!(ledger.append(vec![done(1)]).unwrap().settled().await);
    let before = ledger.memory().clone();
    drop(ledger);
    let after = reopened(dir.path());
    assert_eq!(after, before);
    assert_eq!((after.term(), after.epoch(&group())), (Term(3), Epoch(2)));
    assert!(after.command(&command(1).id).unwrap().outcome.is_some());
}

#[test]
fn a1_a_promotion_counts_only_under_the_highest_epoch_and_unfenced() {
    let mut memory = Memory::default();
    let promoted = |number| Entry::Promoted {
        group: group(),
        epoch: Epoch(number),
        site: SiteId::new("primary").unwrap(),
    };
    let started = |number, name: &str| Entry::Started {
        group: group(),
        epoch: Epoch(number),
        service: ServiceName::new(name).unwrap(),
    };
    memory.apply(promoted(2));
    memory.apply(started(2, "db"));
    memory.apply(started(2, "bridge"));
    memory.apply(started(2, "db"));
    memory.apply(started(1, "old"));
    memory.apply(promoted(2));
    let names: Vec<_> = memory.group(&group()).unwrap().active().unwrap().started.clone();
    assert_eq!(names.iter().map(ServiceName::as_str).collect::<Vec<_>>(), ["db", "bridge"]);
    memory.apply(epoch(3));
    assert!(memory.group(&group()).unwrap().active().is_none(), "a higher epoch was seen");
    memory.apply(promoted(4));
    let active = memory.group(&group()).unwrap().active().unwrap();
    assert!(active.started.is_empty(), "a new promotion begins anew");
    memory.apply(Entry::Fenced { group: group(), epoch: Epoch(4) });
    assert!(memory.group(&group()).unwrap().active().is_none());
    memory.apply(promoted(4));
    assert!(memory.group(&group()).unwrap().active().is_none(), "fenced for good");
}

#[test]
fn a_torn_tail_is_dropped_wherever_it_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (mut file, _) = LedgerFile::open(dir.path()).unwrap();
    file.append(&[epoch(1)]).unwrap();
    let good = fs::read(file.path()).unwrap();
    file.append(&[epoch(2), Entry::Intent(command(1))]).unwrap();
    let path = file.path().to_owned();
    let whole = fs::read(&path).unwrap();
    for cut in good.len() + 1..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let (mut file, memory) = LedgerFile::open(dir.path()).unwrap();
        assert_eq!(memory.epoch(&group()), Epoch(1), "cut at {cut}");
        assert_eq!(fs::read(&path).unwrap(), good);
        file.append(&[epoch(5)]).unwrap();
        assert_eq!(reopened(dir.path()).epoch(&group()), Epoch(5));
    }
}

#[test]
fn damage_in_the_middle_names_file_line_and_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let (mut file, _) = LedgerFile::open(dir.path()).unwrap();
    for number in 1..=3 {
        file.append(&[epoch(number)]).unwrap();
    }
    let path = file.path().to_owned();
    let whole = fs::read_to_string(&path).unwrap();
    let hurt = |from: &str, to: &str| {
        assert!(whole.contains(from));
        fs::write(&path, whole.replacen(from, to, 1)).unwrap();
        LedgerFile::open(dir.path()).unwrap_err().to_string()
    };
    let words = hurt("\"epoch\":2", "\"epoch\":9");
    assert!(words.contains("line 3") && words.contains("checksum"), "{words}");
    assert!(words.contains(&format!("mv {0} {0}.damaged", path.display())), "{words}");
    let lines: Vec<_> = whole.lines().collect();
    let words = hurt(&format!("{}\n", lines[2]), "");
    assert!(words.contains("line 3: it is number 3 where number 2 belongs"), "{words}");
    let words = hurt("understudy-ledger 1", "something else");
    assert!(words.contains("not a ledger"), "{words}");
    fs::write(&path, "").unwrap();
    assert!(LedgerFile::open(dir.path()).is_err(), "an emptied file is not a new one");
}

#[test]
fn it_is_rewritten_when_long_and_forgets_only_the_oldest_commands() {
    let dir = tempfile::tempdir().unwrap();
    let (mut file, mut memory) = LedgerFile::open(dir.path()).unwrap();
    let last = COMMANDS_MAX as u64 + 500;
    for plan in 1..=last {
        let entries = [Entry::Term(Term(plan)), Entry::Intent(command(plan)), done(plan)];
        memory = entries.iter().fold(memory, |mut memory, entry| {
            memory.apply(entry.clone());
            memory
        });
        file.append(&entries).unwrap();
    }
    let after = reopened(dir.path());
    assert_eq!(after, memory);
    let lines = fs::read_to_string(file.path()).unwrap().lines().count() as u64;
    assert!(lines < last, "never rewritten: {lines} lines");
    let newest = after.command(&command(last).id).unwrap();
    assert!(newest.outcome.is_some() && after.command(&command(500).id).is_none());
    assert!(after.is_forgotten(&command(500).id), "its outcome may have been forgotten");
    assert!(!after.is_forgotten(&command(501).id) && !after.is_forgotten(&command(last + 1).id));
}

#[tokio::test]
async fn a_failed_write_is_told_and_nothing_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, failure) = Ledger::open(dir.path()).unwrap();
    // The rewriting will fail: its temporary file cannot be made.
    let gone = dir.path().join(FILE);
    fs::remove_file(&gone).unwrap();
    fs::create_dir(&gone).unwrap();
    let detail = "x".repeat(300 * 1024);
    let big = Entry::Outcome { id: command(1).id, outcome: Outcome::Done { detail } };
    assert!(!ledger.append(vec![big]).unwrap().settled().await);
    assert!(matches!(failure.await.unwrap(), LedgerError::NotDurable(_)));
    assert!(matches!(ledger.append(vec![epoch(1)]), Err(LedgerError::Failed { .. })));
}

/// The child of the two tests below: appends ever higher epochs and says on
/// stdout which are durable. Does nothing when run as a test of its own.
#[test]
fn child_that_appends() {
    let Some(directory) = std::env::var_os("UNDERSTUDY_TEST_LEDGER") else { return };
    let (mut file, memory) = LedgerFile::open(Path::new(&directory)).unwrap();
    let mut number = memory.epoch(&group()).0;
    loop {
        number += 1;
        if let Err(error) = file.append(&[epoch(number), Entry::Term(Term(number))]) {
            println!("\nfailed {error}");
            return;
        }
        println!("\ndurable {number}");
        std::io::stdout().flush().unwrap();
    }
}

fn child(shell: &str, directory: &Path) -> std::process::Child {
    let test = std::env::current_exe().unwrap();
    let name = "ledger::tests::child_that_appends";
    Process::new("/bin/sh")
        .args(["-c", &format!("{shell}exec \"$0\" --exact {name} --nocapture")])
        .arg(test)
        .env("UNDERSTUDY_TEST_LEDGER", directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn kill_9_at_any_moment_loses_nothing_that_was_settled() {
    let dir = tempfile::tempdir().unwrap();
    let mut settled = 0;
    for round in 0..20 {
        let mut child = child("", dir.path());
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = stdout.lines().map_while(Result::ok);
        for _ in 0..=round {
            let line = lines.find_map(|line| line.strip_prefix("durable ").map(str::to_owned));
            settled = line.unwrap().parse().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What the child wrote before the signal reached it counts as well.
        for line in lines {
            if let Some(number) = line.strip_prefix("durable ") {
                settled = number.parse().unwrap_or(settled);
            }
        }
        let memory = reopened(dir.path());
        assert!(memory.epoch(&group()) >= Epoch(settled), "round {round}: {settled} was lost");
        assert_eq!(memory.term().0, memory.epoch(&group()).0, "one line is one act");
    }
}

#[test]
fn a_full_disk_is_a_clear_error_and_a_clean_recovery() {
    let dir = tempfile::tempdir().unwrap();
    // A limit of 4 KiB a file stands for the full disk: the write that crosses
    // it is cut off in the middle, as on a full one.
    let output = child("trap '' XFSZ; ulimit -f 8; ", dir.path()).wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let settled = said.lines().filter_map(|line| line.strip_prefix("durable ")).next_back();
    let settled: u64 = settled.unwrap().parse().unwrap();
    let failed = said.lines().find_map(|line| line.strip_prefix("failed ")).unwrap();
    assert!(failed.contains("ledger") && failed.contains("cannot write"), "{failed}");
    let (mut file, memory) = LedgerFile::open(dir.path()).unwrap();
    assert_eq!(memory.epoch(&group()), Epoch(settled));
    file.append(&[epoch(settled + 1)]).unwrap();
    assert_eq!(reopened(dir.path()).epoch(&group()), Epoch(settled + 1));
}

fn entries() -> impl Strategy<Value = Vec<Vec<Entry>>> {
    let entry = prop_oneof![
        (0..9u64).prop_map(|term| Entry::Term(Term(term))),
        (0..9u64).prop_map(epoch),
        (0..9u64).prop_map(|number| Entry::Fenced { group: group(), epoch: Epoch(number) }),
        (0..9u64).prop_map(|number| Entry::Promoted {
            group: group(),
            epoch: Epoch(number),
            site: SiteId::new("primary").unwrap(),
        }),
        (0..9u64, "[a-c]").prop_map(|(number, name)| Entry::Started {
            group: group(),
            epoch: Epoch(number),
            service: ServiceName::new(name).unwrap(),
        }),
        (0..9u64).prop_map(|plan| Entry::Intent(command(plan))),
        (0..9u64).prop_map(done),
    ];
    proptest::collection::vec(proptest::collection::vec(entry, 0..4), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a1_terms_and_epochs_never_go_down_across_restarts(batches in entries()) {
        let dir = tempfile::tempdir().unwrap();
        let mut before = Memory::default();
        for batch in batches {
            let (mut file, memory) = LedgerFile::open(dir.path()).unwrap();
            prop_assert_eq!(&memory, &before, "a restart changed the memory");
            file.append(&batch).unwrap();
            let after = reopened(dir.path());
            prop_assert!(after.term() >= before.term());
            prop_assert!(after.epoch(&group()) >= before.epoch(&group()));
            let fenced = |memory: &Memory| memory.group(&group()).and_then(|known| known.fenced);
            prop_assert!(fenced(&after) >= fenced(&before));
            let folded = after.entries().into_iter().fold(Memory::default(), |mut memory, entry| {
                memory.apply(entry);
                memory
            });
            prop_assert_eq!(&folded, &after);
            before = after;
        }
    }
}
