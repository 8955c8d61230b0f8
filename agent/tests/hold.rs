//! The holder and the process driver with real processes: a program never
//! outlives its lease (A1 to A3), whatever happens to the agent.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use agent::service::{LeaseDeadline, ServiceRoom, Services, StartError};
use daemon::clock::boottime_ms;
use model::{Mono, ServiceName, ServiceState};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::sync::watch;

const AGENT: &str = env!("CARGO_BIN_EXE_understudy-agent");

/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn runs(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().next().unwrap();
    !matches!(state, "Z" | "X")
}

fn gone(pids: &[i32]) {
    until(&format!("{pids:?} are gone"), || pids.iter().all(|pid| !runs(*pid)).then_some(()));
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn pid_in(path: &Path) -> i32 {
    until(&format!("a pid in {}", path.display()), || {
        fs::read_to_string(path).ok()?.strip_suffix('\n')?.parse().ok()
    })
}

/// A shell program with a child in its group and a grandchild that left it.
const FAMILY: &str = "sleep 300 & echo $! > child
    setsid sh -c 'echo $$ > stray; exec sleep 300' &
    echo $$ > leader; echo hello; wait";

struct Holder {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    dir: TempDir,
}

impl Holder {
    fn of(program: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(AGENT)
            .args(["hold", "--boottime-deadline-from-stdin", "--log"])
            .arg(dir.path().join("log"))
            .arg("--")
            .args(program)
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).try_for_each(|l| tell.send(l))
        });
        Self { stdin: child.stdin.take(), child, lines, dir }
    }

    fn family() -> Self {
        Self::of(&["/bin/sh", "-c", FAMILY])
    }

    fn tell(&mut self, line: impl std::fmt::Display) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn until_ms(&mut self, from_now: u64) -> u64 {
        let at = boottime_ms() + from_now;
        self.tell(at);
        at
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line from the holder")
    }

    /// All three pids of [`FAMILY`], once they run.
    fn pids(&self) -> [i32; 3] {
        ["leader", "child", "stray"].map(|name| pid_in(&self.dir.path().join(name)))
    }

    fn ended(mut self) -> bool {
        until("the holder's end", || self.child.try_wait().unwrap()).success()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

#[test]
fn a2_the_deadline_kills_the_whole_family_on_time() {
    let mut holder = Holder::family();
    let deadline = holder.until_ms(700);
    let pids = holder.pids();
    assert_eq!(holder.line(), format!("started {}", pids[0]));
    assert_eq!(holder.line(), "killed deadline");
    let late = boottime_ms().saturating_sub(deadline);
    assert!(boottime_ms() >= deadline && late < 500, "{late} ms late");
    assert!(pids.iter().all(|pid| !runs(*pid)), "some of {pids:?} run after `killed`");
    assert!(holder.ended());
}

#[test]
fn renewals_extend_the_deadline_and_their_end_is_the_programs() {
    let mut holder = Holder::family();
    holder.until_ms(1500);
    let pids = holder.pids();
    assert!(holder.line().starts_with("started"));
    let started = boottime_ms();
    let mut last = 0;
    while boottime_ms() < started + 3000 {
        last = holder.until_ms(1500);
        let quiet = holder.lines.recv_timeout(Duration::from_millis(100));
        assert_eq!(quiet, Err(RecvTimeoutError::Timeout), "killed within its lease");
    }
    assert_eq!(holder.line(), "killed deadline");
    assert!(boottime_ms() >= last);
    gone(&pids);
}

#[test]
fn a_shorter_deadline_counts_at_once() {
    let mut holder = Holder::family();
    holder.until_ms(600_000);
    let pids = holder.pids();
    assert!(holder.line().starts_with("started"));
    holder.tell(1);
    assert_eq!(holder.line(), "killed deadline");
    gone(&pids);
}

#[test]
fn the_agents_end_is_the_programs() {
    let mut holder = Holder::family();
    holder.tell("none");
    let pids = holder.pids();
    assert!(holder.line().starts_with("started"));
    holder.stdin = None;
    assert_eq!(holder.line(), "killed agent-gone");
    gone(&pids);
    assert!(holder.ended());
}

#[test]
fn a3_stop_and_anything_garbled_kill() {
    for (line, word) in [("stop", "killed stop"), ("stpo", "killed garbled")] {
        let mut holder = Holder::family();
        holder.tell("none");
        let pids = holder.pids();
        assert!(holder.line().starts_with("started"));
        holder.tell(line);
        assert_eq!(holder.line(), word);
        gone(&pids);
    }
}

#[test]
fn a4_a_stopped_agent_does_not_hold_up_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    // In the agent's place a shell that keeps the holder's stdin open.
    let script = format!(
        "sh -c 'echo $$ > writer; echo {}; exec sleep 300' | \
         {AGENT} hold --boottime-deadline-from-stdin -- /bin/sh -c \"{}\"",
        boottime_ms() + 1500,
        FAMILY.replace('$', "\\$").replace("echo hello;", "")
    );
    let mut agent = Command::new("/bin/sh")
        .args(["-c", &script])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pids = ["leader", "child", "stray"].map(|name| pid_in(&dir.path().join(name)));
    let writer = pid_in(&dir.path().join("writer"));
    let shell = i32::try_from(agent.id()).unwrap();
    for pid in [writer, shell] {
        signal(pid, Signal::STOP);
    }
    assert!(runs(pids[0]));
    gone(&pids);
    assert!(runs(writer) && runs(shell), "the agent's place is not stopped but gone");
    for pid in [writer, shell] {
        signal(pid, Signal::KILL);
    }
    agent.wait().unwrap();
}

