//! What an ad-hoc command printed, host by host, the same answers folded.

use std::fmt::Write as _;

use indexmap::IndexMap;

use super::{
    page::{Page, Tone, block, line},
    table::{names_of, standing, totals},
    trouble, words,
};
use crate::{
    event::{CommandState, RunState},
    model::HostName,
};

/// Renders what an ad-hoc command printed. Hosts with the same end and the same output are one.
pub fn exec(state: &RunState, page: &Page) -> String {
    let mut answers: IndexMap<(bool, String, String), Vec<&HostName>> = IndexMap::new();
    for (name, host) in &state.hosts {
        let Some(command) = &host.command else { continue };
        let answer = (command.status == Some(0), ending(command), body(command));
        answers.entry(answer).or_default().push(name);
    }
    // Those that ended well first, then the odd ones, so that they are seen.
    answers.sort_by(|(left, _, _), _, (right, _, _), _| right.cmp(left));

    let mut text = String::new();
    // One good answer is nothing but that: it may go on through a pipe.
    let alone = state.hosts.len() == 1;
    for ((good, title, body), names) in &answers {
        if alone && *good {
            text.push_str(body);
            continue;
        }
        let count = if names.len() > 1 { format!(" ({})", words::count(names.len(), "host")) } else { String::new() };
        let mark = if page.unicode { "──" } else { "--" };
        let title = page.paint(if *good { Tone::Good } else { Tone::Bad }, title);
        let names = page.paint(Tone::Strong, &names_of(names));
        let _ = writeln!(text, "{mark} {names}{count}: {title}");
        for said in body.lines() {
            // Indented, so that no host can say what looks like another host's title.
            let _ = writeln!(text, "   {said}");
        }
    }
    let mut without = state.clone();
    without.hosts.retain(|_, host| host.command.is_none() && host.failure.is_some());
    if !(alone && without.hosts.is_empty()) {
        text.push_str(&trouble::trouble(&without, None, page));
    }
    if !alone {
        text.push_str(&totals(state, false, page, &standing));
    }
    text
}

/// Says how a command ended: the three ways are different things.
pub(super) fn ending(command: &CommandState) -> String {
    match (command.status, &command.signal) {
        (Some(status), _) => format!("status {status}"),
        (None, Some(signal)) => format!("signal {}", line(signal, 20)),
        (None, None) => "end not known".to_owned(),
    }
}

fn body(command: &CommandState) -> String {
    let mut text = block(&command.out);
    end_line(&mut text);
    for said in block(&command.err).lines() {
        let _ = writeln!(text, "err | {said}");
    }
    if command.left_out > 0 {
        let kept = command.total.saturating_sub(command.left_out);
        let _ = writeln!(text, "({} printed in all, {} kept)", words::bytes(command.total), words::bytes(kept));
    }
    text
}

fn end_line(text: &mut String) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
}
