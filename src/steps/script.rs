//! Runs a script on the host: a file of the project, or text written in the step.

use std::{fmt::Write as _, path::Path};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HostProgram, Outside, Problem, StepError, StepKind, Template, Undoing, Work, local_file, shell};
use crate::model::{Effect, Redactor};

/// Runs a script, from a file of the project or written here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Script {
    /// File of the project, relative to the document's folder. A first line `#!` names the program that runs
    /// it, `sh` otherwise. Runs as it is unless `template` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The script itself, for `sh -e`, instead of `file`. A template: values are quoted for the shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Whether `file` is a template, too. Only for `sh`, as values are quoted for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
    /// Arguments for the script.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Folder on the host to run it in: absolute, or below `~/`. The login folder when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Environment variables for it, by name.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    /// A condition in `sh`: where it exits with 0 there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unless: Option<String>,
    /// A path on the host: where it exists there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creates: Option<String>,
    /// A path on the host: where it is missing there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removes: Option<String>,
    /// Exit statuses that count as done. `[0]` when left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ok: Vec<u32>,
    /// What it starts outside of its own processes: containers, database sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outside: Option<Outside>,
    /// The text of `file`, put in by [`StepKind::load`]. Plans carry it, documents cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub loaded: Option<String>,
}

impl Script {
    fn source(&self) -> &str {
        self.loaded.as_deref().or(self.text.as_deref()).unwrap_or_default()
    }

    /// The words that run the script: those of its `#!` line, or `sh`.
    fn interpreter(&self) -> Vec<String> {
        let line = self.source().lines().next().and_then(|line| line.strip_prefix("#!")).map(str::trim);
        match line {
            Some(line) if !line.is_empty() => {
                // As the kernel reads it: the program, and all the rest as one argument.
                let (program, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
                let rest = rest.trim();
                [program, rest].into_iter().filter(|word| !word.is_empty()).map(str::to_owned).collect()
            }
            _ if self.file.is_none() => vec!["sh".to_owned(), "-e".to_owned()],
            _ => vec!["sh".to_owned()],
        }
    }
}

impl StepKind for Script {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        if let Some(text) = &mut self.text {
            visit(Template::Shell, "text", text);
        }
        if self.template
            && let Some(loaded) = &mut self.loaded
        {
            visit(Template::Shell, "file", loaded);
        }
        for (index, word) in self.args.iter_mut().enumerate() {
            visit(Template::Text, &format!("args.{index}"), word);
        }
        if let Some(dir) = &mut self.dir {
            visit(Template::Text, "dir", dir);
        }
        for (name, value) in &mut self.env {
            visit(Template::Text, &format!("env.{name}"), value);
        }
        if let Some(unless) = &mut self.unless {
            visit(Template::Shell, "unless", unless);
        }
        if let Some(creates) = &mut self.creates {
            visit(Template::Text, "creates", creates);
        }
        if let Some(removes) = &mut self.removes {
            visit(Template::Text, "removes", removes);
        }
        if let Some(outside) = &mut self.outside {
            outside.templates(visit);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        match (&self.file, &self.text) {
            (Some(_), Some(_)) => problems.push(Problem::new("text", "`file` and `text` exclude each other")),
            (None, None) => {
                problems.push(Problem::new("", "a script needs `file` or `text`"));
            }
            (Some(file), None) => problems.extend(local_file::problem("file", file)),
            (None, Some(text)) if text.trim().is_empty() => problems.push(Problem::new("text", "the script is empty")),
            (None, Some(_)) => {
                if self.template {
                    problems.push(Problem::new("template", "`text` is a template anyway").hint("remove `template`"));
                }
            }
        }
        let interpreter = self.interpreter();
        let program = interpreter.iter().flat_map(|word| word.split(['/', ' '])).rfind(|word| !word.starts_with('-'));
        if self.template && !matches!(program, Some("sh" | "bash" | "dash" | "ash" | "ksh" | "zsh")) {
            problems.push(
                Problem::new("template", "values in the script would be quoted for `sh`, which does not run it")
                    .hint("pass the values in `args` or `env`"),
            );
        }
        problems.extend(shell::path_problem("dir", self.dir.as_deref()));
        problems.extend(shell::path_problem("creates", self.creates.as_deref()));
        problems.extend(shell::path_problem("removes", self.removes.as_deref()));
        problems.extend(shell::variable_problems("env", self.env.keys()));
        problems.extend(self.outside.iter().flat_map(Outside::problems));
        problems
    }

    fn load(&mut self, base: &Path) -> Result<(), StepError> {
        if self.loaded.is_some() {
            return Err(StepError::Refused("`loaded` is not for documents".to_owned()));
        }
        if let Some(file) = &self.file {
            self.loaded = Some(local_file::read_text(base, file)?);
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let name = match (&self.file, &self.text) {
            (Some(file), _) => format!("script {file}"),
            (None, Some(text)) => {
                let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
                let more = if text.trim().lines().count() > 1 { " …" } else { "" };
                return format!("script: {}{more}", shell::one_line(&Redactor::mask(first.unwrap_or_default())));
            }
            (None, None) => "script".to_owned(),
        };
        let args = crate::model::RemoteCommand::new(self.args.iter().map(|arg| Redactor::mask(arg))).to_shell();
        shell::one_line(format!("{name} {args}").trim_end())
    }

    fn effect(&self) -> Effect {
        Effect::Code
    }

    fn expected(&self) -> std::time::Duration {
        std::time::Duration::from_secs(30)
    }

    fn is_repeat_safe(&self) -> bool {
        false
    }

    fn undo(&self) -> Undoing {
        Undoing::Impossible { reason: "a script has no undo of its own" }
    }

    fn work(&self) -> Work<'_> {
        let place = shell::Place { dir: self.dir.as_deref(), env: &self.env };
        let conditions = shell::Conditions {
            unless: self.unless.as_deref(),
            creates: self.creates.as_deref(),
            removes: self.removes.as_deref(),
        };
        // The script is a file of its own, so that `$0`, `exit` and arguments mean what they always
        // mean, and is handed to its interpreter, so that it runs from a `noexec` file system too.
        let mut words = self.interpreter();
        let placeholder = words.len();
        words.extend(self.args.iter().cloned());
        let mut command = crate::model::RemoteCommand::new(&words[..placeholder]).to_shell();
        command.push_str(" \"$LONGSHORE_STEP_DIR/script\"");
        for word in &self.args {
            command.push(' ');
            command.push_str(&crate::model::quote(word));
        }
        let mut act = shell::emit_function("longshore_script", &shell::Content::Text(self.source().to_owned()));
        act.push_str(
            "(umask 077; longshore_script >\"$LONGSHORE_STEP_DIR/script\") ||\n  \
             { echo 'cannot store the script on the host' >&2; exit 1; }\n",
        );
        for variable in shell::secret_variables(self.source()) {
            let _ = writeln!(act, "export {variable}");
        }
        act.push_str(&place.enter());
        act.push_str(&shell::run_text(&command, &self.ok));
        Work::Host(HostProgram {
            look: conditions.look(&place),
            act,
            outside: self.outside.as_ref().map(|outside| Box::new(outside.in_place(&place))),
            ..HostProgram::default()
        })
    }
}