#[test]
fn a_killed_holder_takes_its_program_along() {
    let mut holder = Holder::of(&["/bin/sh", "-c", "echo $$ > leader; exec sleep 300"]);
    holder.tell("none");
    let leader = pid_in(&holder.dir.path().join("leader"));
    assert_eq!(holder.line(), format!("started {leader}"));
    holder.child.kill().unwrap();
    gone(&[leader]);
}

#[test]
fn an_end_by_itself_is_reported_and_leaves_nothing_behind() {
    let mut holder = Holder::of(&[
        "/bin/sh",
        "-c",
        "setsid sh -c 'echo $$ > stray; exec sleep 300' & while [ ! -s stray ]; do :; done; exit 7",
    ]);
    holder.tell("none");
    assert!(holder.line().starts_with("started"));
    assert_eq!(holder.line(), "exited code 7");
    gone(&[pid_in(&holder.dir.path().join("stray"))]);
    let mut signalled = Holder::of(&["/bin/sh", "-c", "kill -9 $$"]);
    signalled.tell("none");
    assert!(signalled.line().starts_with("started"));
    assert_eq!(signalled.line(), "exited signal 9");
}

#[test]
fn what_cannot_run_is_said_and_what_may_not_is_not_started() {
    let mut missing = Holder::of(&["/nonexistent/program"]);
    missing.tell("none");
    let words = missing.line();
    assert!(words.starts_with("failed cannot execute /nonexistent/program: No such"), "{words}");
    assert!(!missing.ended());
    for (line, word) in [("1", "killed deadline"), ("stop", "killed stop"), ("?", "killed garbled")]
    {
        let mut late = Holder::family();
        late.tell(line);
        assert_eq!(late.line(), word);
        assert!(!late.dir.path().join("leader").exists(), "it was started");
    }
    let mut alone = Holder::family();
    alone.stdin = None;
    assert_eq!(alone.line(), "killed agent-gone");
}

#[test]
fn output_goes_to_the_log() {
    let mut holder = Holder::of(&["/bin/sh", "-c", "echo out; echo err >&2; cat"]);
    holder.tell("none");
    assert!(holder.line().starts_with("started"));
    // Its stdin is not the holder's: `cat` ends at once.
    assert_eq!(holder.line(), "exited code 0");
    let log = holder.dir.path().join("log");
    until("both lines", || (fs::read_to_string(&log).ok()? == "out\nerr\n").then_some(()));
}

// The driver.

struct Lab {
    dir: TempDir,
    services: Services,
}

