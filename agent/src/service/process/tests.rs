//! A start that hangs in a file system holds up nobody (A4).

use super::*;
use model::GroupId;
use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::mpsc::{Receiver, Sender, channel},
};
use tokio::process::Command;

/// Far above what anything here may take that does not hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// A driver whose holder is started only once told, and the ways to tell and
/// to hear: of each beginning, and the pid of what was started.
struct Stalled {
    driver: Arc<ProcessDriver>,
    began: Receiver<()>,
    go: Sender<()>,
    pids: Receiver<u32>,
}

fn stalled(start_limit: Duration) -> Stalled {
    let config = ProcessConfig {
        command: vec!["/bin/true".into()],
        env: BTreeMap::new(),
        working_dir: None,
    };
    let service = ServiceConfig {
        name: ServiceName::new("bridge").unwrap(),
        group: GroupId::new("fx").unwrap(),
        exclusive: true,
        stop_timeout: PATIENCE,
        standby: model::StandbyMode::Stopped,
        gate: crate::gate::ServiceGate::default(),
        driver: crate::service::DriverConfig::Process(config.clone()),
    };
    let room = ServiceRoom::new("/nonexistent");
    let mut driver = ProcessDriver::new(&service, &config, &room, Changed::new());
    let ((begin, began), (go, wait), (pid, pids)) = (channel(), channel(), channel());
    let wait = Mutex::new(wait);
    driver.start_limit = start_limit;
    driver.spawn = Arc::new(move || {
        begin.send(()).unwrap();
        wait.lock().unwrap().recv().unwrap();
        // As a holder does that was told nothing, it ends with its stdin.
        let mut cat = Command::new("/bin/cat");
        let child = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        pid.send(child.id().unwrap()).unwrap();
        Ok(child)
    });
    Stalled { driver: Arc::new(driver), began, go, pids }
}

impl Stalled {
    /// Begins a start and waits until it hangs.
    fn start(&self) -> tokio::task::JoinHandle<Result<(), StartError>> {
        let driver = Arc::clone(&self.driver);
        let start = tokio::spawn(async move { driver.start(None).await });
        self.began.recv_timeout(PATIENCE).unwrap();
        start
    }

    /// Lets it go on, and waits until what it started is gone.
    async fn release_and_see_it_end(&self) {
        self.go.send(()).unwrap();
        let stat = format!("/proc/{}/stat", self.pids.recv_timeout(PATIENCE).unwrap());
        let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        let gone = async {
            while lives() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, gone).await.expect("it lives on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a4_a_start_that_hangs_holds_up_neither_status_nor_stop() {
    let stalled = stalled(PATIENCE * 2);
    let start = stalled.start();
    let driver = Arc::clone(&stalled.driver);
    let status = timeout(PATIENCE, spawn_blocking(move || driver.status())).await;
    assert_eq!(status.expect("the status waits").unwrap().state, ServiceState::Stopped);
    let stop = timeout(PATIENCE, stalled.driver.stop()).await.expect("the stop waits");
    assert_eq!(stop.unwrap(), "it was not running");
    // The stop said stopped, so what comes up late must never run the program.
    stalled.release_and_see_it_end().await;
    let started = start.await.unwrap();
    assert!(matches!(started, Err(StartError::Overtaken { .. })), "{started:?}");
    assert_eq!(stalled.driver.status().state, ServiceState::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a4_a_start_that_hangs_gives_up_and_leaves_one_thread_behind_at_most() {
    let stalled = stalled(Duration::from_millis(100));
    let first = stalled.start().await.unwrap().unwrap_err().to_string();
    assert!(first.contains("a file system may hang"), "{first}");
    let second = stalled.driver.start(None).await.unwrap_err().to_string();
    assert!(second.contains("a file system may hang"), "{second}");
    assert!(stalled.began.try_recv().is_err(), "a second one hangs beside the first");
    stalled.release_and_see_it_end().await;
    assert_eq!(stalled.driver.status().state, ServiceState::Stopped);
}
