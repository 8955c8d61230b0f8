//! The wish to end, known to every task at once.
//!
//! A wish can come before anybody waits for it and is never taken back. What
//! ending means (in which order things close) is each program's own matter.

use crate::notify_systemd;
use std::io;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// A handle; clones share the wish.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// Not requested yet.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Ask everybody to end.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is asked for, at once if it was before. May be
    /// dropped and called again (`select!`).
    pub async fn requested(&self) {
        let mut asked = self.0.subscribe();
        // The sender lives in `self`, so the channel cannot close here.
        let _ = asked.wait_for(|asked| *asked).await;
    }
}

/// Watches SIGTERM and SIGINT: the first one asks everybody to end and tells
/// systemd so, a second one ends the process at once with 128 + the signal's number.
///
/// # Errors
/// The signal handlers could not be installed (only when called outside of a
/// Tokio runtime with its drivers on).
pub fn on_signals() -> io::Result<Shutdown> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = Shutdown::new();
    let asked = shutdown.clone();
    tokio::spawn(async move {
        let name = next(&mut term, &mut interrupt).await.name();
        tracing::info!(signal = name, "asked to end; a second signal ends at once");
        notify_systemd::stopping();
        asked.trigger();
        let second = next(&mut term, &mut interrupt).await;
        tracing::warn!(signal = second.name(), "asked a second time; ending at once");
        std::process::exit(second.exit_code());
    });
    Ok(shutdown)
}

#[derive(Clone, Copy)]
enum Asked {
    Term,
    Interrupt,
}

impl Asked {
    const fn name(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }

    /// As a shell reports a process that a signal ended: 128 + 15, 128 + 2.
    const fn exit_code(self) -> i32 {
        match self {
            Self::Term => 143,
            Self::Interrupt => 130,
        }
    }
}

async fn next(term: &mut Signal, interrupt: &mut Signal) -> Asked {
    tokio::select! {
        _ = term.recv() => Asked::Term,
        _ = interrupt.recv() => Asked::Interrupt,
    }
}

#[cfg(test)]
mod tests;
