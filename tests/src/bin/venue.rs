//! The lab's venue: takes numbered orders over TCP, writes each one down with
//! the moment of its arrival, and confirms it. It refuses nothing: whether two
//! sites traded at once is read from what it wrote.
#![allow(clippy::print_stderr, reason = "a program that speaks to its log")]

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::Value;
use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    thread,
};
use tests::{journal, lab::orders};

/// Takes orders and writes them down.
#[derive(Debug, Parser)]
#[command(name = "venue")]
struct Args {
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// File to which each order is appended, one JSON object a line.
    #[arg(long)]
    log: PathBuf,
}

fn main() -> ExitCode {
    match serve(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("venue: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(&args.log)?;
    let log = Arc::new(Mutex::new(log));
    let listener = TcpListener::bind(args.listen)
        .with_context(|| format!("could not listen on {}", args.listen))?;
    loop {
        let (trader, from) = listener.accept()?;
        let log = Arc::clone(&log);
        thread::spawn(move || {
            if let Err(why) = take(&trader, from, &log) {
                eprintln!("venue: {from}: {why:#}");
            }
        });
    }
}

/// Every order of one connection. A line that was cut off is no order.
fn take(trader: &TcpStream, from: SocketAddr, log: &Mutex<File>) -> Result<()> {
    trader.set_nodelay(true)?;
    let mut lines = BufReader::new(trader.try_clone()?);
    let mut trader = trader;
    let mut line = String::new();
    loop {
        line.clear();
        lines.read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Ok(());
        }
        let order: Value = serde_json::from_str(&line).context("not an order")?;
        {
            // The moment is taken under the lock, so that the file is in its order.
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let arrived = orders::line(&order, journal::boot_us()?, journal::wall_ms(), from);
            log.write_all(arrived.as_bytes())?;
        }
        trader.write_all(b"+")?;
    }
}
