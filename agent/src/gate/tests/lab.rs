//! A small world of network namespaces: a host with a bridge, two containers on
//! it, and a machine outside. Needs root, `ip` and `nft`.

use crate::{
    gate::{Gate, GateConfig, GateRoom, table::Facts},
    service::ServiceConfig,
};
use daemon::clock::boottime_ms;
use model::{GateState, GroupId, Mono};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Longer than anything here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long something is seen not to get through.
pub(crate) const BLOCKED: Duration = Duration::from_millis(400);

pub(crate) const PORT: u16 = 7000;
pub(crate) const BRIDGE: &str = "br-gate";

/// Whether this machine can do it. Without, a test passes with a word, unless
/// UNDERSTUDY_REQUIRE_ALL=1 makes that a failure.
pub(crate) fn can() -> bool {
    let works = |program: &str, arg: &str| {
        Command::new(program).arg(arg).output().is_ok_and(|said| said.status.success())
    };
    let able = rustix::process::geteuid().is_root() && works("nft", "-v") && works("ip", "-V");
    if !able {
        let required = std::env::var("UNDERSTUDY_REQUIRE_ALL").is_ok_and(|value| value == "1");
        assert!(!required, "UNDERSTUDY_REQUIRE_ALL=1, and no root, nft or ip");
        eprintln!("skipped: needs root, nft and ip");
    }
    able
}

pub(crate) fn run(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {words}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `deed` on a thread inside a network namespace.
pub(crate) fn inside<T: Send + 'static>(
    namespace: &str,
    deed: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let namespace = namespace.to_owned();
    thread::spawn(move || {
        enter(&namespace);
        deed()
    })
}

/// Moves this thread.
pub(crate) fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// The namespaces; removed at the end.
pub(crate) struct Net {
    pub(crate) host: String,
    pub(crate) outside: String,
    /// The protected container: 10.78.0.2 and fd78::2.
    pub(crate) protected: String,
    /// The other one: 10.78.0.3 and fd78::3.
    pub(crate) other: String,
}

impl Net {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |role: &str| format!("ugate-{}-{number}-{role}", std::process::id());
        let net = Self {
            host: name("host"),
            outside: name("out"),
            protected: name("own"),
            other: name("oth"),
        };
        let (host, outside) = (&net.host, &net.outside);
        for namespace in net.all() {
            run(&format!("ip netns add {namespace} && ip -n {namespace} link set lo up"));
        }
        run(&format!(
            "ip -n {host} link add up0 type veth peer name eth0 netns {outside} && \
             ip -n {host} link add {BRIDGE} type bridge"
        ));
        address(host, "up0", "10.77.0.1", "fd77::1");
        address(outside, "eth0", "10.77.0.2", "fd77::2");
        address(host, BRIDGE, "10.78.0.1", "fd78::1");
        for (namespace, port, last) in [(&net.protected, "own0", 2), (&net.other, "oth0", 3)] {
            run(&format!(
                "ip -n {host} link add {port} type veth peer name eth0 netns {namespace} && \
                 ip -n {host} link set {port} master {BRIDGE} up"
            ));
            address(namespace, "eth0", &format!("10.78.0.{last}"), &format!("fd78::{last}"));
            run(&format!(
                "ip -n {namespace} route add default via 10.78.0.1 && \
                 ip -n {namespace} -6 route add default via fd78::1"
            ));
        }
        run(&format!(
            "ip -n {outside} route add 10.78.0.0/24 via 10.77.0.1 && \
             ip -n {outside} -6 route add fd78::/64 via fd77::1 && \
             ip netns exec {host} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward; \
             echo 1 > /proc/sys/net/ipv6/conf/all/forwarding'"
        ));
        for namespace in net.all() {
            inside(&namespace, || {
                let listener = TcpListener::bind(("::", PORT)).unwrap();
                // Ends with the test's process; a connection is kept until its peer ends.
                thread::spawn(move || {
                    for stream in listener.incoming() {
                        thread::spawn(move || {
                            std::io::copy(&mut stream.unwrap(), &mut std::io::sink())
                        });
                    }
                });
            })
            .join()
            .unwrap();
        }
        net
    }

    fn all(&self) -> [String; 4] {
        [&self.host, &self.outside, &self.protected, &self.other].map(Clone::clone)
    }

    /// What `nft` says in the host.
    pub(crate) fn nft(&self, words: &str) -> String {
        run(&format!("nsenter --net=/run/netns/{} nft {words}", self.host))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for namespace in self.all() {
            let _ = Command::new("ip").args(["netns", "del", &namespace]).output();
        }
    }
}