impl Lab {
    fn new(script: &str, exclusive: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let toml = format!(
            "[[service]]\nname = \"bridge\"\ngroup = \"fx\"\ndriver = \"process\"\n\
             exclusive = {exclusive}\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\n\
             working_dir = {:?}\nenv = {{ GREETING = \"hello\" }}\nstop_timeout = \"10s\"\n",
            dir.path()
        );
        #[derive(serde::Deserialize)]
        struct File {
            service: Vec<agent::service::ServiceConfig>,
        }
        let file: File = daemon::config::parse("agent.toml", &toml).unwrap();
        let room = ServiceRoom { holder: AGENT.into(), ..ServiceRoom::new(dir.path()) };
        let services = Services::open(&file.service, &room).unwrap();
        Self { dir, services }
    }

    fn bridge(&self) -> &agent::service::Service {
        self.services.get(&ServiceName::new("bridge").unwrap()).unwrap()
    }

    fn state(&self) -> ServiceState {
        self.bridge().status().state
    }

    async fn until(&self, state: ServiceState) {
        let mut changed = self.services.changed();
        let waiting = async {
            while self.state() != state {
                changed.changed().await.unwrap();
            }
        };
        let came = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(came.is_ok(), "never {state}: {:?}", self.bridge().status());
    }
}

fn lease(from_now: u64) -> (watch::Sender<Option<Mono>>, LeaseDeadline) {
    watch::channel(Some(Mono(boottime_ms() + from_now)))
}

#[tokio::test]
async fn a1_an_exclusive_service_needs_a_live_lease() {
    let lab = Lab::new(FAMILY, true);
    assert_eq!(lab.state(), ServiceState::Stopped);
    let (_lapsed, lapsed) = watch::channel(Some(Mono(boottime_ms())));
    let (_none, none) = watch::channel(None);
    for given in [None, Some(lapsed), Some(none)] {
        let refused = lab.bridge().start(given).await;
        assert!(matches!(refused, Err(StartError::NoLease { .. })), "{refused:?}");
    }
    assert_eq!(lab.state(), ServiceState::Stopped);
}

#[tokio::test]
async fn a3_a_service_stops_with_its_lease_and_starts_again() {
    let lab = Lab::new(FAMILY, true);
    let (renew, deadline) = lease(60_000);
    lab.bridge().start(Some(deadline.clone())).await.unwrap();
    let healthy = lab.bridge().until_healthy(PATIENCE).await.unwrap();
    let pids = ["leader", "child", "stray"].map(|name| pid_in(&lab.dir.path().join(name)));
    assert_eq!(healthy.detail, format!("pid {}", pids[0]));
    // The same again changes nothing.
    lab.bridge().start(Some(deadline.clone())).await.unwrap();
    assert_eq!(lab.bridge().status(), healthy);

    // The lease is given up.
    renew.send_replace(None);
    lab.until(ServiceState::Stopped).await;
    assert!(pids.iter().all(|pid| !runs(*pid)));
    assert!(lab.bridge().status().detail.contains("its lease is gone"));

    // It is not renewed.
    renew.send_replace(Some(Mono(boottime_ms() + 1000)));
    lab.bridge().start(Some(deadline)).await.unwrap();
    lab.until(ServiceState::Stopped).await;
    assert_eq!(lab.bridge().status().detail, "killed at the end of its lease");

    // Another lease.
    let (_renew, deadline) = lease(60_000);
    lab.bridge().start(Some(deadline)).await.unwrap();
    assert_eq!(lab.state(), ServiceState::Running);
    assert_eq!(lab.bridge().stop().await.unwrap(), "killed as asked");
    assert_eq!(lab.state(), ServiceState::Stopped);
    assert_eq!(lab.bridge().stop().await.unwrap(), "killed as asked");
}

