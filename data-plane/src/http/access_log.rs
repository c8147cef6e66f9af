//! One access log: which entries, how, and where to.

use crate::codec::RequestHead;
use crate::config::access_log::AccessLogConfig;
use crate::http::entry;
use crate::http::exchange::Exchange;
use crate::http::log_filter::{Asked, LogFilter};
use crate::http::worker::Worker;
use crate::telemetry::access_log::{Entry, Format, LogType, Logs, Sink, Target};

/// An access log, ready to be written.
#[derive(Debug)]
pub struct AccessLog {
    filter: Option<LogFilter>,
    format: Format,
    sink: Sink,
}

impl AccessLog {
    /// An access log whose file can be opened.
    #[must_use]
    pub fn open(config: &AccessLogConfig, logs: &Logs) -> Option<Self> {
        let format = match &config.format {
            None => Format::default_access_log(),
            Some(format) => Format::compile(format).ok()?,
        };
        match logs.sink(&Target::from(&config.sink)) {
            Ok(sink) => {
                Some(Self { filter: config.filter.as_ref().map(LogFilter::new), format, sink })
            }
            Err(error) => {
                tracing::error!(log = %config.name, %error, "an access log cannot be opened");
                None
            }
        }
    }

    /// Writes a line about a request, if its filter lets it.
    pub fn request(&self, ex: &Exchange, head: &RequestHead, log_type: LogType) {
        let entry = entry::of(ex, head, log_type);
        if self.filter.as_ref().is_none_or(|filter| filter.holds_for(ex, head, &entry)) {
            self.write(&ex.worker, &entry);
        }
    }

    /// Writes a line about a connection, if its filter lets it.
    pub fn connection(&self, worker: &Worker, entry: &Entry<'_>) {
        let holds = |filter: &LogFilter| {
            filter.holds(Asked {
                entry,
                request: None,
                runtime: &*worker.shared.runtime,
                random: &|| worker.random_u64(),
            })
        };
        if self.filter.as_ref().is_none_or(holds) {
            self.write(worker, entry);
        }
    }

    fn write(&self, worker: &Worker, entry: &Entry<'_>) {
        self.sink.line(worker.id, |out| self.format.write(entry, out));
    }
}
