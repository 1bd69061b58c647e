//! The changing lines of a terminal, as text: a header, then a line for each active host.

use std::{collections::HashMap, fmt::Write as _, time::Duration};

use jiff::Timestamp;

use super::Progress;
use crate::{
    event::{Activity, HostState, Phase, RunState},
    model::{HostName, StepId},
    report::{
        page::{Page, Tone, cell, text_width},
        words,
    },
};

/// Returns the lines to show now: never more than `height`, never wider than the page.
pub(super) fn lines(
    state: &RunState,
    latest: &HashMap<HostName, Progress>,
    now: Timestamp,
    height: usize,
    page: &Page,
) -> Vec<String> {
    if state.started.is_none() || state.ended.is_some() {
        return Vec::new();
    }
    let mut lines = vec![fit(&header(state, now), page)];
    let active: Vec<_> = state.active().collect();
    let room = height.saturating_sub(2);
    let shown = if active.len() > room { room.saturating_sub(1) } else { active.len() };
    let width = active.iter().map(|(name, _)| name.as_str().len()).max().unwrap_or(0).min(24);
    for (name, host) in active.iter().take(shown) {
        let mut text = format!("  {name:width$}  {}", doing(host, now, page));
        if let Some(heard) = latest.get(*name).map(heard).filter(|heard| !heard.is_empty()) {
            text.push_str("  ");
            text.push_str(&heard);
        }
        lines.push(fit(&text, page));
    }
    if active.len() > shown {
        lines.push(fit(&format!("  {} and {} more at work", page.dots(), active.len() - shown), page));
    }
    lines
}

fn header(state: &RunState, now: Timestamp) -> String {
    let total = state.hosts.len();
    let finished = state.hosts.values().filter(|host| host.outcome.is_some()).count();
    let bad = state.hosts.values().filter(|host| host.outcome.is_some_and(|o| !o.is_good())).count();
    let mut text = format!("{finished}/{}", words::count(total, "host"));
    if bad > 0 {
        let _ = write!(text, ", {bad} not good");
    }
    if let Some((index, wave)) = state.waves.iter().enumerate().rfind(|(_, wave)| wave.started.is_some()) {
        if state.waves.len() > 1 {
            let of_wave = wave.hosts.iter().filter_map(|name| state.hosts.get(name));
            let done = of_wave.filter(|host| host.outcome.is_some()).count();
            let (number, of) = (index + 1, state.waves.len());
            let _ = write!(text, "; wave {number} of {of}, {}: {done}/{}", cell(&wave.name), wave.hosts.len());
        }
        if let Some((since, length)) = wave.soaking {
            let left = length.0.saturating_sub(now.duration_since(since).unsigned_abs());
            let _ = write!(text, "; soaks for {} more", words::duration(left));
        }
    }
    if state.halted.is_some() {
        text.push_str("; halted: no new hosts");
    } else if state.interrupted.is_some() {
        text.push_str("; interrupted: no new hosts");
    }
    let elapsed = state.started.map(|started| elapsed(started, now)).unwrap_or_default();
    format!("{text}; {elapsed}")
}

/// Says what a host is doing and for how long.
pub(super) fn doing(host: &HostState, now: Timestamp, page: &Page) -> String {
    let step = |id: &StepId, word: &str, since: Timestamp| {
        let (position, name) =
            host.steps.get_full(id).map_or((0, id.to_string()), |(index, _, step)| (index + 1, cell(&step.name)));
        format!("{word}{position}/{} {name} {}", host.steps_total, elapsed(since, now))
    };
    match &host.activity {
        Activity::Waiting => "waiting".to_owned(),
        Activity::Connecting => {
            format!("connecting {}", host.started.map(|since| elapsed(since, now)).unwrap_or_default())
        }
        Activity::Ready => "connected, getting ready".to_owned(),
        Activity::Checking { phase, check } => format!("checking ({}) {}", phase_word(*phase), cell(check)),
        Activity::Step { step: id, since } => step(id, "step ", *since),
        Activity::Unwinding => page.paint(Tone::Odd, "taking back"),
        Activity::Undo { step: id, since } => page.paint(Tone::Odd, &step(id, "taking back ", *since)),
        Activity::Reconnecting { since } => {
            page.paint(Tone::Odd, &format!("link lost, reconnecting {}", elapsed(*since, now)))
        }
        Activity::Finished => "finished".to_owned(),
    }
}

/// Says what a step told last.
pub(super) fn heard(progress: &Progress) -> String {
    match progress {
        Progress::Line(said) => said.clone(),
        Progress::Waiting(seen) => format!("last seen: {seen}"),
        Progress::Bytes { done, of: 0 } => words::bytes(*done),
        Progress::Bytes { done, of } => {
            let percent = u128::from(*done.min(of)) * 100 / u128::from(*of);
            format!("{percent}% of {}", words::bytes(*of))
        }
    }
}

pub(super) fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Baseline => "before",
        Phase::Gate => "gate",
        Phase::After => "after",
        Phase::Unwound => "after taking back",
        Phase::Soak => "soak",
        Phase::Control => "not upgraded",
        Phase::Sweep => "sweep",
    }
}

/// Time since then in whole seconds: tenths that flicker tell nothing.
fn elapsed(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0).unsigned_abs();
    if seconds == 0 { "0s".to_owned() } else { words::duration(Duration::from_secs(seconds)) }
}

/// Cuts a line to the page. A line that wraps would break the redrawing of all of them.
fn fit(text: &str, page: &Page) -> String {
    let room = page.width.saturating_sub(1).max(10);
    if text_width(text) <= room {
        return text.to_owned();
    }
    let dots = page.dots();
    tabled::settings::width::Truncate::truncate(text, room.saturating_sub(dots.chars().count())).into_owned() + dots
}
