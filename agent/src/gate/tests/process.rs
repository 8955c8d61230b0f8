//! Processes of this host: by cgroup, and by user.

use super::{
    HOUR,
    lab::{self, Lab, Net, can, fx, passes, run},
};
use crate::gate::cgroup::{self, Hierarchy};
use model::GateState;
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

/// Whether a program of the host reaches the outside; `first` is done by it first.
fn reaches(net: &Net, first: &str, user: u32, to: &str) -> bool {
    let script = format!("{first} exec timeout 0.7 bash -c ': > /dev/tcp/{to}/{}'", lab::PORT);
    let host = net.host.clone();
    let deed = move || {
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stderr(Stdio::null()).uid(user);
        command.status().unwrap().success()
    };
    lab::inside(&host, deed).join().unwrap()
}

#[test]
fn gate_holds_a_process_back_by_its_cgroup() {
    let Some(hierarchy) = Hierarchy::find().filter(|_| can()) else { return };
    let net = Net::new();
    let table = format!("understudy_cg_{}", std::process::id());
    let process = lab::service("driver = \"process\"\ncommand = [\"/bin/true\"]");
    let path = hierarchy.path(&cgroup::of_service(&table, &process.name));
    let lab = Lab::open(&net.host, &table, vec![process.clone()]);
    lab.until(GateState::Closed);
    lab.settled();
    let entry = format!("echo 0 > {}/cgroup.procs &&", path.display());
    assert!(!reaches(&net, &entry, 0, "10.77.0.2"), "a gated process got out");
    // Loopback is never blocked, nor is anybody else.
    assert!(reaches(&net, &entry, 0, "127.0.0.1") && reaches(&net, "", 0, "10.77.0.2"));
    assert!(passes(&net.outside, "10.77.0.1"));
    lab.open_for(HOUR);
    assert!(reaches(&net, &entry, 0, "10.77.0.2"));
    lab.close();
    // Made again by somebody, it is another cgroup: found, and held back too.
    std::fs::remove_dir(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let number = hierarchy.number(&cgroup::of_service(&table, &process.name)).unwrap();
    let until = std::time::Instant::now() + lab::PATIENCE;
    loop {
        let listed = net.nft(&format!("list set inet {table} cgroup3_fx"));
        if listed.contains("understudy/") {
            break;
        }
        assert!(std::time::Instant::now() < until, "{number} is not in {listed}");
    }
    assert!(!reaches(&net, &entry, 0, "10.77.0.2"), "a gated process got out");
    drop(lab);
    hierarchy.remove_room(&table);
    assert!(!path.exists());
}

/// A server outside; every line that any connection brings.
fn venue(net: &Net) -> Receiver<String> {
    let (tell, told) = channel();
    let listen = || TcpListener::bind(("10.77.0.2", VENUE)).unwrap();
    let listener = lab::inside(&net.outside, listen).join().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tell = tell.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = tell.send(line);
                }
            });
        }
    });
    told
}

/// Its port.
const VENUE: u16 = 7001;

