//! Requires, sets or removes keys of a dotenv file.

use std::fmt::Write as _;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HostProgram, Problem, StepKind, Template, Undoing, Work, replace, shell};
use crate::model::{Effect, Redactor, quote};

/// Requires, sets or removes keys of a dotenv file; comments, order, mode and owner are kept.
///
/// Values are never printed. What is set is quoted so that Docker Compose and a shell read the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Env {
    /// Path on the host: absolute, or below `~/`. A symbolic link is followed.
    pub file: String,
    /// Keys that must be there and not empty, once `set` and `remove` are done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<String>,
    /// Values to set, by key, which may be a template. A key that is there is changed in its place, a new one goes to the end.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub set: IndexMap<String, String>,
    /// Keys to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Make the file, with mode 0600, where it is missing, which is an error otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub create: bool,
}

impl Env {
    /// Whether it changes the file, and does not only require keys.
    pub fn changes(&self) -> bool {
        !self.set.is_empty() || !self.remove.is_empty()
    }
}

impl StepKind for Env {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "file", &mut self.file);
        for (index, key) in self.require.iter_mut().enumerate() {
            visit(Template::Text, &format!("require.{index}"), key);
        }
        self.set = std::mem::take(&mut self.set)
            .into_iter()
            .map(|(mut key, mut value)| {
                let at = format!("set.{key}");
                visit(Template::Text, &at, &mut key);
                visit(Template::Text, &at, &mut value);
                (key, value)
            })
            .collect();
        for (index, key) in self.remove.iter_mut().enumerate() {
            visit(Template::Text, &format!("remove.{index}"), key);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = shell::path_problem("file", Some(&self.file)).into_iter().collect();
        if self.require.is_empty() && !self.changes() {
            problems.push(Problem::new("", "`env` needs `require`, `set` or `remove`"));
        }
        if self.create && self.set.is_empty() {
            problems.push(Problem::new("create", "there is nothing to put into a new file").hint("add `set`"));
        }
        problems.extend(shell::variable_problems("set", self.set.keys().filter(|key| !key.contains("{{"))));
        for (list, keys) in [("require", &self.require), ("remove", &self.remove)] {
            for (index, key) in keys.iter().enumerate().filter(|(_, key)| !key.contains("{{")) {
                if !shell::is_variable(key) {
                    problems.push(Problem::new(&format!("{list}.{index}"), format!("`{key}` cannot be a key")));
                }
            }
        }
        for (index, key) in self.remove.iter().enumerate() {
            if self.set.contains_key(key) || self.require.contains(key) {
                let other = if self.set.contains_key(key) { "set" } else { "require" };
                problems.push(Problem::new(&format!("remove.{index}"), format!("`{key}` is also in `{other}`")));
            }
        }
        problems
    }

    fn summary(&self) -> String {
        let keys: Vec<_> = self.set.keys().cloned().collect();
        let parts: Vec<_> = [("set", &keys), ("remove", &self.remove), ("require", &self.require)]
            .into_iter()
            .filter(|(_, keys)| !keys.is_empty())
            .map(|(what, keys)| format!("{what} {}", keys.join(" ")))
            .collect();
        shell::one_line(&format!("{}: {}", Redactor::mask(&self.file), parts.join("; ")))
    }

    fn effect(&self) -> Effect {
        if self.changes() { Effect::Code } else { Effect::Read }
    }

    fn is_repeat_safe(&self) -> bool {
        true
    }

    fn undo(&self) -> Undoing {
        if self.changes() { Undoing::ByProgram } else { Undoing::Nothing }
    }

    fn work(&self) -> Work<'_> {
        let undo = format!("{}{}{}", replace::begin(&self.file), replace::FOLLOW, replace::RESTORE);
        Work::Host(HostProgram {
            look: Some(self.look_text()),
            act: self.act_text(),
            undo: self.changes().then_some(undo),
            ..HostProgram::default()
        })
    }
}

/// Reads, checks and edits dotenv files.
const AWK: &str = include_str!("env/dotenv.awk");

impl Env {
    /// What both halves begin with: where the file is, and `longshore_dotenv JOB PATH`.
    fn begin_text(&self) -> String {
        let mut text = replace::begin(&self.file);
        text.push_str(replace::FOLLOW);
        text.push_str(replace::REFUSE);
        for key in self.require.iter().chain(&self.remove).chain(self.set.keys()) {
            if !shell::is_variable(key) {
                let said = quote(&format!("`{key}` cannot be a key"));
                let _ = writeln!(text, "longshore_die {said}");
            }
        }
        // Values go through the environment: an argument could be read by every user of the host.
        text.push_str("longshore_dotenv() {\n");
        for (key, value) in &self.set {
            let _ = writeln!(text, "  longshore_value_{key}={} \\", quote(value));
        }
        let set = quote(&self.set.keys().map(String::as_str).collect::<Vec<_>>().join(" "));
        let (remove, require) = (quote(&self.remove.join(" ")), quote(&self.require.join(" ")));
        let _ = write!(
            text,
            "  longshore_set={set} longshore_remove={remove} longshore_require={require} longshore_job=$1 LC_ALL=C \\\n  \
             awk {} \"$2\"\n}}\n",
            quote(AWK)
        );
        if self.create {
            text.push_str("source=$to\n[ -e \"$to\" ] || source=/dev/null\n");
        } else {
            text.push_str("source=$to\n[ -e \"$to\" ] || longshore_die \"there is no file $to\"\n");
        }
        text.push_str("[ -r \"$source\" ] || longshore_die \"cannot read $to\"\n");
        text
    }

    fn look_text(&self) -> String {
        let mut text = self.begin_text();
        self.require_text(&mut text);
        text.push_str("longshore_dotenv look \"$source\"\n");
        text
    }

    /// Ends the program with the keys that are missing: no half of the step can do anything about them.
    fn require_text(&self, text: &mut String) {
        if self.require.is_empty() {
            return;
        }
        text.push_str(
            r#"missing=$(longshore_dotenv require "$source")
case $? in
  0) ;;
  1) longshore_die "$to is not complete; $(printf %s "$missing" | awk '{ printf "%s%s", (NR > 1 ? ", " : ""), $0 }')" ;;
  *) exit 1 ;;
esac
"#,
        );
    }

    fn act_text(&self) -> String {
        let mut text = self.begin_text();
        self.require_text(&mut text);
        if !self.changes() {
            text.push_str("exit 0\n");
            return text;
        }
        text.push_str(replace::ATTRIBUTES);
        text.push_str(replace::OWNED);
        text.push_str(replace::SAVE);
        text.push_str("longshore_content() { longshore_dotenv edit \"$source\"; }\n");
        text.push_str(&replace::SAME.replace("longshore_same()", "longshore_equal()"));
        text.push_str(replace::PUT);
        // Read back instead of compared: an edit that came out short, or that reads back as something
        // else, must not become the file.
        text.push_str(
            r#"longshore_same() { longshore_equal "$1" && longshore_dotenv look "$1" >/dev/null; }
said=$(longshore_dotenv look "$source")
case $? in
  0) ;;
  10)
    [ -d "$dir" ] || longshore_die "the folder $dir is missing"
    longshore_save
    longshore_put '' '' ''
    ;;
  *) exit 1 ;;
esac
"#,
        );
        text.push_str(replace::TELL);
        text
    }
}

#[cfg(test)]
mod tests;
