//! A subscriber of our own: what a client of the trading service sees.

use crate::journal;
use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Messages kept; older ones are dropped. At 20 a second this is eight minutes.
const KEPT: usize = 10_000;
/// How long a receive waits before it looks whether to end, in milliseconds.
const LOOK_EVERY_MS: i32 = 100;
/// How soon a refused connection is tried again, in milliseconds: short, so
/// that the first tick after a failover is seen when it comes.
const RECONNECT_MS: i32 = 20;

/// One tick as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// When it arrived, on `CLOCK_BOOTTIME` in milliseconds.
    pub at_boot_ms: u64,
    /// The first frame.
    pub topic: String,
    /// The second frame.
    pub payload: Value,
}

/// A SUB socket on its own thread.
#[derive(Debug)]
pub struct Subscriber {
    ticks: Arc<Mutex<Vec<Tick>>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Subscriber {
    /// Subscribes to the ticks of the publisher on `port` of loopback, which
    /// need not be there yet.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn connect(port: u16) -> Result<Self> {
        let socket = zmq::Context::new().socket(zmq::SUB)?;
        socket.set_linger(0)?;
        socket.set_rcvtimeo(LOOK_EVERY_MS)?;
        socket.set_reconnect_ivl(RECONNECT_MS)?;
        socket.set_subscribe(b"tick.")?;
        socket.connect(&format!("tcp://127.0.0.1:{port}"))?;
        let ticks = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (sink, ended) = (Arc::clone(&ticks), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name(format!("ticks-{port}"))
            .spawn(move || receive(&socket, &sink, &ended))
            .context("could not start the subscriber's thread")?;
        Ok(Self { ticks, stop, thread: Some(thread) })
    }

    /// The ticks that have arrived after `boot_ms`.
    #[must_use]
    pub fn since(&self, boot_ms: u64) -> Vec<Tick> {
        let ticks = self.ticks.lock().unwrap_or_else(PoisonError::into_inner);
        ticks.iter().filter(|tick| tick.at_boot_ms > boot_ms).cloned().collect()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

fn receive(socket: &zmq::Socket, sink: &Mutex<Vec<Tick>>, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        // A timeout comes as an error, and so does a socket that was closed.
        let Ok(frames) = socket.recv_multipart(0) else { continue };
        let Some(tick) = parse(&frames) else { continue };
        let mut ticks = sink.lock().unwrap_or_else(PoisonError::into_inner);
        if ticks.len() >= KEPT {
            ticks.remove(0);
        }
        ticks.push(tick);
    }
}

fn parse(frames: &[Vec<u8>]) -> Option<Tick> {
    let [topic, payload] = frames else { return None };
    Some(Tick {
        at_boot_ms: journal::boot_ms().ok()?,
        topic: String::from_utf8(topic.clone()).ok()?,
        payload: serde_json::from_slice(payload).ok()?,
    })
}
