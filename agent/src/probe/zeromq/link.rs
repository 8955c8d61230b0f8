//! How far the connection to a publisher has come: from libzmq's socket
//! monitor, and from a diagnosis where that says too little.

use super::diagnosis::{Diagnosis, diagnose};
use crate::probe::Endpoint;
use std::{
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// How long a connection may take before it is worth a diagnosis.
const PATIENCE: Duration = Duration::from_millis(500);

/// A socket without a subscription is made anew after this: libzmq gives a
/// connection up for good after an error of protocol (a frame above the
/// limit, a peer that was no publisher for a moment). Longer than its own
/// longest wait between two tries.
const RENEW: Duration = Duration::from_secs(3);

/// Waits between diagnoses of one state, the last for good.
const WAITS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// The monitor's events that matter here, by libzmq's numbers.
const CONNECTED: u16 = 0x0001;
const CLOSED: u16 = 0x0080;
const DISCONNECTED: u16 = 0x0200;
const HANDSHAKE_FAILED: u16 = 0x0800;
const HANDSHAKE_SUCCEEDED: u16 = 0x1000;
const HANDSHAKE_FAILED_PROTOCOL: u16 = 0x2000;
const HANDSHAKE_FAILED_AUTH: u16 = 0x4000;

/// `ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH`.
const MECHANISM_MISMATCH: u32 = 0x1100_0002;

/// The layers of a feed, in the order in which they are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    Nothing,
    Resolved,
    Tcp,
    Greeting,
    Subscribed,
    FirstMessage,
    Fresh,
}

impl Layer {
    /// Its place, for the measure `layer`.
    pub(super) const fn place(self) -> i64 {
        match self {
            Self::Nothing => 0,
            Self::Resolved => 1,
            Self::Tcp => 2,
            Self::Greeting => 3,
            Self::Subscribed => 4,
            Self::FirstMessage => 5,
            Self::Fresh => 6,
        }
    }
}

/// Why a handshake failed, by the monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Mechanism,
    Key,
    Other,
}

/// The connection of one socket.
pub(super) struct Link {
    endpoint: Endpoint,
    curve: bool,
    limit: Duration,
    open: bool,
    subscribed: bool,
    refusal: Option<Refusal>,
    connects: u64,
    down_since: Instant,
    renewed_at: Instant,
    diagnosis: Option<Diagnosis>,
    diagnosing: Option<Receiver<Diagnosis>>,
    diagnosed: usize,
    next: Instant,
}

impl Link {
    pub(super) fn new(endpoint: Endpoint, curve: bool, limit: Duration) -> Self {
        let now = Instant::now();
        Self {
            endpoint,
            curve,
            limit,
            open: false,
            subscribed: false,
            refusal: None,
            connects: 0,
            down_since: now,
            renewed_at: now,
            diagnosis: None,
            diagnosing: None,
            diagnosed: 0,
            next: now + PATIENCE,
        }
    }

    /// A new socket began to connect.
    pub(super) fn renewed(&mut self) {
        self.down();
        self.renewed_at = Instant::now();
    }

    /// Whether this socket will hardly connect any more.
    pub(super) fn is_stuck(&self) -> bool {
        !self.subscribed && self.renewed_at.elapsed() > RENEW && self.down_since.elapsed() > RENEW
    }

    /// Handshakes completed since the probe's start.
    pub(super) const fn connects(&self) -> u64 {
        self.connects
    }

    /// One event of the monitor: its first frame. Unknown ones change nothing.
    pub(super) fn note(&mut self, frame: &[u8]) {
        let (Some(event), Some(value)) = (
            frame.first_chunk::<2>().map(|bytes| u16::from_le_bytes(*bytes)),
            frame.get(2..6).and_then(|bytes| bytes.first_chunk::<4>()),
        ) else {
            return;
        };
        let value = u32::from_le_bytes(*value);
        match event {
            CONNECTED => self.open = true,
            HANDSHAKE_SUCCEEDED => self.up(),
            HANDSHAKE_FAILED => self.refusal = self.refusal.or(Some(Refusal::Other)),
            HANDSHAKE_FAILED_AUTH => self.refusal = Some(Refusal::Key),
            HANDSHAKE_FAILED_PROTOCOL => {
                let mismatch = value == MECHANISM_MISMATCH;
                self.refusal = Some(if mismatch { Refusal::Mechanism } else { Refusal::Other });
            }
            CLOSED | DISCONNECTED => self.down(),
            _ => {}
        }
    }

