//! Ways to a host: addresses, users, jumps. They end up in front of programs and protocols, so a
//! text that could be an option or a command there is refused.

use super::Findings;
use crate::config::source::{KeyPath, Source};

/// Checks what stands at `path`, if anything, as a user's name.
pub(super) fn user(source: &Source, path: &KeyPath, found: &mut Findings<'_>) {
    let Some(text) = source.text_at(path) else { return };
    if let Some(problem) = problem(text, |c| c.is_alphanumeric() || "._-@+$\\".contains(c)) {
        found.error(source.place(path), format!("the user `{}` {problem}", text.escape_debug()), None);
    }
}

/// Checks what stands at `path`, if anything, as an address.
pub(super) fn address(source: &Source, path: &KeyPath, found: &mut Findings<'_>) {
    let Some(text) = source.text_at(path) else { return };
    if let Some(problem) = problem(text, |c| c.is_alphanumeric() || "._-:%[]".contains(c)) {
        let hint = text.contains('@').then(|| "write the user apart: `user = \"...\"`".to_owned());
        found.error(source.place(path), format!("the address `{}` {problem}", text.escape_debug()), hint);
        return;
    }
    // One colon is a port in the wrong place; more are an IPv6 address.
    if text.matches(':').count() == 1 {
        let hint = text.rsplit_once(':').map(|(_, port)| format!("write the port apart: `port = {port}`"));
        found.error(source.place(path), format!("the address `{text}` contains a port"), hint);
    }
}

/// Returns what is wrong with a jump that is no name of the inventory: `[user@]address[:port]`.
pub(super) fn jump_problem(text: &str) -> Option<String> {
    let (user, rest) = text.rsplit_once('@').map_or((None, text), |(user, rest)| (Some(user), rest));
    if let Some(user) = user
        && let Some(problem) = problem(user, |c| c.is_alphanumeric() || "._-+$\\".contains(c))
    {
        return Some(format!("names a user who {problem}"));
    }
    let (address, port) = match rest.strip_prefix('[') {
        Some(bracketed) => {
            let Some((address, after)) = bracketed.split_once(']') else {
                return Some("has a `[` that is not closed".to_owned());
            };
            (address, after.strip_prefix(':'))
        }
        None if rest.matches(':').count() > 1 => (rest, None),
        None => rest.split_once(':').map_or((rest, None), |(address, port)| (address, Some(port))),
    };
    if let Some(port) = port
        && port.parse::<u16>().is_err()
    {
        return Some(format!("has the port `{}`, which is no number up to 65535", port.escape_debug()));
    }
    problem(address, |c| c.is_alphanumeric() || "._-:%".contains(c))
}

fn problem(text: &str, allowed: impl Fn(char) -> bool) -> Option<String> {
    if text.is_empty() {
        return Some("is empty".to_owned());
    }
    if text.starts_with('-') {
        return Some("begins with `-`, as an option does".to_owned());
    }
    let odd = text.chars().find(|c| !allowed(*c))?;
    Some(format!("contains `{}`", odd.escape_debug()))
}
