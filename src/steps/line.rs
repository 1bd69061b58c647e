//! Changes one word in the lines of a text file.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HostProgram, Problem, StepKind, Template, Undoing, Work, replace, shell};
use crate::model::{Effect, Redactor, quote};

/// Changes a word in lines of a text file, wherever it stands after one of the texts named. All else is kept: comments,
/// order, blanks, mode and owner.
///
/// For files whose format nobody should have to parse: an image's tag in a compose file, a version in a unit. Lines whose
/// first character is `#` are comments, and stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Line {
    /// Path on the host: absolute, or below `~/`. A symbolic link is followed.
    pub file: String,
    /// What stands before the word: `registry/app/backend:`. Several texts stand on a line each, and each must be in the
    /// file.
    pub after: String,
    /// The word to be there. It ends at the next blank, quote, comma or closing bracket.
    pub word: String,
}

impl StepKind for Line {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "file", &mut self.file);
        visit(Template::Text, "after", &mut self.after);
        visit(Template::Text, "word", &mut self.word);
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = shell::path_problem("file", Some(&self.file)).into_iter().collect();
        if self.texts().next().is_none() {
            problems.push(Problem::new("after", "a line is found by what stands before the word").hint("add a text"));
        }
        if !self.word.contains("{{") && !is_word(&self.word) {
            let message = format!("`{}` is not one word", self.word.escape_debug());
            problems.push(Problem::new("word", message).hint("blanks, quotes, commas and brackets end a word"));
        }
        problems
    }

    fn summary(&self) -> String {
        let (file, word) = (Redactor::mask(&self.file), Redactor::mask(&self.word));
        shell::one_line(&format!(
            "{file}: {word} after {}",
            Redactor::mask(&self.texts().collect::<Vec<_>>().join(", "))
        ))
    }

    fn effect(&self) -> Effect {
        Effect::Code
    }

    fn is_repeat_safe(&self) -> bool {
        true
    }

    fn undo(&self) -> Undoing {
        Undoing::ByProgram
    }

    fn work(&self) -> Work<'_> {
        Work::Host(HostProgram {
            look: Some(format!("{}longshore_line look\n", self.begin_text())),
            act: self.act_text(),
            undo: Some(format!("{}{}{}", replace::begin(&self.file), replace::FOLLOW, replace::RESTORE)),
            ..HostProgram::default()
        })
    }
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && !word.chars().any(|c| c.is_whitespace() || c.is_control() || "\"'`,)]}".contains(c))
}

