//! The event stream for programs: one JSON object on each line, as `docs/events.md` describes it.

use std::io::{self, Write};

use crate::event::Event;

/// Writes events as newline-delimited JSON, each line flushed, so that a reader sees it at once.
pub struct EventWriter<W: Write> {
    to: W,
}

impl<W: Write> EventWriter<W> {
    pub fn new(to: W) -> Self {
        Self { to }
    }

    /// Writes one event. An error means that nobody reads any more.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_string(event)?;
        line.push('\n');
        self.to.write_all(line.as_bytes())?;
        self.to.flush()
    }

    /// Writes a line that is an event already, as the ledger stores it.
    pub fn write_stored(&mut self, line: &str) -> io::Result<()> {
        self.to.write_all(line.as_bytes())?;
        self.to.write_all(b"\n")?;
        self.to.flush()
    }
}
