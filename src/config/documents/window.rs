//! Windows: when a run may start on a host, and when it must not.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use jiff::civil::{Date, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::step::OneOrMany;

/// A time in which a run may start on a host, or must not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Window {
    /// Days of the week on which it opens, and ranges of them, in English and of three letters: `Mon-Thu`,
    /// `Sat,Sun`. Every day when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<String>,
    /// Dates on which it opens, and ranges of them: `2026-12-24`, `2026-12-20..2027-01-02`, the last one included.
    /// Any date when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dates: Option<OneOrMany<String>>,
    /// Local time it opens, `HH:MM`. `00:00` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Local time it closes, `HH:MM`; not after `from` it is on the next day. `24:00` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// IANA time zone: `Europe/Berlin`.
    pub zone: String,
    /// Whether a run may start then, or must not. `allow` when left out.
    #[serde(default, skip_serializing_if = "WindowKind::is_allow")]
    pub kind: WindowKind,
    /// Whether it binds `longshore prefetch`, too. `false` when left out: what is only fetched changes nothing that runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ahead: bool,
    /// Why, as the plan and the tables say it: `year-end freeze`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a window says of the time within it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WindowKind {
    /// A run may start, and outside of all such windows it may not.
    #[default]
    Allow,
    /// No run starts, whatever else allows it.
    Deny,
}

/// What becomes of a host whose turn comes outside its window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutsideWindow {
    /// It is not started; `longshore retry --not-started` brings it later.
    #[default]
    Leave,
    /// The run waits for its window.
    Wait,
}

impl WindowKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_allow(&self) -> bool {
        *self == Self::Allow
    }
}

/// A day of the week, as windows name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Window {
    /// Returns the days on which the window opens; the text that is no day when there is one.
    pub fn parsed_days(&self) -> Result<Vec<Day>, String> {
        let Some(days) = &self.days else { return Ok(Day::ALL.to_vec()) };
        let mut all = Vec::new();
        for part in days.split(',').map(str::trim) {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let (from, to) = (from.parse::<Day>()?, to.parse::<Day>()?);
            // `Fri-Mon` goes on over the end of the week.
            for step in 0..7 {
                let day = Day::ALL[(from as usize + step) % 7];
                if !all.contains(&day) {
                    all.push(day);
                }
                if day == to {
                    break;
                }
            }
        }
        Ok(all)
    }

    /// Returns the dates on which the window opens, none for any; the text that is no date when there is one.
    pub fn parsed_dates(&self) -> Result<Vec<RangeInclusive<Date>>, String> {
        let texts = self.dates.iter().flat_map(|dates| &dates.0);
        texts
            .map(|text| {
                let (from, to) = text.split_once("..").unwrap_or((text, text));
                let date = |text: &str| Date::strptime("%Y-%m-%d", text.trim()).map_err(|_| text.trim().to_owned());
                let (from, to) = (date(from)?, date(to)?);
                if from > to { Err(text.clone()) } else { Ok(from..=to) }
            })
            .collect()
    }

    /// Returns the time of day it opens; the text when that is none.
    pub fn opens(&self) -> Result<Time, String> {
        self.from.as_deref().map_or(Ok(Time::midnight()), time)
    }

    /// Returns the time of day it closes, `None` for the end of the day; the text when it is no time.
    pub fn closes(&self) -> Result<Option<Time>, String> {
        match self.to.as_deref() {
            None | Some("24:00") => Ok(None),
            Some(text) => time(text).map(Some),
        }
    }
}

fn time(text: &str) -> Result<Time, String> {
    Time::strptime("%H:%M", text).map_err(|_| text.to_owned())
}

/// As a person would say it: `Mon-Thu 01:00-04:00 Europe/Berlin`, `not 2026-12-20..2027-01-02 UTC`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == WindowKind::Deny {
            f.write_str("not ")?;
        }
        if let Some(days) = &self.days {
            write!(f, "{days} ")?;
        }
        if let Some(OneOrMany(dates)) = &self.dates {
            write!(f, "{} ", dates.join(", "))?;
        }
        if self.from.is_some() || self.to.is_some() {
            write!(f, "{}-{} ", self.from.as_deref().unwrap_or("00:00"), self.to.as_deref().unwrap_or("24:00"))?;
        } else if self.days.is_none() && self.dates.is_none() {
            f.write_str("at any time ")?;
        }
        f.write_str(&self.zone)?;
        self.reason.as_ref().map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}

impl Day {
    pub const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    /// Returns the day of the week that a date is.
    pub fn of(date: Date) -> Self {
        let index = date.weekday().to_monday_zero_offset();
        Self::ALL[usize::from(index.unsigned_abs())]
    }
}

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let found = names.iter().position(|name| text.eq_ignore_ascii_case(name));
        found.map(|index| Self::ALL[index]).ok_or_else(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn window(text: &str) -> Window {
        toml::from_str(&format!("zone = \"UTC\"\n{text}")).expect("a window")
    }

    #[test]
    fn days_are_names_and_ranges_that_may_pass_the_weekend() {
        let days = |text: &str| window(&format!("days = \"{text}\"")).parsed_days();
        assert_eq!(days("Mon-Wed, sat"), Ok(vec![Day::Mon, Day::Tue, Day::Wed, Day::Sat]));
        assert_eq!(days("Sat-Mon"), Ok(vec![Day::Sat, Day::Sun, Day::Mon]));
        assert_eq!(days("Mon-Thy"), Err("Thy".to_owned()));
    }

    #[test]
    fn dates_are_single_ones_and_ranges_with_both_their_ends() {
        let dates = |text: &str| window(&format!("dates = {text}")).parsed_dates();
        assert_eq!(dates("\"2026-12-24\""), Ok(vec![date(2026, 12, 24)..=date(2026, 12, 24)]));
        let year_end = date(2026, 12, 20)..=date(2027, 1, 2);
        assert_eq!(dates("[\"2026-12-20..2027-01-02\"]"), Ok(vec![year_end]));
        assert_eq!(dates("\"2027-01-02..2026-12-20\""), Err("2027-01-02..2026-12-20".to_owned()));
        assert_eq!(dates("\"2026-02-30\""), Err("2026-02-30".to_owned()));
    }

    #[test]
    fn a_window_reads_as_a_person_would_say_it() {
        let said = |text: &str| window(text).to_string();
        assert_eq!(said("days = \"Mon-Thu\"\nfrom = \"01:00\"\nto = \"04:00\""), "Mon-Thu 01:00-04:00 UTC");
        assert_eq!(
            said("dates = \"2026-12-20..2027-01-02\"\nkind = \"deny\"\nreason = \"year-end freeze\""),
            "not 2026-12-20..2027-01-02 UTC (year-end freeze)"
        );
    }
}
