//! A receiver of notifications: a small HTTP server on loopback that writes
//! every body that came to a file, one a line.
//!
//! Just enough HTTP/1.1 for one client that sends a POST with a length.

use crate::{process, programs::Programs, wait};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// The longest body taken; a notification has a few hundred bytes.
const BODY_MAX: usize = 64 * 1024;
/// How long a sender may take with its request.
const PATIENCE: Duration = Duration::from_secs(5);

/// A receiver on a thread of its own, which ends with the process.
#[derive(Debug)]
pub struct Webhook {
    file: PathBuf,
}

impl Webhook {
    /// Listens on `port` of loopback and writes what it accepts to `file`.
    ///
    /// # Errors
    /// When the port is taken or the thread cannot be started.
    pub fn start(port: u16, file: &Path) -> Result<Self> {
        let listener = listen(port)?;
        let sink = file.to_path_buf();
        thread::Builder::new()
            .name("webhook".into())
            .spawn(move || accept(&listener, &sink))
            .context("could not start the webhook's thread")?;
        Ok(Self { file: file.to_path_buf() })
    }

    /// One that outlives us: the demo's own program in its other role, marked
    /// as belonging to `folder`.
    ///
    /// # Errors
    /// When it cannot be started or does not listen.
    pub fn start_elsewhere(
        programs: &Programs,
        folder: &Path,
        port: u16,
        file: &Path,
    ) -> Result<Self> {
        Command::new(programs.path("understudy-demo"))
            .arg("--serve-webhook")
            .arg(port.to_string())
            .arg("--accepted")
            .arg(file)
            .env(process::MARK, folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("could not start the receiver of notifications")?;
        wait::until("the receiver of notifications", PATIENCE, || {
            TcpStream::connect(("127.0.0.1", port)).context("not listening yet")
        })?;
        Ok(Self { file: file.to_path_buf() })
    }

    /// Every body that came, in order.
    ///
    /// # Errors
    /// When the file cannot be read or holds other than JSON.
    pub fn offered(&self) -> Result<Vec<Value>> {
        read_lines(&self.file)
    }

    /// The notifications accepted: those that came a second time under the
    /// delivery id of an earlier one are dropped, as the product asks of receivers.
    ///
    /// # Errors
    /// When the file cannot be read or holds other than JSON.
    pub fn accepted(&self) -> Result<Vec<Value>> {
        let mut accepted: Vec<Value> = Vec::new();
        for body in self.offered()? {
            if !accepted.iter().any(|known| known["delivery"] == body["delivery"]) {
                accepted.push(body);
            }
        }
        Ok(accepted)
    }
}

/// Serves on `port` until the process ends.
///
/// # Errors
/// When the port is taken.
pub fn serve(port: u16, file: &Path) -> Result<()> {
    accept(&listen(port)?, file);
    Ok(())
}

/// The JSON values in `file`, one a line; none when it is not there. A last line
/// that is still being written is not there yet.
///
/// # Errors
/// When the file cannot be read or holds other than JSON.
pub fn read_lines(file: &Path) -> Result<Vec<Value>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(why) => return Err(why).with_context(|| format!("could not read {}", file.display())),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| {
            serde_json::from_str(line)
                .with_context(|| format!("{}: not JSON: {line:?}", file.display()))
        })
        .collect()
}

fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
        .with_context(|| format!("the webhook could not listen on 127.0.0.1:{port}"))
}

fn accept(listener: &TcpListener, file: &Path) {
    for stream in listener.incoming().flatten() {
        // A sender that breaks off gets no 200, and so will send again.
        let _ = answer(&stream, file);
    }
}

fn answer(mut stream: &TcpStream, file: &Path) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            bail!("the request ended within its head");
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    if length > BODY_MAX {
        bail!("a body of {length} bytes");
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body)?;
    // Written before the answer: what was answered with 200 is in the file.
    let mut sink = OpenOptions::new().create(true).append(true).open(file)?;
    sink.write_all(format!("{body}\n").as_bytes())?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Ports;
    use std::time::Duration;

    #[test]
    fn a_line_that_is_being_written_is_not_there_yet() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lines");
        assert!(read_lines(&file).unwrap().is_empty());
        for (text, count) in
            [("", 0), ("{\"a\":", 0), ("1\n", 1), ("1\n{\"a\": \"b", 1), ("1\n2\n", 2)]
        {
            fs::write(&file, text).unwrap();
            assert_eq!(read_lines(&file).unwrap().len(), count, "{text:?}");
        }
        fs::write(&file, "{\"a\":\n").unwrap();
        assert!(read_lines(&file).is_err(), "a whole line must be JSON");
    }

    #[test]
    fn a_repeated_delivery_is_accepted_once() {
        let folder = tempfile::tempdir().unwrap();
        let port = Ports::take().unwrap().one().unwrap();
        let webhook = Webhook::start(port, &folder.path().join("accepted")).unwrap();
        for delivery in ["1", "2", "1"] {
            let body = format!("{{\"delivery\":\"{delivery}\"}}");
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        assert_eq!(webhook.offered().unwrap().len(), 3);
        assert_eq!(webhook.accepted().unwrap().len(), 2);
    }
}
