//! What a report is written on: how wide, whether in colour, which characters, whose time zone.

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};

use super::grid;
use crate::model::{Redactor, clean, clean_line};

/// What a report is written on.
#[derive(Debug, Clone)]
pub struct Page {
    /// Columns. Tables wrap to it.
    pub width: usize,
    pub colour: bool,
    /// Lines and arrows beyond ASCII.
    pub unicode: bool,
    /// For the times of day that people read.
    pub zone: TimeZone,
    /// When it is read. The end of what is told, where that is not known.
    pub now: Option<Timestamp>,
}

/// How a word is meant; shown as a colour where there is colour, and never by that alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Odd,
    Bad,
    Quiet,
    Strong,
}

/// Longest cause in a cell, in characters. All of it stands below the table and in `history show`.
const LONGEST_CELL: usize = 160;

impl Page {
    /// A page without colour, in UTC.
    pub fn plain(width: usize) -> Self {
        Self { width, colour: false, unicode: true, zone: TimeZone::UTC, now: None }
    }

    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
            Tone::Odd => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
            Tone::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())).bold(),
            Tone::Quiet => Style::new().dimmed(),
            Tone::Strong => Style::new().bold(),
        };
        if self.colour && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    pub(super) fn arrow(&self) -> &'static str {
        if self.unicode { "→" } else { "->" }
    }

    pub(super) fn dots(&self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// Draws a table no wider than the page. Columns in which nothing stands are left out.
    pub(super) fn table(&self, head: &[&str], rows: &[Vec<String>]) -> String {
        grid::draw(self, head, rows, None)
    }

    /// Draws a table whose last column moves below its row where it would become too narrow to read.
    pub(super) fn table_with_notes(&self, head: &[&str], rows: &[Vec<String>]) -> String {
        grid::draw(self, head, rows, Some(head.len() - 1))
    }

    /// Wraps a sentence to the page, its own indentation kept; further lines are indented by `indent`.
    pub(super) fn wrap(&self, text: &str, indent: usize) -> String {
        let lead = text.len() - text.trim_start_matches(' ').len();
        let room = self.width.max(indent + 20);
        let mut wrapped = " ".repeat(lead);
        let (mut column, mut at_start) = (lead, true);
        for word in text[lead..].split(' ') {
            let length = text_width(word);
            if !at_start && column + 1 + length > room {
                wrapped.push('\n');
                wrapped.push_str(&" ".repeat(indent));
                column = indent;
            } else if !at_start {
                wrapped.push(' ');
                column += 1;
            }
            wrapped.push_str(word);
            column += length;
            at_start = false;
        }
        wrapped.push('\n');
        wrapped
    }

    /// Returns the time of day where the reader is.
    pub(super) fn clock(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string()
    }

    /// Returns date and time where the reader is.
    pub(super) fn date(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
    }
}

/// Columns that a text takes on a terminal; colours take none.
pub(super) fn text_width(text: &str) -> usize {
    tabled::grid::util::string::get_text_width(text)
}

/// Makes text from a host fit for one cell: cleaned, secrets masked, on one line, bounded.
pub(super) fn cell(text: &str) -> String {
    line(text, LONGEST_CELL)
}

/// Makes text from a host fit for one line of at most `limit` characters.
pub(super) fn line(text: &str, limit: usize) -> String {
    clean_line(Redactor::mask(text).as_bytes(), limit)
}

/// Makes text from a host fit to be printed, line breaks kept.
pub(super) fn block(text: &str) -> String {
    clean(Redactor::mask(text).as_bytes())
}
