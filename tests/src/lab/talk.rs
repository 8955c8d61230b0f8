//! TCP sessions between the lab's machines that last, as an operator's SSH does:
//! what an isolation must leave alone, or end.

use super::machine::Machine;
use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use std::{
    fs::File,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// How long a connection that nobody answers is waited for.
const CONNECT: Duration = Duration::from_secs(1);

/// Does something on a thread in the machine's network.
fn inside<T: Send + 'static>(
    machine: &Machine,
    deed: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let network = File::open(format!("/proc/{}/ns/net", machine.init()))?;
    let thread = thread::spawn(move || {
        setns(network, CloneFlags::CLONE_NEWNET).context("cannot enter the network")?;
        deed()
    });
    thread.join().map_err(|_| anyhow::anyhow!("a thread of the test failed"))?
}

/// Echoes on a port of the machine, until it ends or we do.
///
/// # Errors
/// When the port is taken.
pub fn echo(machine: &Machine, port: u16) -> Result<()> {
    let listener = inside(machine, move || Ok(TcpListener::bind(("0.0.0.0", port))?))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut stream = stream;
                let mut back = stream.try_clone()?;
                io::copy(&mut stream, &mut back)
            });
        }
    });
    Ok(())
}

/// One session.
#[derive(Debug)]
pub struct Talk(TcpStream);

impl Talk {
    /// From this machine to an address.
    ///
    /// # Errors
    /// When it does not get through within a second.
    pub fn open(from: &Machine, to: &str, port: u16) -> Result<Self> {
        let to = SocketAddr::new(to.parse::<IpAddr>()?, port);
        inside(from, move || Ok(Self(TcpStream::connect_timeout(&to, CONNECT)?)))
    }

    /// Whether a word comes back within `limit`.
    #[must_use]
    pub fn answers(&mut self, limit: Duration) -> bool {
        let mut word = [0; 4];
        self.0.set_read_timeout(Some(limit)).is_ok()
            && self.0.write_all(b"word").is_ok()
            && self.0.read_exact(&mut word).is_ok()
    }
}
