//! The shell text that kinds share: folders, variables, conditions, and bytes written exactly.
//!
//! All of it runs in any POSIX `sh` (dash, busybox, bash), in any folder.

use std::{fmt::Write as _, sync::LazyLock};

use indexmap::IndexMap;
use regex::Regex;

use super::Problem;
use crate::{
    model::{Redactor, Secret, quote},
    transport::Program,
};

/// Longest summary of a command, in characters.
const SUMMARY: usize = 100;

/// Most bytes in one word of a script: a shell whose `printf` is a program must be able to pass it.
const WORD: usize = 32 * 1024;

/// Where a command runs: folder and environment.
pub(super) struct Place<'a> {
    pub dir: Option<&'a str>,
    pub env: &'a IndexMap<String, String>,
}

impl Place<'_> {
    /// Returns the lines that go there.
    pub fn enter(&self) -> String {
        self.enter_or(1)
    }

    /// Returns the lines that go there, or end with this status.
    pub fn enter_or(&self, status: u32) -> String {
        let mut text = String::new();
        if let Some(dir) = self.dir {
            let word = path_word(dir);
            let _ = writeln!(text, "CDPATH= cd -- {word} || exit {status}");
        }
        for (name, value) in self.env {
            let _ = writeln!(text, "export {name}={}", quote(value));
        }
        text
    }
}

/// When there is nothing to do.
pub(super) struct Conditions<'a> {
    pub unless: Option<&'a str>,
    pub creates: Option<&'a str>,
    pub removes: Option<&'a str>,
}

impl Conditions<'_> {
    /// Returns the looking half, where there is a condition at all. It prints nothing: what would run is known without it.
    pub fn look(&self, place: &Place<'_>) -> Option<String> {
        let mut text = String::new();
        if let Some(path) = self.creates {
            let word = path_word(path);
            let _ = writeln!(text, "if [ -e {word} ] || [ -L {word} ]; then exit 0; fi");
        }
        if let Some(path) = self.removes {
            let word = path_word(path);
            let _ = writeln!(text, "if [ ! -e {word} ] && [ ! -L {word} ]; then exit 0; fi");
        }
        if let Some(condition) = self.unless {
            // A folder that is not there yet makes the condition false, not the look fail.
            let enter = place.enter();
            let condition = quote(condition);
            let _ = writeln!(text, "if (\n{enter}eval {condition}\n) >/dev/null 2>&1 </dev/null; then exit 0; fi");
        }
        if text.is_empty() {
            return None;
        }
        text.push_str("exit 10\n");
        Some(text)
    }
}

/// Returns lines that run `text`, stop at its first failing command, and exit as it did; the
/// statuses in `ok` become 0.
///
/// The text is evaluated, not pasted: unbalanced quotes in it are its own error, and nothing of it
/// stands in an argument that other users of the host can read.
pub(super) fn run_text(text: &str, ok: &[u32]) -> String {
    let text = quote(text);
    if ok.is_empty() {
        return format!("(set -e; eval {text}) </dev/null\nexit $?\n");
    }
    let statuses = ok.iter().map(u32::to_string).collect::<Vec<_>>().join("|");
    format!("(set -e; eval {text}) </dev/null\nstatus=$?\ncase $status in {statuses}) exit 0 ;; esac\nexit $status\n")
}

/// What a file is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Text; placeholders of secrets in it become their values.
    Text(String),
    /// Bytes as they are.
    Bytes(Vec<u8>),
}

/// Returns a shell function that prints exactly this content.
pub(super) fn emit_function(name: &str, content: &Content) -> String {
    let mut text = format!("{name}() {{\n");
    match content {
        Content::Text(content) => {
            let mut rest = content.as_str();
            while !rest.is_empty() {
                let (part, after) = rest.split_at(part_end(rest));
                let part = quote(part);
                let _ = writeln!(text, "  printf %s {part} || return");
                rest = after;
            }
        }
        Content::Bytes(bytes) => {
            for part in bytes.chunks(WORD / 4) {
                text.push_str("  printf '");
                for byte in part {
                    // Three octal digits each: a shorter escape would swallow a digit that follows.
                    let _ = write!(text, "\\{byte:03o}");
                }
                text.push_str("' || return\n");
            }
        }
    }
    text.push_str("  :\n}\n");
    text
}

