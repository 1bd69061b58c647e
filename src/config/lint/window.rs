//! Windows: days, dates, times and zones that are none.

use super::Findings;
use crate::config::{
    documents::{OneOrMany, Window},
    source::{KeyPath, Source},
    suggest,
};

/// Judges one window, found at `at`.
pub(super) fn window(source: &Source, at: &KeyPath, window: &Window, found: &mut Findings<'_>) {
    for (key, wrong) in [("from", window.opens().err()), ("to", window.closes().err())] {
        if let Some(text) = wrong {
            let message = format!("`{key}` is not a time of day: `{}`", text.escape_debug());
            found.error(source.place(&at.key(key)), message, Some("write `01:00` or `23:30`".to_owned()));
        }
    }
    if let Some(days) = &window.days
        && let Err(odd) = window.parsed_days()
    {
        let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let hint = suggest::hint(&odd, names);
        let message = format!("`{}` is no day of the week", odd.escape_debug());
        let start = days.find(odd.as_str()).unwrap_or(0);
        found.error(source.inner_place(&at.key("days"), &(start..start + odd.len())), message, hint);
    }
    for (index, text) in window.dates.iter().flat_map(|OneOrMany(dates)| dates).enumerate() {
        let one = Window { dates: Some(OneOrMany(vec![text.clone()])), ..Window::default() };
        if let Err(odd) = one.parsed_dates() {
            let list = at.key("dates");
            let at = if source.has(&list.index(index)) { list.index(index) } else { list };
            let (message, hint) = if odd.contains("..") {
                (format!("`{}` ends before it begins", odd.escape_debug()), "the earlier date stands first")
            } else {
                let message = format!("`{}` is no date", odd.escape_debug());
                (message, "write `2026-12-24`, or `2026-12-20..2027-01-02` for all days from one to the other")
            };
            found.error(source.place(&at), message, Some(hint.to_owned()));
        }
    }
    if jiff::tz::TimeZone::get(&window.zone).is_err() {
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let hint = suggest::nearest(&window.zone, names.iter().map(String::as_str)).map_or_else(
            || "write a zone such as `Europe/Berlin` or `UTC`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        let message = format!("there is no time zone `{}`", window.zone.escape_debug());
        found.error(source.place(&at.key("zone")), message, Some(hint));
    }
}
