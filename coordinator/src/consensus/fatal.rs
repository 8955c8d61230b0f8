//! The end of this process, from whichever corner it is noticed first.
//!
//! A failed durable write ends the process: what was promised to the others
//! can no longer be kept here. The first cause is kept; later ones follow from it.

use super::journal::JournalError;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::watch;

/// Why consensus can no longer work in this process.
#[derive(Debug, thiserror::Error)]
pub enum FatalError {
    /// The journal failed.
    #[error("the journal failed")]
    Journal(#[source] JournalError),
    /// A task of the consensus ended by itself.
    #[error(
        "the consensus ended by itself ({0}), which is a defect of this program; \
         start it again, and report this line"
    )]
    Ended(String),
    /// Nobody takes the committed records any more.
    #[error("the driver no longer takes committed records, so this process cannot go on")]
    DriverGone,
}

/// An error and its sources, in one line.
pub(super) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Holds the first fatal error; shared by everything in here.
#[derive(Debug, Default)]
pub(super) struct Fatality {
    first: watch::Sender<Option<Arc<FatalError>>>,
    stopping: AtomicBool,
}

impl Fatality {
    /// Notes the error unless there is one, or this is an orderly shutdown.
    pub(super) fn report(&self, error: FatalError) {
        if self.stopping.load(Ordering::Acquire) {
            return;
        }
        self.first.send_if_modified(|first| {
            let news = first.is_none();
            if news {
                tracing::error!("consensus must end: {}", in_full(&error));
                *first = Some(Arc::new(error));
            }
            news
        });
    }

    /// From now on an ending is wanted.
    pub(super) fn begin_shutdown(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The error, if there is one.
    pub(super) fn get(&self) -> Option<Arc<FatalError>> {
        self.first.borrow().clone()
    }

    /// Waits for the error; for ever when all goes well.
    pub(super) async fn wait(&self) -> Arc<FatalError> {
        let mut first = self.first.subscribe();
        loop {
            if let Some(error) = first.borrow_and_update().clone() {
                return error;
            }
            if first.changed().await.is_err() {
                // Cannot be: `self` holds the sender while it is borrowed here.
                std::future::pending::<()>().await;
            }
        }
    }
}
