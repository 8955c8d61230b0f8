//! Why no subscription comes about: one short connection of our own that looks
//! at what answers, layer by layer.
//!
//! Only made while libzmq's own connection is not subscribed, and ended before
//! the handshake is: the other side never takes us for a peer, so no message
//! of a PUSH socket goes to us. Everything read is bounded.

use crate::probe::Endpoint;
use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    time::Duration,
};

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Length of a greeting of ZMTP 3.
const GREETING: usize = 64;

/// Most bytes read after the greeting: a READY command has some tens.
const READY_MAX: usize = 256;

/// How far the connection came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Diagnosis {
    /// The name has no address.
    Unresolved(String),
    /// Nothing takes the connection.
    Closed(String),
    /// Something took it and says nothing.
    Silent,
    /// Something took it and hung up.
    HungUp,
    /// Something that speaks, but not ZMTP.
    Foreign(&'static str),
    /// A ZeroMQ socket.
    Zmtp {
        /// `NULL`, `PLAIN`, `CURVE`; empty when it did not get that far.
        mechanism: String,
        /// `PUB`, `PUSH`, ...; only said before a NULL handshake.
        socket: Option<String>,
    },
}

/// Looks at what answers at `endpoint`; every step takes at most `limit`.
pub(super) fn diagnose(endpoint: &Endpoint, limit: Duration) -> Diagnosis {
    match endpoint {
        Endpoint::Ipc(path) => match UnixStream::connect(path) {
            Ok(stream) => {
                let set = stream
                    .set_read_timeout(Some(limit))
                    .and_then(|()| stream.set_write_timeout(Some(limit)));
                set.map_or_else(closed, |()| look(stream))
            }
            Err(error) => closed(error),
        },
        Endpoint::Tcp { host, port } => {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let addresses: Vec<SocketAddr> = match (bare, *port).to_socket_addrs() {
                Ok(addresses) => addresses.take(ADDRESSES_MAX).collect(),
                Err(error) => return Diagnosis::Unresolved(error.to_string()),
            };
            let mut last = Diagnosis::Unresolved("it has no address".into());
            for address in addresses {
                match TcpStream::connect_timeout(&address, limit) {
                    Ok(stream) => {
                        let set = stream
                            .set_read_timeout(Some(limit))
                            .and_then(|()| stream.set_write_timeout(Some(limit)));
                        return set.map_or_else(closed, |()| look(stream));
                    }
                    Err(error) => last = closed(error),
                }
            }
            last
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function of an error")]
fn closed(error: io::Error) -> Diagnosis {
    Diagnosis::Closed(match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            "no answer (a firewall, or a host that is down?)".into()
        }
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens there".into(),
        io::ErrorKind::NotFound => "there is no such socket".into(),
        _ => error.to_string(),
    })
}

/// Our side of the greeting: version 3.0, mechanism NULL, a client.
fn greeting() -> [u8; GREETING] {
    let mut bytes = [0; GREETING];
    bytes[0] = 0xff;
    bytes[8] = 1;
    bytes[9] = 0x7f;
    bytes[10] = 3;
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

fn look(mut stream: impl Read + Write) -> Diagnosis {
    // First only the signature and the version: a publisher that is shown a
    // mechanism that it does not want hangs up before it says its own.
    let greeting = greeting();
    let (first, rest) = greeting.split_at(11);
    if stream.write_all(first).is_err() {
        return Diagnosis::HungUp;
    }
    let (heard, ended) = read_up_to(&mut stream, GREETING);
    if heard.is_empty() {
        return if ended { Diagnosis::HungUp } else { Diagnosis::Silent };
    }
    let signed = heard[0] == 0xff && heard.get(9).is_none_or(|byte| byte & 1 == 1);
    if !signed {
        return Diagnosis::Foreign(recognise(&heard));
    }
    let Some(mechanism) = heard.get(12..32) else {
        return Diagnosis::Zmtp { mechanism: String::new(), socket: None };
    };
    let mechanism = word(mechanism);
    let ready = (mechanism == "NULL" && stream.write_all(rest).is_ok())
        .then(|| read_up_to(&mut stream, READY_MAX).0);
    Diagnosis::Zmtp { mechanism, socket: ready.and_then(|ready| socket_type(&ready)) }
}

/// What came until `most` bytes, the end, or silence; and whether it was the end.
fn read_up_to(stream: &mut impl Read, most: usize) -> (Vec<u8>, bool) {
    let mut heard = Vec::new();
    let mut bytes = [0; READY_MAX];
    while heard.len() < most {
        let room = (most - heard.len()).min(bytes.len());
        match stream.read(&mut bytes[..room]) {
            Ok(0) => return (heard, true),
            Ok(length) => heard.extend_from_slice(&bytes[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let silence =
                    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                return (heard, !silence);
            }
        }
        // A READY command says its own length.
        if most == READY_MAX && heard.len() >= 2 && heard.len() >= 2 + usize::from(heard[1]) {
            break;
        }
    }
    (heard, false)
}

/// The printable beginning of a padded name.
fn word(padded: &[u8]) -> String {
    padded.iter().take_while(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect()
}

/// The property Socket-Type of a READY command: flags, length, name, then
/// properties, each with a length of one byte before its name and of four
/// before its value.
fn socket_type(frame: &[u8]) -> Option<String> {
    let mut rest = frame.get(2..)?.strip_prefix(b"\x05READY")?;
    loop {
        let (name, after) = rest.split_at_checked(1 + usize::from(*rest.first()?))?;
        let length = after.first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let value = after.get(4..)?.get(..length)?;
        if name[1..].eq_ignore_ascii_case(b"Socket-Type") {
            return Some(word(value));
        }
        rest = after.get(4 + length..)?;
    }
}

/// Only the protocol's name: what a service says may be private.
fn recognise(heard: &[u8]) -> &'static str {
    for (beginning, name) in [
        (&b"HTTP/"[..], "an HTTP server"),
        (b"SSH-", "an SSH server"),
        (b"220", "a mail or FTP server"),
        (b"\x15\x03", "a TLS server"),
        (b"-ERR", "a Redis server"),
    ] {
        if heard.starts_with(beginning) {
            return name;
        }
    }
    "another protocol"
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(why) => write!(f, "its name cannot be resolved: {why}"),
            Self::Closed(why) => f.write_str(why),
            Self::Silent => {
                f.write_str("TCP open, no ZMTP greeting: not a ZeroMQ publisher (an HTTP server?)")
            }
            Self::HungUp => f.write_str(
                "TCP open, closed again without a ZMTP greeting \
                 (a port forwarder with nothing behind it?)",
            ),
            Self::Foreign(what) => {
                write!(f, "TCP open, no ZMTP greeting: not a ZeroMQ publisher but {what}")
            }
            Self::Zmtp { mechanism, socket } => {
                f.write_str("ZMTP greeting")?;
                if !mechanism.is_empty() {
                    write!(f, ", mechanism {mechanism}")?;
                }
                match socket {
                    Some(socket) => write!(f, ", {socket} socket"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that says `first` and hangs up, or stays silent for `None`.
    fn against(first: Option<&'static [u8]>) -> Diagnosis {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; GREETING];
            let _ = stream.read_exact(&mut bytes[..11]);
            match first {
                Some(first) => stream.write_all(first).unwrap(),
                // Until the other side gives up.
                None => drop(stream.read(&mut bytes)),
            }
        });
        let endpoint = Endpoint::Tcp { host: "127.0.0.1".into(), port };
        let found = diagnose(&endpoint, Duration::from_millis(200));
        server.join().unwrap();
        found
    }

    #[test]
    fn what_answers_is_recognised() {
        assert_eq!(against(None), Diagnosis::Silent);
        assert_eq!(against(Some(b"")), Diagnosis::HungUp);
        assert_eq!(against(Some(b"HTTP/1.1 400 Bad")), Diagnosis::Foreign("an HTTP server"));
        assert_eq!(against(Some(b"SSH-2.0-x\r\n")), Diagnosis::Foreign("an SSH server"));
        assert_eq!(against(Some(b"\x00")), Diagnosis::Foreign("another protocol"));
        let short = Diagnosis::Zmtp { mechanism: String::new(), socket: None };
        assert_eq!(against(Some(b"\xff\0\0\0\0\0\0\0\x01\x7f")), short);
    }

    #[test]
    fn nothing_there_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let limit = Duration::from_millis(200);
        let refused = diagnose(&Endpoint::Tcp { host: "127.0.0.1".into(), port }, limit);
        assert!(refused.to_string().contains("nothing listens there"), "{refused}");
        let nowhere = Endpoint::Tcp { host: "no-such-host.invalid".into(), port };
        assert!(matches!(diagnose(&nowhere, limit), Diagnosis::Unresolved(_)));
        let missing = diagnose(&Endpoint::Ipc("/no/such/socket".into()), limit);
        assert!(missing.to_string().contains("no such socket"), "{missing}");
    }

    #[test]
    fn garbage_after_a_greeting_is_no_socket_type() {
        let ready = b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x03PUB";
        assert_eq!(socket_type(ready), Some("PUB".into()));
        for end in 0..ready.len() {
            assert_eq!(socket_type(&ready[..end]), None);
        }
        assert_eq!(socket_type(b"\x04\xff\x05READY\xff\xff\xff\xff\xff\xff"), None);
    }
}