fn address(namespace: &str, interface: &str, v4: &str, v6: &str) {
    run(&format!(
        "ip -n {namespace} addr add {v4}/24 dev {interface} && \
         ip -n {namespace} addr add {v6}/64 dev {interface} nodad && \
         ip -n {namespace} link set {interface} up"
    ));
}

/// Whether a new connection from a namespace gets through within `limit`.
pub(crate) fn connects(namespace: &str, to: &str, limit: Duration) -> bool {
    let to: SocketAddr = match to.contains(':') {
        true => format!("[{to}]:{PORT}").parse().unwrap(),
        false => format!("{to}:{PORT}").parse().unwrap(),
    };
    inside(namespace, move || TcpStream::connect_timeout(&to, limit).is_ok()).join().unwrap()
}

/// Whether it gets through soon.
pub(crate) fn passes(namespace: &str, to: &str) -> bool {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if connects(namespace, to, Duration::from_secs(1)) {
            return true;
        }
    }
    false
}

pub(crate) fn blocked(namespace: &str, to: &str) -> bool {
    !connects(namespace, to, BLOCKED)
}

pub(crate) fn fx() -> GroupId {
    GroupId::new("fx").unwrap()
}

pub(crate) fn service(text: &str) -> ServiceConfig {
    toml::from_str(&format!("name = \"mt4\"\ngroup = \"fx\"\n{text}")).unwrap()
}

/// What Docker would have said.
pub(crate) fn facts() -> Facts {
    let place = |address: &str| (BRIDGE.to_owned(), address.parse().unwrap());
    Facts {
        bridges: [(fx(), BRIDGE.to_owned())].into(),
        addresses: ["10.78.0.2", "fd78::2"].map(|address| (fx(), place(address))).into(),
        free: ["10.78.0.3", "fd78::3"].map(place).into(),
        ..Facts::default()
    }
}

/// A gate of one test, in the host of `net`, with a runtime of its own.
pub(crate) struct Lab {
    pub(crate) gate: Gate,
    pub(crate) state: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Lab {
    pub(crate) fn open(host: &str, table: &str, services: Vec<ServiceConfig>) -> Self {
        let config = GateConfig { enabled: true, table: table.into() };
        let state = tempfile::tempdir().unwrap();
        let room = GateRoom {
            state_dir: state.path().into(),
            cgroups: crate::gate::make_room(&config, &services),
        };
        inside(host, move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let gate = {
                let _guard = runtime.enter();
                Gate::open(&config, &services, &room)
            };
            Self { gate, state, runtime }
        })
        .join()
        .unwrap()
    }

    /// With a container service of which `facts` are known.
    pub(crate) fn with(host: &str, table: &str, facts: Facts) -> Self {
        let docker =
            service("driver = \"docker\"\ncontainer = \"c\"\nsocket = \"/nonexistent/docker\"");
        let lab = Self::open(host, table, vec![docker]);
        lab.found(facts);
        lab.until(GateState::Closed);
        lab.settled();
        lab
    }

    pub(crate) fn found(&self, facts: Facts) {
        let mut state = self.gate.0.shared.lock();
        state.found[0] = Some((facts, Default::default()));
        state.facts += 1;
        drop(state);
        self.gate.0.shared.wake();
    }

    pub(crate) fn settled(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            {
                let state = self.gate.0.shared.lock();
                if state.table.is_ok() && state.applied >= state.facts {
                    return;
                }
            }
            assert!(Instant::now() < until, "never settled: {}", self.gate.why(&fx()));
            thread::yield_now();
        }
    }

    pub(crate) fn until(&self, wanted: GateState) {
        let until = Instant::now() + PATIENCE;
        while self.gate.state(&fx()) != wanted {
            assert!(Instant::now() < until, "never {wanted}: {}", self.gate.why(&fx()));
            thread::yield_now();
        }
    }

    /// Opens for so long, and returns once it is open.
    pub(crate) fn open_for(&self, span: Duration) -> u64 {
        let until = boottime_ms() + u64::try_from(span.as_millis()).unwrap();
        self.gate.renew(&fx(), Mono(until));
        self.until(GateState::Open);
        until
    }

    pub(crate) fn block_on<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    pub(crate) fn close(&self) {
        self.gate.close(&fx());
        assert!(self.runtime.block_on(self.gate.closed(&fx())), "{}", self.gate.why(&fx()));
    }
}
