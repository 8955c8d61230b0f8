//! A ZeroMQ feed: listens with a SUB socket and says how fresh it is.
//!
//! Freshness is the local time at which a message was received; what a message
//! says of its own time is never the verdict (rule 1 of feeds). Any number of
//! frames, any bytes (rule 2). SUB only (rule 4; the configuration refuses the
//! rest). Bounded whatever arrives (rule 7): a small high-water mark, a limit
//! per frame, and nothing is kept of a message but its size. An open port is
//! not health: the layer reached is said in words (rule 8).
//!
//! One named thread a feed, with a libzmq context of its own: a name server
//! that does not answer holds up that context's thread, and no other feed. A
//! publisher that sends one message of endless frames is held by libzmq until
//! it is whole, which only the service manager's memory limit bounds.

mod curve;
mod diagnosis;
mod feed;
mod link;

pub(super) use feed::Feed;
pub use feed::{FeedMark, FeedProgress, FeedSnapshot};

use super::{Expectation, Finding, ProbeConfig, ZeromqConfig, count, millis};
use curve::{CurveError, Keys};
use daemon::clock::boottime_ms;
use link::{Layer, Link};
use model::{Millis, Mono, Verdict};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Messages that libzmq may hold for us: this thread takes them out at once,
/// and what does not fit waits at the publisher.
const HIGH_WATER: i32 = 64;

/// Largest frame in bytes; with the high-water mark 16 MiB at the very worst. A
/// market depth of 500 levels in JSON has some 50 KiB.
const FRAME_MAX: i64 = 256 << 10;

/// Most frames of one message that is accepted; real ones have one or two.
const FRAMES_MAX: u32 = 64;

/// Longest wait for a message, so that an end of the probe is noticed.
const WAIT: Duration = Duration::from_millis(100);

/// Most messages taken out between two looks at the clock.
const BATCH: u32 = 1024;

/// Before a socket that could not be made is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The wait between libzmq's own tries to connect, in milliseconds. It does not
/// grow: a standby's feed is dead for months, and its first message after a
/// failover must not wait for a long pause to end.
const RECONNECT: i32 = 100;

/// A handshake that takes longer is begun anew, in milliseconds.
const HANDSHAKE: i32 = 5000;

