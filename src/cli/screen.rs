//! Where output goes: results to standard output, everything else to standard error.

use std::io::{self, IsTerminal as _, Write as _};

use jiff::{Timestamp, tz::TimeZone};

use super::{ColourWhen, Global, OutputFormat, error::CliError};
use crate::report::Page;

/// What is known of the terminal, and the only way to print.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact about the terminal, not a state")]
pub(crate) struct Screen {
    pub(crate) colour: bool,
    pub(crate) colour_errors: bool,
    /// Standard error is a terminal, so live progress can be drawn.
    pub(crate) live: bool,
    /// Standard input is a terminal, so a person can be asked.
    pub(crate) can_ask: bool,
    /// Columns of the terminal; 100 where there is none.
    pub(crate) width: usize,
    /// Lines of the terminal that live progress may take.
    pub(crate) height: usize,
    pub(crate) quiet: bool,
    pub(crate) format: OutputFormat,
}

impl Screen {
    pub(crate) fn new(global: &Global) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let coloured = |terminal: bool| match global.color {
            ColourWhen::Auto => terminal && !no_colour,
            ColourWhen::Always => true,
            ColourWhen::Never => false,
        };
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        Self {
            colour: coloured(out),
            colour_errors: coloured(err),
            live: err && global.output == OutputFormat::Human && !global.quiet,
            can_ask: io::stdin().is_terminal() && err,
            width: columns.or_else(|| terminal_width().filter(|_| out)).unwrap_or(100).clamp(40, 240),
            height: terminal_size::terminal_size().map_or(24, |(_, height)| usize::from(height.0)),
            quiet: global.quiet,
            format: global.output,
        }
    }

    /// Prints to standard output. A reader that went away is no error: there is nobody left to tell.
    #[expect(clippy::unused_self, reason = "to hold the screen is to be allowed to print")]
    pub(crate) fn print(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        let printed = out
            .write_all(text.as_bytes())
            .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") });
        match printed.and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Print(error)),
            _ => Ok(()),
        }
    }

    /// Prints an event as one line of JSON.
    pub(crate) fn print_event(&self, event: &crate::event::Event) -> Result<(), CliError> {
        let mut line = Vec::new();
        crate::report::EventWriter::new(&mut line).write(event).map_err(CliError::Print)?;
        self.print(&String::from_utf8_lossy(&line))
    }

    /// What reports on standard output are written on.
    pub(crate) fn page(&self) -> Page {
        Page {
            width: self.width,
            colour: self.colour,
            unicode: is_unicode(),
            zone: TimeZone::system(),
            now: Some(Timestamp::now()),
        }
    }

    /// What is told on standard error is written on.
    pub(crate) fn page_for_errors(&self) -> Page {
        Page { colour: self.colour_errors, ..self.page() }
    }

    /// Prints to standard error, unless told to be quiet.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            self.tell(text);
        }
    }

    /// Prints to standard error. A terminal that went away must not end a run.
    #[expect(clippy::unused_self, reason = "to hold the screen is to be allowed to print")]
    pub(crate) fn tell(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = writeln!(err, "{}", text.trim_end_matches('\n'));
    }

    /// Prints an error with its causes and its hint.
    pub(crate) fn error(&self, error: &CliError) {
        if let CliError::Documents(diagnostics) = error {
            self.tell(&crate::report::diagnostics::render(diagnostics, self.colour_errors));
            self.tell(&format!("\n{error}"));
            return;
        }
        let (red, bold, plain) = if self.colour_errors { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        let mut text = format!("{red}error{plain}{bold}: {error}{plain}\n");
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            text.push_str(&format!("  cause: {error}\n"));
            cause = error.source();
        }
        if let CliError::Failed(failure) = error {
            for cause in &failure.causes {
                text.push_str(&format!("  cause: {cause}\n"));
            }
        }
        if let Some(hint) = error.hint() {
            text.push_str(&format!("\nhint: {hint}\n"));
        }
        self.tell(&text);
    }
}

/// Whether the locale can show more than ASCII. Without any word about it, it can.
fn is_unicode() -> bool {
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().filter_map(|name| std::env::var(name).ok()).find(|l| !l.is_empty());
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8") || locale.starts_with("c.")
    })
}

/// Asks the terminal for its width.
fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}
