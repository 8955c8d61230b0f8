//! The lab's trading terminal: sends numbered orders to the venue over TCP,
//! each with its site and its run, and goes on as fast as it may whenever it
//! cannot. It guards nothing itself: as a real terminal, it knows of no lease.
#![allow(clippy::print_stderr, reason = "a program that speaks to its log")]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};
use tests::journal;

/// How long one attempt to connect may take: a few round trips of a lab.
const CONNECT: Duration = Duration::from_millis(100);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);
/// Without a confirmation for this long the connection is given up.
const SILENCE: Duration = Duration::from_millis(500);

/// Sends orders without end.
#[derive(Debug, Parser)]
#[command(name = "trader")]
struct Args {
    /// Where orders go.
    #[arg(long)]
    venue: SocketAddr,
    /// The site that it trades for.
    #[arg(long)]
    site: String,
    /// Milliseconds between two orders.
    #[arg(long, default_value_t = 10)]
    every_ms: u64,
}

fn main() {
    let args = Args::parse();
    // Tells its runs apart: two starts are never in the same millisecond.
    let run = journal::boot_ms().unwrap_or_default();
    let mut number = 0;
    loop {
        if let Err(why) = trade(&args, run, &mut number) {
            eprintln!("trader: {why:#}");
        }
        thread::sleep(PAUSE);
    }
}

/// Orders over one connection, until it fails.
fn trade(args: &Args, run: u64, number: &mut u64) -> Result<()> {
    let mut venue = TcpStream::connect_timeout(&args.venue, CONNECT)?;
    venue.set_nodelay(true)?;
    venue.set_nonblocking(true)?;
    let mut heard = Instant::now();
    let mut next = Instant::now();
    loop {
        let line = format!("{{\"site\":\"{}\",\"run\":{run},\"number\":{number}}}\n", args.site);
        *number += 1;
        venue.write_all(line.as_bytes()).context("an order could not be sent")?;
        match venue.read(&mut [0; 4096]) {
            Ok(0) => anyhow::bail!("the venue closed the connection"),
            Ok(_) => heard = Instant::now(),
            Err(why) if why.kind() == ErrorKind::WouldBlock => {}
            Err(why) => return Err(why).context("no confirmation"),
        }
        ensure!(heard.elapsed() < SILENCE, "no confirmation for {} ms", SILENCE.as_millis());
        next += Duration::from_millis(args.every_ms);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}