#[tokio::test]
async fn a_shared_service_runs_without_a_lease_until_the_driver_goes() {
    let lab = Lab::new("echo $GREETING; echo $$ > leader; exec sleep 300", false);
    lab.bridge().start(None).await.unwrap();
    let leader = pid_in(&lab.dir.path().join("leader"));
    let log = lab.dir.path().join("logs/bridge.log");
    until("its log", || (fs::read_to_string(&log).ok()? == "hello\n").then_some(()));
    drop(lab.services);
    let waiting = tokio::time::timeout(PATIENCE, async {
        while runs(leader) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waiting.await.expect("it outlived its driver");
}

#[tokio::test]
async fn an_end_by_itself_is_a_failure_and_told_at_once() {
    let lab = Lab::new("while [ ! -e go ]; do sleep 0.01; done; exit 3", false);
    lab.bridge().start(None).await.unwrap();
    assert_eq!(lab.state(), ServiceState::Running);
    fs::write(lab.dir.path().join("go"), "").unwrap();
    lab.until(ServiceState::Failed).await;
    let detail = lab.bridge().status().detail;
    assert!(
        detail.starts_with("exited code 3 by itself") && detail.contains("bridge.log"),
        "{detail}"
    );
    assert!(lab.bridge().until_healthy(PATIENCE).await.is_err());
    // It may be started again.
    lab.bridge().start(None).await.unwrap();
    lab.until(ServiceState::Failed).await;
}

#[tokio::test]
async fn a3_a_holder_that_is_stopped_does_not_hold_up_the_stop() {
    let lab = Lab::new("echo $PPID > holder; echo $$ > leader; sleep 300 & wait", true);
    let (_renew, deadline) = lease(60_000);
    lab.bridge().start(Some(deadline)).await.unwrap();
    let holder = pid_in(&lab.dir.path().join("holder"));
    let leader = pid_in(&lab.dir.path().join("leader"));
    signal(holder, Signal::STOP);
    lab.bridge().stop().await.unwrap();
    assert!(!runs(leader) && !runs(holder));
    assert_eq!(lab.state(), ServiceState::Stopped);
}

#[tokio::test]
async fn a_killed_holder_is_a_failure_and_its_group_is_gone() {
    let lab =
        Lab::new("echo $PPID > holder; sleep 300 & echo $! > child; echo $$ > leader; wait", false);
    lab.bridge().start(None).await.unwrap();
    let pids = ["holder", "leader", "child"].map(|name| pid_in(&lab.dir.path().join(name)));
    signal(pids[0], Signal::KILL);
    lab.until(ServiceState::Failed).await;
    assert!(pids.iter().all(|pid| !runs(*pid)), "{pids:?}");
}

#[tokio::test]
async fn stops_and_starts_at_once_end_stopped() {
    let lab = Lab::new("exec sleep 300", false);
    for _ in 0..5 {
        let (started, stopped) = tokio::join!(lab.bridge().start(None), lab.bridge().stop());
        stopped.unwrap();
        if started.is_ok() {
            // The stop came before it or found it; one more ends it for sure.
            lab.bridge().stop().await.unwrap();
        }
        assert_eq!(lab.state(), ServiceState::Stopped);
    }
}

/// The cgroup v2 hierarchy of this machine, whole or as the part of a hybrid.
fn hierarchy() -> Option<std::path::PathBuf> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .map(std::path::PathBuf::from)
        .into_iter()
        .find(|path| path.join("cgroup.procs").exists())
}

#[test]
fn a1_a_program_runs_in_the_gates_cgroup_or_not_at_all() {
    let Some(root) = hierarchy().filter(|_| rustix::process::geteuid().is_root()) else { return };
    let cgroup = root.join(format!("understudy-hold-{}", std::process::id()));
    let hold = |cgroup: &Path| {
        let mut child = Command::new(AGENT)
            .args(["hold", "--cgroup"])
            .arg(cgroup)
            .args(["--", "/bin/sh", "-c", "cat /proc/self/cgroup; exec sleep 0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "none").unwrap();
        let said = child.wait_with_output().unwrap();
        drop(stdin);
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    assert!(hold(&cgroup).contains("failed cannot enter the gate's cgroup"));
    fs::create_dir(&cgroup).unwrap();
    let child = Command::new(AGENT)
        .args(["hold", "--cgroup"])
        .arg(&cgroup)
        .args(["--", "/bin/sleep", "300"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.as_ref().unwrap();
    writeln!(stdin, "none").unwrap();
    // The holder and its program, both.
    until("two processes in the cgroup", || {
        let inside = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        (inside.lines().count() == 2).then_some(())
    });
    let mut child = child;
    drop(child.stdin.take());
    child.wait().unwrap();
    until("the cgroup is empty", || fs::remove_dir(&cgroup).ok());
}