/// Where to cut a long text: between characters, and not inside a secret's placeholder.
fn part_end(text: &str) -> usize {
    if text.len() <= WORD {
        return text.len();
    }
    let mut end = text.floor_char_boundary(WORD);
    // An odd number of marks before the cut means that it is inside a placeholder: cut before that.
    while end > 0 && !is_whole(&text[..end]) {
        end = text.floor_char_boundary(end - 1);
    }
    if end == 0 { text.len() } else { end }
}

/// Whether masking the parts of a text is the same as masking all of it.
fn is_whole(part: &str) -> bool {
    Redactor::mask(&format!("{part}x")).ends_with('x')
}

/// Returns the word for a path: `~/` is the home folder, and a leading `-` is no option.
pub(super) fn path_word(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some("") => "\"$HOME\"".to_owned(),
        Some(rest) => format!("\"$HOME\"/{}", quote(rest)),
        None if path == "~" => "\"$HOME\"".to_owned(),
        None if path.starts_with('-') => format!("./{}", quote(path)),
        None => quote(path),
    }
}

/// Says what is wrong with a path on the host. A path with a template is judged once rendered.
pub(super) fn path_problem(key: &str, path: Option<&str>) -> Option<Problem> {
    let path = path?;
    if path.contains("{{") || path.starts_with('/') || path.starts_with("~/") || Redactor::mentions_secret(path) {
        return None;
    }
    if path.trim().is_empty() {
        return Some(Problem::new(key, "the path is empty"));
    }
    Some(
        Problem::new(key, format!("`{path}` is not an absolute path")).hint("begin it with `/`, or with `~/` for home"),
    )
}

/// Says which names cannot be environment variables.
pub(super) fn variable_problems<'a>(key: &str, names: impl Iterator<Item = &'a String>) -> Vec<Problem> {
    names
        .filter(|name| !is_variable(name))
        .map(|name| {
            let key = format!("{key}.{name}");
            Problem::new(&key, format!("`{name}` cannot be the name of an environment variable"))
                .hint("use letters, digits and `_`, not beginning with a digit")
        })
        .collect()
}

pub(super) fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Lists the variables of secrets that a shell text refers to.
pub(super) fn secret_variables(text: &str) -> Vec<String> {
    static REFERENCE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\$\{?(LONGSHORE_SECRET_[A-Za-z0-9_]+)").expect("a valid expression"));
    let mut names: Vec<_> = REFERENCE.captures_iter(text).map(|found| found[1].to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

/// Takes the secrets that a program refers to, as its variables.
pub(super) fn secrets_in(program: &Program, redactor: &Redactor) -> Vec<(String, Secret)> {
    let text = match program {
        Program::Script(text) => text.clone(),
        Program::Command(command) => command.to_shell(),
    };
    let named = secret_variables(&text);
    redactor
        .secrets()
        .iter()
        .map(|(id, secret)| (id.variable(), secret.clone()))
        .filter(|(variable, _)| named.contains(variable))
        .collect()
}

/// Joins the lines of a shell text with `;`, so that a reader sees where one command ends.
pub(super) fn flat(text: &str) -> String {
    let mut flat = String::with_capacity(text.len());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(begun) = flat.strip_suffix('\\') {
            flat.truncate(begun.trim_end().len());
            flat.push(' ');
        } else if flat.ends_with(['{', '(', '|', '&', ';'])
            || ["then", "do", "else"].iter().any(|word| flat.ends_with(word))
        {
            flat.push(' ');
        } else if !flat.is_empty() {
            flat.push_str("; ");
        }
        flat.push_str(line);
    }
    flat
}

/// Brings a command into one bounded line; references to secrets become `[hidden]`.
pub(super) fn one_line(text: &str) -> String {
    static SHELL: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#""\$LONGSHORE_SECRET_[A-Za-z0-9_]+""#).expect("a valid expression"));
    crate::model::clean_line(SHELL.replace_all(text, "[hidden]").as_bytes(), SUMMARY)
}