/// Reads and edits the file. Any POSIX awk, in the C locale. Ends with 10 where `look` finds a word to change, with 3 where
/// a text is nowhere.
const AWK: &str = r#"
BEGIN {
  job = ENVIRON["longshore_job"]
  word = ENVIRON["longshore_word"]
  texts = split(ENVIRON["longshore_after"], after, "\n")
}
function changed(line, text,    before, at, rest) {
  before = ""
  while ((at = index(line, text)) > 0) {
    at += length(text)
    before = before substr(line, 1, at - 1)
    line = substr(line, at)
    match(line, /^[^]\t\r "'`,)}]*/)
    rest = substr(line, RLENGTH + 1)
    if (RLENGTH > 0) {
      seen[text]++
      was = substr(line, 1, RLENGTH)
      if (was != word && job == "look") print "line " NR ": " text was " becomes " text word
      if (was != word) todo = 10
      before = before word
    }
    line = rest
  }
  return before line
}
{
  line = $0
  if (line !~ /^[ \t]*#/) for (i = 1; i <= texts; i++) line = changed(line, after[i])
  if (job == "edit") printf "%s%s", (NR > 1 ? "\n" : ""), line
}
END {
  for (i = 1; i <= texts; i++) if (!seen[after[i]]) {
    print "no line has `" after[i] "`" > "/dev/stderr"
    exit 3
  }
  if (job == "look") exit todo + 0
}
"#;

impl Line {
    fn texts(&self) -> impl Iterator<Item = &str> {
        self.after.lines().filter(|text| !text.trim().is_empty())
    }

    /// What both halves begin with: where the file is, and `longshore_line JOB`.
    fn begin_text(&self) -> String {
        let mut text = replace::begin(&self.file);
        text.push_str(replace::FOLLOW);
        text.push_str(replace::REFUSE);
        if !is_word(&self.word) {
            text.push_str("longshore_die 'what is to stand there is not one word'\n");
        }
        text.push_str("[ -e \"$to\" ] || longshore_die \"there is no file $to\"\n");
        text.push_str("[ -r \"$to\" ] || longshore_die \"cannot read $to\"\n");
        // Values go through the environment: an argument could be read by every user of the host.
        let _ = write!(
            text,
            "longshore_line() {{\n  longshore_job=$1 longshore_word={} longshore_after={} LC_ALL=C awk {} \"$to\"\n}}\n",
            quote(&self.word),
            quote(&self.texts().collect::<Vec<_>>().join("\n")),
            quote(AWK)
        );
        text
    }

    fn act_text(&self) -> String {
        let mut text = self.begin_text();
        text.push_str(replace::ATTRIBUTES);
        text.push_str(replace::OWNED);
        text.push_str(replace::SAVE);
        // The last line ends as it did.
        text.push_str(
            "longshore_content() {\n  longshore_line edit || return\n  [ -n \"$(tail -c 1 \"$to\")\" ] || echo\n}\n",
        );
        text.push_str(replace::SAME);
        text.push_str(replace::PUT);
        text.push_str(
            r"said=$(longshore_line look)
case $? in
  0) ;;
  10)
    longshore_save
    longshore_put '' '' ''
    ;;
  *) exit 1 ;;
esac
",
        );
        text.push_str(replace::TELL);
        text
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::steps::trial::{Trial, in_every_shell};

    const COMPOSE: &str = "services:\n  # image: registry:5000/app/backend:0.1 was the first\n  backend:\n    \
         image: \"registry:5000/app/backend:0.3.0\"   # pinned\n  worker: { image: registry:5000/app/backend:0.3.0, tty: true }\n  \
         other:\n    image: registry:5000/app/backend-gpu:0.3.0\n\tend";

    fn line(trial: &Trial, after: &[&str], word: &str) -> Line {
        Line { file: trial.at("it's a compose.yml"), after: after.join("\n"), word: word.to_owned() }
    }

    #[test]
    fn f_08_a_literal_tag_is_changed_and_nothing_else_and_comes_back() {
        in_every_shell(|trial| {
            trial.write("it's a compose.yml", COMPOSE);
            let file = trial.path("it's a compose.yml");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("settable");
            let step = line(trial, &["app/backend:"], "0.4.0");
            let looked = trial.look(&step);
            assert_eq!(looked.status, 10, "{looked:?}");
            assert_eq!(looked.out.lines().count(), 2, "{looked:?}");
            assert!(looked.out.starts_with("line 4: app/backend:0.3.0 becomes app/backend:0.4.0\n"), "{looked:?}");
            trial.acts(&step);
            let wanted = COMPOSE.replace("backend:0.3.0", "backend:0.4.0");
            assert_eq!(trial.read("it's a compose.yml"), wanted);
            assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o640);
            let looked = trial.look(&step);
            assert_eq!((looked.status, looked.out.as_str(), looked.err.as_str()), (0, "", ""));
            trial.undoes(&step);
            assert_eq!(trial.read("it's a compose.yml"), COMPOSE);

            // The end of the file stays as it is, with a newline or without.
            trial.write("it's a compose.yml", format!("{COMPOSE}\n"));
            trial.acts(&step);
            assert_eq!(trial.read("it's a compose.yml"), format!("{wanted}\n"));
        });
    }

    #[test]
    fn f_08_a_text_that_is_nowhere_or_only_in_a_comment_changes_nothing() {
        in_every_shell(|trial| {
            for (after, word) in [("app/nothing:", "1"), ("app/backend:0.1 was the ", "1"), ("app/backend:", "a b")] {
                trial.write("it's a compose.yml", COMPOSE);
                let step = line(trial, &["app/backend-gpu:", after], word);
                let Work::Host(program) = step.work() else { panic!("a program") };
                for text in [program.look.expect("it looks"), program.act] {
                    let ran = trial.run(&text);
                    assert!(ran.status != 0 && ran.status != 10 && !ran.err.is_empty(), "{after}: {ran:?}");
                }
                assert_eq!(trial.read("it's a compose.yml"), COMPOSE);
            }
        });
    }
}
