//! What `apply --check` saw: for each host the steps that would change it, and how.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    page::{Page, Tone, block, cell},
    words,
};
use crate::{event::RunState, model::StepOutcome};

/// Renders what each step would change; hosts where the same would happen stand together.
pub fn differences(state: &RunState, page: &Page) -> String {
    let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, host) in &state.hosts {
        let mut text = String::new();
        for step in host.steps.values() {
            let (mark, tone) = match &step.outcome {
                Some(StepOutcome::Changed) => ("would change", Tone::Odd),
                Some(StepOutcome::Unchanged) => ("unchanged", Tone::Quiet),
                Some(StepOutcome::Failed { .. } | StepOutcome::Unknown { .. }) => ("cannot tell", Tone::Bad),
                Some(StepOutcome::Skipped { .. }) => ("not known", Tone::Quiet),
                None => continue,
            };
            let _ = writeln!(text, "  {}  {}", page.paint(tone, &format!("{mark:<12}")), cell(&step.name));
            let seen = step.difference.as_deref().unwrap_or_default();
            for line in block(seen).lines() {
                let tone = match line.as_bytes() {
                    [b'+', ..] => Tone::Good,
                    [b'-', ..] => Tone::Bad,
                    _ => Tone::Plain,
                };
                let _ = writeln!(text, "      {}", page.paint(tone, line));
            }
            let why = match &step.outcome {
                Some(StepOutcome::Skipped { reason }) => Some(reason.clone()),
                other => other.as_ref().and_then(StepOutcome::failure).map(ToString::to_string),
            };
            if let Some(why) = why {
                let _ = writeln!(text, "      {}", cell(&why));
            }
        }
        if !text.is_empty() {
            alike.entry(text).or_default().push(name.as_str());
        }
    }
    let mut shown = String::new();
    for (text, names) in alike {
        let names = words::ranges(names).join(", ");
        let _ = writeln!(shown, "{}\n{text}", page.paint(Tone::Strong, &names));
    }
    shown
}