    fn up(&mut self) {
        self.subscribed = true;
        self.connects = self.connects.saturating_add(1);
        self.refusal = None;
        self.diagnosis = None;
        self.diagnosed = 0;
    }

    fn down(&mut self) {
        if self.subscribed {
            self.down_since = Instant::now();
            self.next = self.down_since + PATIENCE;
        }
        self.open = false;
        self.subscribed = false;
    }

    /// Takes a finished diagnosis in and begins another when it is time.
    pub(super) fn tick(&mut self) {
        if let Some(running) = &self.diagnosing {
            match running.try_recv() {
                Ok(found) => {
                    self.diagnosis = (!self.subscribed).then_some(found);
                    self.diagnosing = None;
                }
                Err(TryRecvError::Disconnected) => self.diagnosing = None,
                Err(TryRecvError::Empty) => {}
            }
        }
        let now = Instant::now();
        if self.subscribed || self.diagnosing.is_some() || now < self.next {
            return;
        }
        let wait = WAITS.get(self.diagnosed).or(WAITS.last()).copied().unwrap_or(PATIENCE);
        self.diagnosed = self.diagnosed.saturating_add(1);
        self.next = now + wait;
        let (endpoint, limit) = (self.endpoint.clone(), self.limit);
        let (tell, found) = sync_channel(1);
        // On a thread of its own, because a name server may not answer. One at a
        // time; where the system gives none, the next try may have one.
        let begun = thread::Builder::new().name("zmq-diagnosis".into()).spawn(move || {
            let _ = tell.send(diagnose(&endpoint, limit));
        });
        self.diagnosing = begun.is_ok().then_some(found);
    }

    /// The layer reached and what to say of it.
    pub(super) fn reached(&self) -> (Layer, String) {
        if self.subscribed {
            return (Layer::Subscribed, "connected and subscribed".into());
        }
        let endpoint = &self.endpoint;
        match &self.diagnosis {
            Some(Diagnosis::Zmtp { mechanism, socket }) => {
                (Layer::Greeting, self.refused(mechanism, socket.as_deref()))
            }
            _ if self.refusal.is_some() => (Layer::Greeting, self.refused("", None)),
            Some(found @ Diagnosis::Unresolved(_)) => {
                (Layer::Nothing, format!("{endpoint}: {found}"))
            }
            Some(found @ Diagnosis::Closed(_)) => (Layer::Resolved, format!("{endpoint}: {found}")),
            Some(found @ (Diagnosis::Silent | Diagnosis::HungUp | Diagnosis::Foreign(_))) => {
                (Layer::Tcp, format!("{endpoint}: {found}"))
            }
            None if self.open => (Layer::Tcp, format!("{endpoint}: TCP open, handshake under way")),
            None => (Layer::Nothing, format!("connecting to {endpoint}")),
        }
    }

    /// A ZeroMQ socket answers, and the handshake does not complete: why.
    fn refused(&self, mechanism: &str, socket: Option<&str>) -> String {
        let endpoint = &self.endpoint;
        let why = match (self.curve, mechanism) {
            (false, "CURVE") => {
                "the publisher wants CURVE and this probe has no keys; add curve = { ... }".into()
            }
            (true, "NULL" | "PLAIN") => {
                format!("this probe has CURVE keys and the publisher wants {mechanism}")
            }
            (_, "PLAIN") => "the publisher wants PLAIN, a name and a password".into(),
            (true, _) if self.refusal == Some(Refusal::Key) => {
                "the publisher does not accept this probe's public key".into()
            }
            (true, "CURVE") => "the CURVE handshake does not complete: is server_key_file the \
                 publisher's public key, and does it know this probe's?"
                .into(),
            (_, _) if self.refusal == Some(Refusal::Mechanism) => {
                "the publisher wants another security mechanism".into()
            }
            (_, _) => match socket {
                Some("PUSH") => "it is a PUSH socket, which shares its messages out: a probe \
                     there would steal them; name the bridge's PUB socket"
                    .into(),
                Some(other) if !matches!(other, "PUB" | "XPUB") => {
                    format!("it is a {other} socket; only a PUB socket can be watched")
                }
                Some(_) | None => "the handshake does not complete".to_owned(),
            },
        };
        format!("{endpoint}: ZMTP greeting, no handshake: {why}")
    }
}
