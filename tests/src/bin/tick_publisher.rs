//! The demo's trading service: publishes ticks over real libzmq, as the Python
//! bridge of an MT4 Docker project does (two frames: `tick.SYMBOL`, then JSON
//! with an integer millisecond timestamp), and writes down each one it sent.
#![allow(clippy::print_stderr, reason = "a program that speaks to its log")]

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;
use std::{
    fs::{File, OpenOptions},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};
use tests::journal;

/// Between two ticks: 20 a second, a lively symbol.
const PACE: Duration = Duration::from_millis(50);

/// Publishes ticks and writes down each one it sent.
#[derive(Debug, Parser)]
#[command(name = "tick-publisher")]
struct Args {
    /// Port of loopback to bind.
    #[arg(long)]
    port: u16,
    /// The instrument.
    #[arg(long, default_value = "EURUSD")]
    symbol: String,
    /// File to which each tick sent is appended.
    #[arg(long)]
    journal: PathBuf,
    /// The site, for the first line of our output.
    #[arg(long)]
    site: String,
    /// Silence after the start, in milliseconds.
    #[arg(long, default_value_t = 0)]
    first_tick_after_ms: u64,
}

fn main() -> ExitCode {
    match publish(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tick-publisher: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn publish(args: &Args) -> Result<()> {
    let mut journal = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&args.journal)
        .with_context(|| format!("could not open {}", args.journal.display()))?;
    let socket = zmq::Context::new().socket(zmq::PUB)?;
    socket.set_linger(0)?;
    let endpoint = format!("tcp://127.0.0.1:{}", args.port);
    socket.bind(&endpoint).with_context(|| format!("could not bind {endpoint}"))?;
    journal::append(&mut journal, "start", &std::process::id().to_string())?;
    eprintln!("tick-publisher: {} of site {} on {endpoint}", args.symbol, args.site);
    thread::sleep(Duration::from_millis(args.first_tick_after_ms));

    let mut price = Price::new();
    let mut next = Instant::now();
    loop {
        send(&socket, &mut journal, &args.symbol, price.step())?;
        next += PACE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn send(socket: &zmq::Socket, journal: &mut File, symbol: &str, bid: u32) -> Result<()> {
    /// Points between bid and ask, a common spread of this pair.
    const SPREAD: u32 = 12;
    let price = |points: u32| f64::from(points) / 100_000.0;
    let payload = json!({
        "type": "tick",
        "symbol": symbol,
        "bid": price(bid),
        "ask": price(bid + SPREAD),
        "spread": price(SPREAD),
        "volume": 1,
        "timestamp": journal::wall_ms(),
    });
    // Written down first: what a client has seen is in the journal, whenever we are killed.
    journal::append(journal, "tick", symbol)?;
    let frames = [format!("tick.{symbol}").into_bytes(), payload.to_string().into_bytes()];
    socket.send_multipart(frames, 0).context("could not send a tick")
}

/// A price that wanders: made of a small generator of our own, so that two runs
/// look alike.
struct Price {
    points: u32,
    state: u32,
}

impl Price {
    const fn new() -> Self {
        Self { points: 108_500, state: 1 }
    }

    /// The next bid, up to two points away.
    fn step(&mut self) -> u32 {
        // The constants of Numerical Recipes' quick generator.
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let move_by = (self.state >> 16) % 5;
        self.points = (self.points + move_by).saturating_sub(2).clamp(100_000, 120_000);
        self.points
    }
}
