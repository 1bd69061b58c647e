//! Whether a host may be started now, by its windows, and when it may be otherwise.
//!
//! Pure: the time is handed in. A host is started only where all it may need lies in time that is allowed; once
//! started it is never cut short. Where the clocks change, a time that comes twice is read so that less is allowed,
//! and one that does not come is the moment of the change.

use std::{ops::RangeInclusive, time::Duration};

use jiff::{
    Timestamp, ToSpan as _, Zoned,
    civil::{Date, Time},
    tz::{AmbiguousOffset, TimeZone},
};

use crate::config::documents::{Day, Window, WindowKind};
use crate::model::Span;

/// A host's windows, ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    kind: WindowKind,
    days: Vec<Day>,
    /// None: any.
    dates: Vec<RangeInclusive<Date>>,
    from: Time,
    /// `None`: the end of the day.
    to: Option<Time>,
    zone: TimeZone,
    reason: Option<String>,
}

/// What a schedule says of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The host may be started; `until` is when its time ends, `None` where that is not in sight.
    Open { until: Option<Timestamp> },
    /// It may not, and when it may; `opens` is `None` where that is not in sight.
    Closed { why: Closed, opens: Option<Zoned> },
}

/// Why a host may not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    Outside,
    /// A window denies it, for the reason its document gives.
    Denied {
        reason: Option<String>,
    },
    /// The window is open, and may close before the host is done, or back.
    TooLate {
        need: Span,
    },
}

/// A time that is free, from its first moment to the first after it.
type Free = (Timestamp, Timestamp);

/// Days looked ahead at first: where windows are of days of the week, the next one is among them.
const NEAR: i64 = 9;
/// Days looked ahead where that finds nothing: over a year, so that any date of the year comes once.
const FAR: i64 = 400;

impl Schedule {
    /// Reads the windows of a host. The error names the value that cannot be understood.
    pub fn new(windows: &[Window]) -> Result<Self, String> {
        let rule = |window: &Window| {
            let wrong = |what: &str, text: String| format!("`{text}` is no {what}, in the window `{window}`");
            Ok(Rule {
                kind: window.kind,
                days: window.parsed_days().map_err(|text| wrong("day of the week", text))?,
                dates: window.parsed_dates().map_err(|text| wrong("date", text))?,
                from: window.opens().map_err(|text| wrong("time of day", text))?,
                to: window.closes().map_err(|text| wrong("time of day", text))?,
                zone: TimeZone::get(&window.zone).map_err(|_| wrong("time zone", window.zone.clone()))?,
                reason: window.reason.clone(),
            })
        };
        Ok(Self { rules: windows.iter().map(rule).collect::<Result<_, String>>()? })
    }

    /// Whether a host that may need as long as `need` may be started at `now`.
    pub fn ask(&self, now: Timestamp, need: Span) -> Answer {
        if self.rules.is_empty() {
            return Answer::Open { until: None };
        }
        let mut horizon = NEAR;
        loop {
            let end = after(now, horizon);
            let free = self.free(now, end);
            // What the end of the look cuts off may be longer, and is not counted on.
            let fits = |(from, to): &&Free| length(*from, *to) >= need.0;
            let here = free.iter().find(|(from, _)| *from <= now);
            if let Some((_, until)) = here
                && length(now, *until) >= need.0
            {
                return Answer::Open { until: (*until != end).then_some(*until) };
            }
            let next = free.iter().filter(|(from, _)| *from > now).find(fits).map(|(from, _)| *from);
            if next.is_none() && horizon < FAR {
                horizon = FAR;
                continue;
            }
            let zone = self.zone();
            let why = match here {
                Some(_) => Closed::TooLate { need },
                None => self.denied_at(now),
            };
            return Answer::Closed { why, opens: next.map(|next| next.to_zoned(zone)) };
        }
    }

    /// The longest time that is free at a stretch in the year after `now`; `None` where it has no end.
    pub fn longest(&self, now: Timestamp) -> Option<Duration> {
        let end = after(now, FAR);
        let free = self.free(now, end);
        if self.rules.is_empty() || free.iter().any(|(_, to)| *to == end) {
            return None;
        }
        Some(free.into_iter().map(|(from, to)| length(from, to)).max().unwrap_or_default())
    }

    /// The zone in which times are said: that of the first window that allows.
    fn zone(&self) -> TimeZone {
        let allows = self.rules.iter().find(|rule| rule.kind == WindowKind::Allow);
        allows.or(self.rules.first()).map_or(TimeZone::UTC, |rule| rule.zone.clone())
    }

    fn denied_at(&self, now: Timestamp) -> Closed {
        let denies = self.rules.iter().filter(|rule| rule.kind == WindowKind::Deny);
        let holds = |rule: &&Rule| rule.times(now, now).iter().any(|(from, to)| *from <= now && now < *to);
        match denies.into_iter().find(holds) {
            Some(rule) => Closed::Denied { reason: rule.reason.clone() },
            None => Closed::Outside,
        }
    }

