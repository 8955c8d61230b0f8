//! Logging: one line an event, to stderr, filtered by `UNDERSTUDY_LOG`.
//!
//! Under systemd the journal stamps every line and says who wrote it, so ours
//! carry neither. Secrets never enter an event: that is each caller's duty.

use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{self, Writer},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// The environment variable with the filter, e.g. `debug` or `info,certs=trace`.
pub const FILTER_VARIABLE: &str = "UNDERSTUDY_LOG";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error(
        "{FILTER_VARIABLE}=`{given}` is not a log filter: {reason}; use for example `debug` or `info,certs=trace`"
    )]
    Filter {
        /// The variable's value.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A second call in one process.
    #[error("logging is already set up in this process: {reason}")]
    Twice {
        /// The library's words.
        reason: String,
    },
}

/// Sets logging up for the whole process, and has panics logged like any error.
/// `quiet` holds directives for libraries that talk too much, e.g.
/// `openraft=error`; the variable can say otherwise by naming them.
///
/// # Errors
/// [`TelemetryError`]: a filter that cannot be read, or a second call.
pub fn init(program: &'static str, json: bool, quiet: &str) -> Result<(), TelemetryError> {
    let filter = filter(std::env::var(FILTER_VARIABLE).ok(), quiet)?;
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    let subscriber = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let twice = |error: tracing_subscriber::util::TryInitError| TelemetryError::Twice {
        reason: error.to_string(),
    };
    if json {
        // Readers of JSON want the time also where the journal keeps its own.
        let form = Json { program, inner: format::format().json().flatten_event(true) };
        let layer = layer.json().event_format(form);
        subscriber.with(layer).try_init().map_err(twice)?;
    } else if under_systemd {
        let form = Named { program: None, inner: format::format().without_time().with_ansi(false) };
        subscriber.with(layer.event_format(form)).try_init().map_err(twice)?;
    } else {
        let form = Named { program: Some(program), inner: format::format().with_ansi(false) };
        subscriber.with(layer.event_format(form)).try_init().map_err(twice)?;
    }
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let words = panic.payload_as_str().unwrap_or("no words");
        tracing::error!(at, "panic: {words}");
    }));
    Ok(())
}

/// `info` when the variable is absent or empty.
fn filter(given: Option<String>, quiet: &str) -> Result<EnvFilter, TelemetryError> {
    let given = given.filter(|text| !text.trim().is_empty()).unwrap_or_else(|| "info".into());
    let whole = if quiet.is_empty() { given.clone() } else { format!("{quiet},{given}") };
    EnvFilter::try_new(&whole)
        .map_err(|error| TelemetryError::Filter { given, reason: error.to_string() })
}

/// A line that begins with the program's name, so that several programs'
/// lines on one terminal can be told apart.
struct Named<F> {
    program: Option<&'static str>,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for Named<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if let Some(program) = self.program {
            write!(writer, "{program}: ")?;
        }
        self.inner.format_event(context, writer, event)
    }
}

/// A JSON object whose first member is the program's name.
struct Json<F> {
    program: &'static str,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for Json<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut object = String::new();
        self.inner.format_event(context, Writer::new(&mut object), event)?;
        let members = object.strip_prefix('{').unwrap_or(&object);
        write!(writer, "{{\"program\":\"{}\",{members}", self.program)
    }
}

#[cfg(test)]
mod tests;