/// Why a feed cannot be listened to at all.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error("{0}")]
    Keys(#[from] CurveError),
    #[error("this host's libzmq was built without CURVE")]
    NoCurve,
    #[error("libzmq cannot {what}: {source}")]
    Zmq { what: &'static str, source: zmq::Error },
    #[error("libzmq met an error that it does not know")]
    Panic,
}

fn failed(what: &'static str) -> impl Fn(zmq::Error) -> ListenError {
    move |source| ListenError::Zmq { what, source }
}

/// Begins to listen, until `ending`.
pub(super) fn spawn(
    config: &ProbeConfig,
    zeromq: &ZeromqConfig,
    feed: &Arc<Feed>,
    expected: Arc<Expectation>,
    ending: Arc<AtomicBool>,
) -> io::Result<()> {
    let mut listener = Listener {
        config: zeromq.clone(),
        every: config.interval,
        timeout: config.timeout,
        feed: Arc::clone(feed),
        expected,
        ending,
        reset: None,
        rated: (Instant::now(), 0),
    };
    let thread = thread::Builder::new().name(format!("zmq-{}", config.name));
    thread.spawn(move || listener.run()).map(drop)
}

struct Listener {
    config: ZeromqConfig,
    every: Duration,
    timeout: Duration,
    feed: Arc<Feed>,
    expected: Arc<Expectation>,
    ending: Arc<AtomicBool>,
    /// Since when the group is expected here, and what came since.
    reset: Option<(Mono, FeedMark)>,
    /// When the rate was computed last, and how many messages there were.
    rated: (Instant, u64),
}

impl Listener {
    fn run(&mut self) {
        while !self.ending() {
            // The binding panics at an errno that it does not know.
            let heard = catch_unwind(AssertUnwindSafe(|| self.listen()));
            let error = match heard {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => ListenError::Panic,
            };
            let words = format!("cannot listen to {}: {error}", self.config.endpoint);
            self.feed.slot().publish(Finding::new(Verdict::Unknown, words));
            let until = Instant::now() + AGAIN;
            while !self.ending() && Instant::now() < until {
                thread::sleep(WAIT);
            }
        }
    }

    fn ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    fn listen(&mut self) -> Result<(), ListenError> {
        let context = zmq::Context::new();
        let keys = self.config.curve.as_ref().map(Keys::read).transpose()?;
        let mut link = Link::new(self.config.endpoint.clone(), keys.is_some(), self.timeout);
        let mut number: u64 = 0;
        while !self.ending() {
            number = number.saturating_add(1);
            let socket = open(&context, &self.config, keys.as_ref())?;
            let monitor = watch(&context, &socket, number)?;
            socket.connect(&self.config.endpoint.to_string()).map_err(failed("connect"))?;
            link.renewed();
            self.hear(&socket, &monitor, &mut link)?;
        }
        Ok(())
    }

    /// Until the end, or until the socket is no longer worth keeping.
    fn hear(
        &mut self,
        socket: &zmq::Socket,
        monitor: &zmq::Socket,
        link: &mut Link,
    ) -> Result<(), ListenError> {
        let mut due = Instant::now();
        let mut fresh = false;
        while !self.ending() && !link.is_stuck() {
            let wait = due.saturating_duration_since(Instant::now()).min(WAIT);
            let wait = i64::try_from(wait.as_millis()).unwrap_or(0);
            let mut items = [socket.as_poll_item(zmq::POLLIN), monitor.as_poll_item(zmq::POLLIN)];
            match zmq::poll(&mut items, wait) {
                Ok(_) | Err(zmq::Error::EINTR) => {}
                Err(source) => return Err(failed("wait")(source)),
            }
            hear_monitor(monitor, link)?;
            let came = self.take_messages(socket)?;
            link.tick();
            // The first message after a silence is told at once.
            if Instant::now() >= due || (came && !fresh) {
                let finding = self.find(link);
                fresh = finding.verdict == Verdict::Ok;
                self.feed.slot().publish(finding);
                due = Instant::now() + self.every;
            }
        }
        Ok(())
    }

    /// Takes out what is there, up to a batch; whether any was accepted.
    fn take_messages(&self, socket: &zmq::Socket) -> Result<bool, ListenError> {
        let mut frame = zmq::Message::new();
        let mut came = false;
        for _ in 0..BATCH {
            match socket.recv(&mut frame, zmq::DONTWAIT) {
                Ok(()) => {}
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => break,
                Err(source) => return Err(failed("receive")(source)),
            }
            let mut frames: u32 = 1;
            let mut bytes = frame.len() as u64;
            while frame.get_more() {
                // A message is only given once it is whole, so this never waits.
                socket.recv(&mut frame, 0).map_err(failed("receive"))?;
                frames = frames.saturating_add(1);
                bytes = bytes.saturating_add(frame.len() as u64);
            }
            if frames > FRAMES_MAX {
                self.feed.drop_one();
            } else {
                self.feed.accept(bytes);
                came = true;
            }
        }
        Ok(came)
    }

    fn find(&mut self, link: &Link) -> Finding {
        let now = Mono(boottime_ms());
        let since = self.expected.since();
        match (&self.reset, since) {
            (Some((known, _)), Some(since)) if *known == since => {}
            (_, Some(since)) => self.reset = Some((since, self.feed.mark_since(since))),
            (_, None) => self.reset = None,
        }
        let messages = self.feed.messages();
        let mut finding = judge(&self.config, link.reached(), self.feed.last(), since, now)
            .measure("messages", count(messages))
            .measure("bytes", count(self.feed.bytes()))
            .measure("dropped", count(self.feed.dropped()))
            .measure("connects", count(link.connects()))
            .measure("rate_per_s", self.rate(messages));
        if let Some(last) = self.feed.last() {
            finding = finding.measure("age_ms", count(now.since(last).0));
        }
        let first = self.reset.as_ref().and_then(|(_, mark)| mark.progress().first_after);
        if let Some(Millis(first)) = first {
            finding = finding.measure("first_message_after_reset_ms", count(first));
        }
        finding
    }

    /// Messages a second since the rate was asked for last.
    fn rate(&mut self, messages: u64) -> i64 {
        let (at, before) = self.rated;
        self.rated = (Instant::now(), messages);
        let elapsed = millis(at.elapsed()).0.max(1);
        count(messages.saturating_sub(before).saturating_mul(1000) / elapsed)
    }
}

fn open(
    context: &zmq::Context,
    config: &ZeromqConfig,
    keys: Option<&Keys>,
) -> Result<zmq::Socket, ListenError> {
    let socket = context.socket(zmq::SUB).map_err(failed("make a socket"))?;
    let set = || {
        socket.set_linger(0)?;
        socket.set_rcvhwm(HIGH_WATER)?;
        socket.set_maxmsgsize(FRAME_MAX)?;
        socket.set_ipv6(true)?;
        socket.set_reconnect_ivl(RECONNECT)?;
        socket.set_handshake_ivl(HANDSHAKE)?;
        // The kernel finds out that a publisher's host is gone; ZMTP's own
        // heartbeats would be unknown to older libraries in trading terminals.
        socket.set_tcp_keepalive(1)?;
        socket.set_tcp_keepalive_idle(5)?;
        socket.set_tcp_keepalive_intvl(2)?;
        socket.set_tcp_keepalive_cnt(3)?;
        config.topics.iter().try_for_each(|topic| socket.set_subscribe(topic.as_bytes()))
    };
    set().map_err(failed("set the socket up"))?;
    if let Some(keys) = keys {
        if zmq::has("curve") != Some(true) {
            return Err(ListenError::NoCurve);
        }
        let set = || {
            socket.set_curve_serverkey(&keys.server)?;
            socket.set_curve_publickey(&keys.public)?;
            socket.set_curve_secretkey(&keys.secret)
        };
        set().map_err(failed("use the CURVE keys (do public and secret belong together?)"))?;
    }
    Ok(socket)
}

/// A socket that hears what happens to another one's connection.
fn watch(
    context: &zmq::Context,
    socket: &zmq::Socket,
    number: u64,
) -> Result<zmq::Socket, ListenError> {
    let make = || {
        let events = i32::from(zmq::SocketEvent::ALL.to_raw());
        // A name of its own, because an earlier socket's is given back only later.
        let name = format!("inproc://monitor-{number}");
        socket.monitor(&name, events)?;
        let monitor = context.socket(zmq::PAIR)?;
        monitor.set_linger(0)?;
        monitor.connect(&name)?;
        Ok(monitor)
    };
    make().map_err(failed("watch the socket"))
}

/// Every event has two frames: what happened, and where.
fn hear_monitor(monitor: &zmq::Socket, link: &mut Link) -> Result<(), ListenError> {
    let mut frame = zmq::Message::new();
    for _ in 0..BATCH {
        match monitor.recv(&mut frame, zmq::DONTWAIT) {
            Ok(()) => link.note(&frame),
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => break,
            Err(source) => return Err(failed("watch the socket")(source)),
        }
        while frame.get_more() {
            monitor.recv(&mut frame, 0).map_err(failed("watch the socket"))?;
        }
    }
    Ok(())
}

/// Pure: what the newest message's age means here and now. `since` is when
/// the group was first expected here, `None` when it is not.
fn judge(
    config: &ZeromqConfig,
    (layer, words): (Layer, String),
    last: Option<Mono>,
    since: Option<Mono>,
    now: Mono,
) -> Finding {
    let stale_after = millis(config.stale_after);
    let (every, age) = (millis(config.every), last.map(|last| now.since(last)));
    let silent = if layer == Layer::Subscribed {
        format!("{words}, but the publisher sends nothing{}", to_topics(config))
    } else {
        words
    };
    // The newest message may be from an earlier activation: since this one,
    // the feed has at least its usual patience.
    let quiet_for = since.map(|since| now.since(last.map_or(since, |last| last.max(since))));
    let (verdict, layer, summary) = match (age, quiet_for) {
        (Some(age), _) if age <= stale_after => {
            (Verdict::Ok, Layer::Fresh, format!("fresh: the newest message is {age} old"))
        }
        (_, None) => {
            let summary =
                format!("waiting: the publisher's service is not started here ({silent})");
            (Verdict::Unknown, layer, summary)
        }
        (_, Some(quiet)) if quiet <= stale_after => {
            (Verdict::Unknown, layer, format!("no message yet since {quiet}: {silent}"))
        }
        (Some(age), Some(_)) => {
            let summary = format!(
                "stale: the newest message is {age} old, one is expected every {every}: {silent}"
            );
            (Verdict::Critical, layer.max(Layer::FirstMessage), summary)
        }
        (None, Some(quiet)) => {
            (Verdict::Critical, layer, format!("no message at all for {quiet}: {silent}"))
        }
    };
    Finding::new(verdict, summary).measure("layer", layer.place())
}

fn to_topics(config: &ZeromqConfig) -> String {
    match config.topics.as_slice() {
        [all] if all.is_empty() => String::new(),
        [one] => format!(" to topic `{one}`"),
        [first, ..] => format!(" to topic `{first}` or the {} others", config.topics.len() - 1),
        [] => String::new(),
    }
}

#[cfg(test)]
mod tests;
