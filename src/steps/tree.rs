//! Brings a folder of the controller to the host: only what has changed, and back again.

mod local;
mod send;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HostProgram, Problem, Size, StepError, StepKind, Template, Undoing, Upload, Work, local_file, shell};
use crate::model::{Effect, Redactor};

pub(super) use send::send;

/// Makes a folder on the host have the files of a folder on the controller: sources, static files, configuration.
///
/// Files are compared by digest, and only those that differ are sent. They arrive beside the folder, are verified, and are
/// then renamed into it one by one. What an earlier `tree` brought and is no longer there is removed; nothing else is,
/// whoever put it there. Folders without files are not brought. Not for secrets: files become readable to all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tree {
    /// Folder on the controller, relative to the document's folder; a template.
    pub from: String,
    /// Folder on the host: absolute, or below `~/`. Made where it is missing.
    pub to: String,
    /// What is not sent, and not touched there: `node_modules` and `*.log` anywhere, `/dist` or `docs/build` from the top.
    /// `[".git"]` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<String>>,
    /// Keep what an earlier tree brought and this one does not have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_old: bool,
    /// The tree as it was when the plan was made. Plans carry it, documents cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub loaded: Option<LoadedTree>,
}

/// A tree as a plan carries it: where it is, and what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LoadedTree {
    path: PathBuf,
    exclude: Vec<String>,
    to: String,
    keep_old: bool,
    files: usize,
    size: u64,
    sha256: String,
}

impl LoadedTree {
    fn to_word(&self) -> String {
        shell::path_word(&self.to)
    }
}

impl StepKind for Tree {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "from", &mut self.from);
        visit(Template::Text, "to", &mut self.to);
        for (index, pattern) in self.exclude.iter_mut().flatten().enumerate() {
            visit(Template::Text, &format!("exclude.{index}"), pattern);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = shell::path_problem("to", Some(&self.to)).into_iter().collect();
        if self.from.trim().is_empty() {
            problems.push(Problem::new("from", "the path is empty"));
        }
        for (index, pattern) in self.exclude.iter().flatten().enumerate() {
            if pattern.trim_matches('/').is_empty() {
                problems.push(Problem::new(&format!("exclude.{index}"), "a pattern of paths cannot be empty"));
            }
        }
        problems
    }

    fn load(&mut self, _: &Path) -> Result<(), StepError> {
        match self.loaded {
            Some(_) => Err(StepError::Refused("`loaded` is not for documents".to_owned())),
            None => Ok(()),
        }
    }

    fn load_rendered(&mut self, base: &Path) -> Result<(), StepError> {
        let wrap = |source| StepError::LocalFile { path: self.from.clone(), source };
        // Absolute, as a saved plan may be applied from another folder.
        let path = std::path::absolute(base.join(local_file::at_home(&self.from))).map_err(wrap)?;
        let exclude = self.exclude.clone().unwrap_or_else(|| vec![".git".to_owned()]);
        let manifest = local::Manifest::read(&path, &exclude)?;
        if manifest.0.is_empty() {
            return Err(StepError::Refused(format!("there are no files in `{}`", path.display())));
        }
        self.loaded = Some(LoadedTree {
            path,
            exclude,
            to: self.to.clone(),
            keep_old: self.keep_old,
            files: manifest.0.len(),
            size: manifest.0.iter().map(local::Entry::size).sum(),
            sha256: manifest.digest(),
        });
        Ok(())
    }

    fn summary(&self) -> String {
        let (from, to) = (Redactor::mask(&self.from), Redactor::mask(&self.to));
        let files = self.loaded.as_ref().map(|tree| format!(" ({} files, {})", tree.files, Size(tree.size)));
        shell::one_line(&format!("bring {from} to {to}{}", files.unwrap_or_default()))
    }

    fn effect(&self) -> Effect {
        Effect::Code
    }

    fn timeout(&self) -> std::time::Duration {
        std::time::Duration::from_mins(30)
    }

    fn expected(&self) -> std::time::Duration {
        std::time::Duration::from_secs(30)
    }

    fn is_repeat_safe(&self) -> bool {
        true
    }

    fn undo(&self) -> Undoing {
        Undoing::ByProgram
    }

    fn work(&self) -> Work<'_> {
        let begin = format!(
            "longshore_die() {{ printf '%s\\n' \"$*\" >&2; exit 1; }}\numask 022\ntab=$(printf '\\t')\nto={}\n\
             keep=$LONGSHORE_STEP_DIR\nbrought=$keep/upload\n",
            shell::path_word(&self.to)
        );
        let said = crate::model::quote(&self.summary());
        let look = format!(
            "{begin}if [ ! -f \"$brought/changed\" ]; then printf '%s\\n' {said}; exit 10; fi\n\
             [ -s \"$brought/changed\" ] || [ -s \"$brought/gone\" ] || exit 0\n\
             awk -F '\\t' '{{ print \"write \" $3 }}' \"$brought/changed\"\nsed 's/^/remove /' \"$brought/gone\"\nexit 10\n"
        );
        Work::Host(HostProgram {
            look: Some(look),
            act: format!("{begin}{}", include_str!("tree/act.sh")),
            undo: Some(format!("{begin}{}", include_str!("tree/undo.sh"))),
            upload: self.loaded.clone().map(|tree| Upload::Tree(Box::new(tree))),
            ..HostProgram::default()
        })
    }
}

#[cfg(test)]
mod tests;
