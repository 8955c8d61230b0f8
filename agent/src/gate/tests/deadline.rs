//! A2: the kernel closes on time, whatever becomes of the process that renewed.

use super::lab::{self, Lab, Net, PATIENCE, can, facts, fx, inside};
use daemon::clock::boottime_ms;
use model::Mono;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader, Write},
    net::UdpSocket,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

const LEASE_MS: u64 = 500;
const EVERY: Duration = Duration::from_millis(50);
const CHILD: &str = "UNDERSTUDY_GATE_TEST_HOST";

/// Not a test: the process that renews, when the two below start it.
#[test]
fn gate_child_renews() {
    let Ok(host) = std::env::var(CHILD) else { return };
    let lab = Lab::with(&host, "understudy", facts());
    let (_never, tick) = mpsc::channel::<()>();
    loop {
        let until = boottime_ms() + LEASE_MS;
        lab.gate.renew(&fx(), Mono(until));
        // Said after it was asked for, so that the newest is not missed.
        println!("\nuntil {until}");
        std::io::stdout().flush().unwrap();
        let _ = tick.recv_timeout(EVERY);
    }
}

/// Ends with its test.
struct Renewer(Child);

impl Drop for Renewer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends without a pause from the protected container while a child renews, does
/// `deed` to the child, and gives by how much the last packet was later than the
/// newest deadline, in milliseconds.
fn overrun(deed: impl FnOnce(Pid)) -> i128 {
    let net = Net::new();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "gate::tests::deadline::gate_child_renews", "--nocapture"])
        .env(CHILD, &net.host)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Renewer(child);
    let newest = Arc::new(Mutex::new(0));
    let (said, out) = (Arc::clone(&newest), child.0.stdout.take().unwrap());
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Some(until) = line.strip_prefix("until ") {
                *said.lock().unwrap() = until.parse().unwrap();
            }
        }
    });
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&stop);
    let sender = inside(&net.protected, move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let (_never, tick) = mpsc::channel::<()>();
        while !ended.load(Ordering::Relaxed) {
            // Refused while the gate is closed, on some kernels.
            let _ = socket.send_to(b"order", "10.77.0.2:7001");
            let _ = tick.recv_timeout(Duration::from_micros(500));
        }
    });
    let outside = net.outside.clone();
    let socket = inside(&outside, || UdpSocket::bind("0.0.0.0:7001").unwrap()).join().unwrap();
    let heard = |limit: Duration| {
        socket.set_read_timeout(Some(limit)).unwrap();
        socket.recv(&mut [0; 16]).is_ok().then(boottime_ms)
    };
    for _ in 0..400 {
        heard(PATIENCE).expect("it never opened");
    }
    deed(Pid::from_child(&child.0));
    let mut last = 0;
    // Three leases of silence.
    while let Some(at) = heard(Duration::from_millis(3 * LEASE_MS)) {
        last = at;
    }
    let deadline = *newest.lock().unwrap();
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    i128::from(last) - i128::from(deadline)
}

/// A packet that passed in time may be received late on a busy machine; this is
/// less than the gate's margin at the shortest lease, 25 ms.
const LATE_MS: i128 = 20;

#[test]
fn gate_a2_closes_on_time_when_the_agent_is_stopped() {
    if !can() {
        return;
    }
    let overrun = overrun(|pid| kill_process(pid, Signal::STOP).unwrap());
    eprintln!("overrun with a stopped agent: {overrun} ms");
    assert!(overrun <= LATE_MS, "open for {overrun} ms after the deadline");
}

#[test]
fn gate_a2_closes_on_time_when_the_agent_is_killed() {
    if !can() {
        return;
    }
    let overrun = overrun(|pid| kill_process(pid, Signal::KILL).unwrap());
    eprintln!("overrun with a killed agent: {overrun} ms");
    assert!(overrun <= LATE_MS, "open for {overrun} ms after the deadline");
}

#[test]
fn gate_a2_a_deadline_that_passed_opens_nothing() {
    if !can() {
        return;
    }
    let net = Net::new();
    let lab = Lab::with(&net.host, "understudy", facts());
    lab.open_for(Duration::from_secs(3600));
    lab.gate.renew(&fx(), Mono(boottime_ms().saturating_sub(1)));
    lab.until(model::GateState::Closed);
    lab.close();
    assert!(lab::blocked(&net.protected, "10.77.0.2"));
    assert!(!net.nft("list set inet understudy open_fx").contains("elements"));
}

/// Prints what a renewal costs; fails only far beyond it.
#[test]
fn gate_a_renewal_is_in_the_kernel_long_before_the_next() {
    if !can() {
        return;
    }
    let net = Net::new();
    let lab = Lab::with(&net.host, "understudy", facts());
    let mut took = Vec::new();
    for _ in 0..200 {
        let until = boottime_ms() + 60_000 + took.len() as u64;
        let begun = std::time::Instant::now();
        lab.gate.renew(&fx(), Mono(until));
        while lab.gate.0.shared.lock().groups[&fx()].open_until != until {
            assert!(begun.elapsed() < PATIENCE, "{}", lab.gate.why(&fx()));
            thread::yield_now();
        }
        took.push(begun.elapsed());
    }
    took.sort();
    eprintln!("renewal: p50 {:?}, p99 {:?}, max {:?}", took[100], took[198], took[199]);
    assert!(took[100] < EVERY, "{:?}", took[100]);
}