    /// What is free between `from` and `to`, in order, without gaps that are none.
    fn free(&self, from: Timestamp, to: Timestamp) -> Vec<Free> {
        let of = |kind: WindowKind| {
            let rules = self.rules.iter().filter(move |rule| rule.kind == kind);
            let times = rules.flat_map(|rule| rule.times(from, to));
            let within = times.map(|(start, end)| (start.max(from), end.min(to)));
            joined(within.filter(|(start, end)| start < end).collect())
        };
        let allowed = if self.rules.iter().any(|rule| rule.kind == WindowKind::Allow) {
            of(WindowKind::Allow)
        } else {
            vec![(from, to)]
        };
        let mut free = Vec::new();
        let denied = of(WindowKind::Deny);
        for (mut start, end) in allowed {
            for (denied_from, denied_to) in &denied {
                if *denied_to <= start || *denied_from >= end {
                    continue;
                }
                if start < *denied_from {
                    free.push((start, *denied_from));
                }
                start = start.max(*denied_to);
            }
            if start < end {
                free.push((start, end));
            }
        }
        free
    }
}

impl Rule {
    /// The times of the rule that touch what lies between two moments.
    fn times(&self, from: Timestamp, to: Timestamp) -> Vec<Free> {
        // A window that opened yesterday may be open now.
        let first = from.to_zoned(self.zone.clone()).date().saturating_sub(2.days());
        let last = to.to_zoned(self.zone.clone()).date().saturating_add(1.day());
        let mut times = Vec::new();
        let mut day = first;
        while day <= last {
            if self.opens_on(day) {
                let closes = match self.to {
                    Some(to) if to > self.from => day.to_datetime(to),
                    Some(to) => day.saturating_add(1.day()).to_datetime(to),
                    None => day.saturating_add(1.day()).to_datetime(Time::midnight()),
                };
                let allows = self.kind == WindowKind::Allow;
                let start = self.moment(day.to_datetime(self.from), allows);
                let end = self.moment(closes, !allows);
                if start < end {
                    times.push((start, end));
                }
            }
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
        times
    }

    fn opens_on(&self, day: Date) -> bool {
        self.days.contains(&Day::of(day))
            && (self.dates.is_empty() || self.dates.iter().any(|range| range.contains(&day)))
    }

    /// The moment of a local time. Of one that comes twice, the `later` or the earlier; of one that does not
    /// come, the change of the clocks that leaves it out.
    fn moment(&self, local: jiff::civil::DateTime, later: bool) -> Timestamp {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        let found = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => ambiguous.unambiguous(),
            AmbiguousOffset::Fold { .. } if later => ambiguous.later(),
            AmbiguousOffset::Fold { .. } => ambiguous.earlier(),
            AmbiguousOffset::Gap { .. } => ambiguous.earlier().map(|before| {
                let change = self.zone.following(before).next();
                change.map_or(before, |change| change.timestamp())
            }),
        };
        // Only a date at the very end of what can be counted has no moment.
        found.unwrap_or(Timestamp::MAX)
    }
}

/// Puts times in order, and those that touch together.
fn joined(mut times: Vec<Free>) -> Vec<Free> {
    times.sort_unstable();
    let mut joined: Vec<Free> = Vec::new();
    for (from, to) in times {
        match joined.last_mut() {
            Some((_, end)) if *end >= from => *end = (*end).max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

fn after(now: Timestamp, days: i64) -> Timestamp {
    now.saturating_add((days * 24).hours()).unwrap_or(Timestamp::MAX)
}

fn length(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// Says when something is, seen from `now`: `Mon 01:00 Europe/Berlin`, with the date where it is not of the next days.
pub fn when(at: &Zoned, now: Timestamp) -> String {
    let zone = at.time_zone().iana_name().unwrap_or("UTC").to_owned();
    let near = length(now, at.timestamp()) < Duration::from_hours(6 * 24);
    let format = if near { "%a %H:%M" } else { "%a %Y-%m-%d %H:%M" };
    format!("{} {zone}", at.strftime(format))
}

impl Answer {
    /// Says why not: `outside its window (opens Mon 01:00 Europe/Berlin)`. `None` where it is open.
    pub fn refusal(&self, now: Timestamp) -> Option<String> {
        let Self::Closed { why, opens } = self else { return None };
        let opens = match opens {
            Some(opens) => format!("opens {}", when(opens, now)),
            None => "none within a year is long enough".to_owned(),
        };
        Some(match why {
            Closed::Outside => format!("outside its window ({opens})"),
            Closed::Denied { reason: Some(reason) } => format!("outside its window: {reason} ({opens})"),
            Closed::Denied { reason: None } => format!("outside its window: denied now ({opens})"),
            Closed::TooLate { need } => format!("too late in its window: may need {need} ({opens})"),
        })
    }
}

#[cfg(test)]
mod tests;
