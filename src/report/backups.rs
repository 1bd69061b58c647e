//! The tables of the copies that hosts have of their data.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    page::{Page, Tone, cell},
    words,
};
use crate::config::documents::Loss;

/// A piece of data on one host, and its copies.
#[derive(Debug, Clone)]
pub struct DataRow {
    pub host: String,
    pub data: String,
    pub loss: Loss,
    pub state: CopyState,
    pub newest: Option<CopyRow>,
    /// Proven copies.
    pub copies: usize,
}

/// One proven copy.
#[derive(Debug, Clone)]
pub struct CopyRow {
    pub file: String,
    pub made: Timestamp,
    pub age: Duration,
    pub size: Option<u64>,
    pub rows: Option<String>,
    pub head: Option<String>,
    pub proof: String,
}

/// How it stands with the copies of a piece of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyState {
    Fresh,
    /// The newest proven copy is older than this.
    Overdue(Duration),
    /// There is no proven copy.
    Missing,
    /// Nothing makes copies of it.
    NotSaved,
    /// The host did not tell, and why.
    Unread(String),
}

impl CopyState {
    /// Whether it is as it must be, for data whose loss costs this.
    pub fn is_good(&self, loss: Loss) -> bool {
        match self {
            Self::Fresh => true,
            Self::Overdue(_) => loss != Loss::Critical,
            Self::NotSaved | Self::Missing => !loss.is_needed(),
            Self::Unread(_) => false,
        }
    }

    /// Whether something can be restored.
    pub fn is_restorable(&self) -> bool {
        matches!(self, Self::Fresh | Self::Overdue(_))
    }

    pub fn shown(&self) -> String {
        match self {
            Self::Fresh => "ok".to_owned(),
            Self::Overdue(limit) => format!("overdue, after {}", words::duration(*limit)),
            Self::Missing => "no proven copy".to_owned(),
            Self::NotSaved => "not saved".to_owned(),
            Self::Unread(why) => format!("not known: {why}"),
        }
    }
}

/// What a host could be rebuilt from, and when that was last tried.
#[derive(Debug, Clone)]
pub struct RebuildRow {
    pub host: String,
    /// What there is no copy of, although nothing can be rebuilt without.
    pub gaps: Vec<String>,
    /// When it was last tried, how, and with what end.
    pub drill: Option<DrillRow>,
}

/// The last drill of a host.
#[derive(Debug, Clone)]
pub struct DrillRow {
    pub age: Duration,
    pub run: String,
    pub passed: bool,
}

/// How long a drill proves anything: a quarter of a year.
pub const DRILL_EVERY: Duration = Duration::from_hours(92 * 24);

impl RebuildRow {
    fn shown(&self, page: &Page) -> String {
        let set = if self.gaps.is_empty() {
            "has a copy of everything it takes to rebuild it".to_owned()
        } else {
            page.paint(Tone::Bad, &format!("cannot be rebuilt: no copy of {}", words::and(&self.gaps)))
        };
        let drill = match &self.drill {
            None => page.paint(Tone::Odd, "never drilled, so unproven"),
            Some(drill) if !drill.passed => page.paint(
                Tone::Bad,
                &format!("its last drill failed, {} ago (run {})", words::duration(drill.age), drill.run),
            ),
            Some(drill) if drill.age > DRILL_EVERY => page.paint(
                Tone::Odd,
                &format!("drilled {} ago, which is too long (run {})", words::duration(drill.age), drill.run),
            ),
            Some(drill) => format!("drilled {} ago (run {})", words::duration(drill.age), drill.run),
        };
        format!("{}: {set}; {drill}\n", self.host)
    }
}

/// Renders the newest copy of each piece of data, and what could be rebuilt.
pub fn backups(rows: &[DataRow], rebuilds: &[RebuildRow], page: &Page) -> String {
    let head = ["host", "data", "loss", "newest copy", "age", "size", "rows", "copies", "state"];
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let newest = row.newest.as_ref();
            let state = match &row.state {
                CopyState::Fresh => row.state.shown(),
                _ if row.state.is_good(row.loss) => page.paint(Tone::Odd, &cell(&row.state.shown())),
                _ => page.paint(Tone::Bad, &cell(&row.state.shown())),
            };
            vec![
                row.host.clone(),
                cell(&row.data),
                row.loss.as_str().to_owned(),
                newest.map_or_else(String::new, |copy| format!("{:.0}", copy.made)),
                newest.map_or_else(String::new, |copy| words::duration(copy.age)),
                newest.and_then(|copy| copy.size).map_or_else(String::new, words::bytes),
                newest.and_then(|copy| copy.rows.as_deref()).map_or_else(String::new, cell),
                row.copies.to_string(),
                state,
            ]
        })
        .collect();
    let mut text = page.table(&head, &rows);
    for rebuild in rebuilds {
        text.push_str(&rebuild.shown(page));
    }
    text
}

/// Renders every copy that can be restored: what `from` and `until` of a restore choose from.
pub fn restore_points(points: &[(String, String, CopyRow)], page: &Page) -> String {
    let head = ["host", "data", "made", "age", "size", "rows", "head", "copy", "proof"];
    let rows: Vec<Vec<String>> = points
        .iter()
        .map(|(host, data, copy)| {
            vec![
                host.clone(),
                cell(data),
                format!("{:.0}", copy.made),
                words::duration(copy.age),
                copy.size.map_or_else(String::new, words::bytes),
                copy.rows.as_deref().map_or_else(String::new, cell),
                copy.head.as_deref().map_or_else(String::new, cell),
                cell(&copy.file),
                cell(&copy.proof),
            ]
        })
        .collect();
    page.table(&head, &rows)
}