/// A trader sends one order through the open gate, writes another behind the
/// closed one, and is killed. Then the gate opens again.
fn orders_after_a_kill(ended: bool) -> Vec<String> {
    let Some(hierarchy) = Hierarchy::find().filter(|_| can()) else { return Vec::new() };
    let net = Net::new();
    let told = venue(&net);
    let table = format!("understudy_kill_{}_{ended}", std::process::id());
    let process = lab::service("driver = \"process\"\ncommand = [\"/bin/true\"]");
    let path = hierarchy.path(&cgroup::of_service(&table, &process.name));
    let lab = Lab::open(&net.host, &table, vec![process]);
    lab.until(GateState::Closed);
    lab.settled();
    lab.open_for(HOUR);
    let script = format!(
        "echo 0 > {}/cgroup.procs && exec 3<>/dev/tcp/10.77.0.2/{VENUE} && echo first >&3 && \
         read word && echo $word >&3 && echo written && read word",
        path.display()
    );
    let begin = move || {
        let mut command = Command::new("bash");
        command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut trader = lab::inside(&net.host, begin).join().unwrap();
    let mut heard = vec![told.recv_timeout(lab::PATIENCE).unwrap()];
    lab.close();
    trader.stdin.as_mut().unwrap().write_all(b"stale\n").unwrap();
    let mut word = String::new();
    BufReader::new(trader.stdout.take().unwrap()).read_line(&mut word).unwrap();
    assert_eq!(word, "written\n");
    trader.kill().unwrap();
    trader.wait().unwrap();
    let connections = || {
        let line = format!("ip netns exec {} ss -tnH dst 10.77.0.2:{VENUE}", net.host);
        run(&line)
    };
    assert_ne!(connections(), "", "the kernel kept nothing of it");
    if ended {
        // In the host's namespace, as an agent is.
        let gate = lab.gate.clone();
        let ending = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(gate.end_leftovers(&fx()));
        };
        lab::inside(&net.host, ending).join().unwrap();
        assert_eq!(connections(), "");
    }
    lab.open_for(HOUR);
    let fresh = format!("exec 3<>/dev/tcp/10.77.0.2/{VENUE}; echo fresh >&3");
    let enter = format!("echo 0 > {}/cgroup.procs", path.display());
    let fresh = move || Command::new("bash").args(["-c", &format!("{enter}; {fresh}")]).status();
    assert!(lab::inside(&net.host, fresh).join().unwrap().unwrap().success());
    let awaited = if ended { 1 } else { 2 };
    heard.extend((0..awaited).map(|_| told.recv_timeout(lab::PATIENCE).unwrap()));
    heard.extend(told.try_iter());
    drop(lab);
    hierarchy.remove_room(&table);
    heard
}

#[test]
fn gate_lets_nothing_of_a_killed_process_out_when_it_opens_again() {
    let heard = orders_after_a_kill(true);
    assert!(heard.is_empty() || heard == ["first", "fresh"], "{heard:?}");
}

/// What the test above rests on: without it the kernel would send on.
#[test]
fn gate_alone_does_not_forget_what_a_killed_process_wrote() {
    let heard = orders_after_a_kill(false);
    assert!(heard.is_empty() || heard.contains(&"stale".to_owned()), "{heard:?}");
}

#[test]
fn gate_holds_a_process_back_by_its_user() {
    if !can() {
        return;
    }
    let net = Net::new();
    let table = format!("understudy_user_{}", std::process::id());
    let process = lab::service(
        "driver = \"process\"\ncommand = [\"/bin/true\"]\ngate = { user = \"47110\" }",
    );
    let lab = Lab::open(&net.host, &table, vec![process]);
    lab.until(GateState::Closed);
    assert!(!reaches(&net, "", 47110, "10.77.0.2"), "a gated user got out");
    assert!(reaches(&net, "", 47110, "127.0.0.1"));
    assert!(reaches(&net, "", 47111, "10.77.0.2") && reaches(&net, "", 0, "10.77.0.2"));
    lab.open_for(HOUR);
    assert!(reaches(&net, "", 47110, "10.77.0.2"));
    drop(lab);
    if let Some(hierarchy) = Hierarchy::find() {
        hierarchy.remove_room(&table);
    }
}

#[test]
fn gate_says_absent_where_a_service_cannot_be_found() {
    if !can() {
        return;
    }
    let net = Net::new();
    let odd = lab::service(
        "driver = \"process\"\ncommand = [\"/bin/true\"]\ngate = { user = \"nobody-of-this-name\" }",
    );
    let table = format!("understudy_odd_{}", std::process::id());
    let lab = Lab::open(&net.host, &table, vec![odd]);
    lab.until(GateState::Absent);
    let until = std::time::Instant::now() + lab::PATIENCE;
    while !lab.gate.why(&fx()).contains("there is no user `nobody-of-this-name`") {
        assert!(std::time::Instant::now() < until, "{}", lab.gate.why(&fx()));
    }
    drop(lab);
    run("true");
    if let Some(hierarchy) = Hierarchy::find() {
        hierarchy.remove_room(&table);
    }
}
