//! Puts a file on the host, atomically, or removes one.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    HostProgram, LargeFile, Problem, StepError, StepKind, Template, Undoing, Upload, Work, difference, local_file,
    replace,
    shell::{self, Content},
};
use crate::model::{Effect, Redactor, quote};

/// Largest local file that travels inside the step's program; larger ones are streamed before it.
const INLINE: u64 = 64 * 1024;

/// Puts a file on the host: atomic, and unchanged when content, mode and owner are equal.
///
/// A symbolic link at the path is replaced by the file; a directory is an error. Mode and owner of a
/// file that is already there are kept unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    /// Path on the host: absolute, or below `~/`.
    pub to: String,
    /// Whether the file is to be there. `present` when left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub state: FileState,
    /// The content itself, a template: values are put in as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Template file of the project that makes the content, relative to the document's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Local file of any content and size, copied as it is, relative to the document's folder. Its name may hang on the
    /// release: `archives/app-{{release.version}}.tar.gz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// SHA-256 that the local file of `from` must have, in hex, as whoever made it tells. Any other is refused while planning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Mode, octal, as text: `"0640"`. What it has when left out; a new file gets `0644`, or `0600` if it holds a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Owner: `user` or `user:group`, by name or number. What it has when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Make missing parent folders, which are an error otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parents: bool,
    /// Never show the content in differences. Content with a secret value never is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// What was read from `template` or `from`, put in by [`StepKind::load`]. Plans carry it, documents cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub loaded: Option<Loaded>,
}

/// Whether the file is to be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    #[default]
    Present,
    Absent,
}

/// A local file as a plan carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Loaded {
    /// A template's text, or a small file that is text.
    Text(String),
    /// Any other small file, in lower-case hex.
    Hex(String),
    /// A large file: stays where it is, and is streamed.
    Large { path: PathBuf, size: u64, sha256: String },
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl File {
    /// The content that travels inside the program; `None` for a streamed one.
    fn inline(&self) -> Option<Content> {
        match (&self.content, &self.loaded) {
            (Some(text), _) | (None, Some(Loaded::Text(text))) => Some(Content::Text(text.clone())),
            (None, Some(Loaded::Hex(hex))) => Some(Content::Bytes(
                (0..hex.len() / 2).filter_map(|i| u8::from_str_radix(hex.get(i * 2..i * 2 + 2)?, 16).ok()).collect(),
            )),
            (None, Some(Loaded::Large { .. }) | None) => None,
        }
    }

    /// Whether nobody may see the content.
    fn is_secret(&self) -> bool {
        self.secret || matches!(self.inline(), Some(Content::Text(text)) if Redactor::mentions_secret(&text))
    }

    fn upload(&self) -> Option<LargeFile> {
        match &self.loaded {
            Some(Loaded::Large { path, size, sha256 }) => {
                Some(LargeFile { from: path.clone(), size: *size, sha256: sha256.clone() })
            }
            _ => None,
        }
    }
}

impl StepKind for File {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "to", &mut self.to);
        if let Some(content) = &mut self.content {
            visit(Template::Text, "content", content);
        }
        if self.template.is_some()
            && let Some(Loaded::Text(text)) = &mut self.loaded
        {
            visit(Template::Text, "template", text);
        }
        if let Some(from) = &mut self.from {
            visit(Template::Text, "from", from);
        }
        if let Some(sha256) = &mut self.sha256 {
            visit(Template::Text, "sha256", sha256);
        }
        if let Some(mode) = &mut self.mode {
            visit(Template::Text, "mode", mode);
        }
        if let Some(owner) = &mut self.owner {
            visit(Template::Text, "owner", owner);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = shell::path_problem("to", Some(&self.to)).into_iter().collect();
        if self.to.ends_with('/') {
            problems.push(Problem::new("to", "the path names a folder").hint("end it with the name of the file"));
        }
        let sources: Vec<_> = [
            ("content", self.content.is_some()),
            ("template", self.template.is_some()),
            ("from", self.from.is_some()),
            ("mode", self.mode.is_some() && self.state == FileState::Absent),
            ("owner", self.owner.is_some() && self.state == FileState::Absent),
        ]
        .into_iter()
        .filter_map(|(key, there)| there.then_some(key))
        .collect();
        match (self.state, sources.as_slice()) {
            (FileState::Present, []) => problems.push(
                Problem::new("", "a file needs `content`, `template` or `from`")
                    .hint("`state = \"absent\"` removes the file"),
            ),
            (FileState::Present, [_, second, ..]) => {
                problems.push(Problem::new(second, "only one of `content`, `template` and `from` can be there"));
            }
            (FileState::Absent, [first, ..]) => {
                problems.push(Problem::new(first, "a file that is to be absent cannot have this"));
            }
            (FileState::Present, [_]) | (FileState::Absent, []) => {}
        }
        problems.extend(self.template.as_deref().and_then(|path| local_file::problem("template", path)));
        if self.from.as_deref().is_some_and(|path| path.trim().is_empty()) {
            problems.push(Problem::new("from", "the path is empty"));
        }
        if let Some(sum) = self.sha256.as_deref().filter(|sum| !sum.contains("{{")) {
            let is_sum = sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
            if self.from.is_none() {
                problems.push(Problem::new("sha256", "`sha256` is that of a local file, and needs `from`"));
            } else if !is_sum {
                problems.push(
                    Problem::new("sha256", format!("`{sum}` is not a SHA-256"))
                        .hint("write 64 hexadecimal digits, as `sha256sum` prints them"),
                );
            }
        }
        if let Some(mode) = self.mode.as_deref().filter(|mode| !mode.contains("{{"))
            && !replace::is_mode(mode)
        {
            problems.push(
                Problem::new("mode", format!("`{mode}` is not an octal mode"))
                    .hint("write three or four octal digits: `0640`"),
            );
        }
        if let Some(owner) = self.owner.as_deref().filter(|owner| !owner.contains("{{"))
            && !replace::is_owner(owner)
        {
            problems
                .push(Problem::new("owner", format!("`{owner}` is not an owner")).hint("write `user` or `user:group`"));
        }
        problems
    }

    fn load(&mut self, base: &Path) -> Result<(), StepError> {
        if self.loaded.is_some() {
            return Err(StepError::Refused("`loaded` is not for documents".to_owned()));
        }
        if let Some(template) = &self.template {
            self.loaded = Some(Loaded::Text(local_file::read_text(base, template)?));
        }
        Ok(())
    }

    fn load_rendered(&mut self, base: &Path) -> Result<(), StepError> {
        let Some(from) = &self.from else { return Ok(()) };
        let (bytes, size) = local_file::read_up_to(base, from, INLINE + 1)?;
        let (loaded, found) = if size > INLINE {
            let path = local_file::locate(base, from);
            let wrap = |source| StepError::LocalFile { path: path.display().to_string(), source };
            // Absolute, as a saved plan may be applied from another folder.
            let path = std::path::absolute(&path).map_err(wrap)?;
            let (size, sha256) = local_file::digest(&path)?;
            (Loaded::Large { path, size, sha256: sha256.clone() }, sha256)
        } else {
            let found = local_file::hex(&Sha256::digest(&bytes));
            let loaded = match String::from_utf8(bytes) {
                Ok(text) if !text.contains('\0') && !Redactor::mentions_secret(&text) => Loaded::Text(text),
                Ok(text) => Loaded::Hex(local_file::hex(text.as_bytes())),
                Err(error) => Loaded::Hex(local_file::hex(error.as_bytes())),
            };
            (loaded, found)
        };
        if let Some(wanted) = self.sha256.as_deref().filter(|wanted| !found.eq_ignore_ascii_case(wanted)) {
            let why = format!("`{from}` is not the file that was meant: its SHA-256 is {found}, not {wanted}");
            return Err(StepError::Refused(why));
        }
        self.loaded = Some(loaded);
        Ok(())
    }

    fn summary(&self) -> String {
        let to = Redactor::mask(&self.to);
        let mut text = match (self.state, &self.template, &self.from) {
            (FileState::Absent, _, _) => format!("remove {to}"),
            (FileState::Present, Some(source), _) | (FileState::Present, None, Some(source)) => {
                format!("write {to} from {source}")
            }
            (FileState::Present, None, None) => format!("write {to}"),
        };
        if let Some(mode) = &self.mode {
            let _ = write!(text, ", mode {mode}");
        }
        if let Some(owner) = &self.owner {
            let _ = write!(text, ", owner {owner}");
        }
        shell::one_line(&text)
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
            look: Some(self.look_text()),
            act: self.act_text(),
            undo: Some(format!("{}{}", replace::begin(&self.to), replace::RESTORE)),
            upload: self.upload().map(Upload::File),
            ..HostProgram::default()
        })
    }

    fn difference(&self, looked: &str) -> String {
        difference::show(looked, &self.to, self.shown().as_deref())
    }
}

impl File {
    /// The new content as text, where it may be shown.
    fn shown(&self) -> Option<String> {
        match (self.state, self.inline()) {
            (FileState::Present, Some(Content::Text(text))) if !self.is_secret() => Some(text),
            // What is removed is not shown: nobody can tell whether it holds a secret.
            (FileState::Present | FileState::Absent, _) => None,
        }
    }

    /// What both halves begin with: where, what, and how to tell that it is there already.
    fn begin_text(&self) -> String {
        let mut text = replace::begin(&self.to);
        for (what, wrong) in [
            ("mode", self.mode.as_deref().filter(|mode| !replace::is_mode(mode))),
            ("owner", self.owner.as_deref().filter(|owner| !replace::is_owner(owner))),
        ] {
            if let Some(wrong) = wrong {
                let said = quote(&format!("`{wrong}` is not a valid {what}"));
                let _ = writeln!(text, "longshore_die {said}");
            }
        }
        if self.state == FileState::Absent {
            text.push_str(replace::REFUSE);
            return text;
        }
        text.push_str(replace::ATTRIBUTES);
        text.push_str(replace::OWNED);
        text.push_str(replace::SHA256);
        if let Some(content) = self.inline() {
            text.push_str(&shell::emit_function("longshore_content", &content));
            text.push_str(replace::SAME);
        } else if let Some(LargeFile { size, sha256, .. }) = self.upload() {
            text.push_str("longshore_content() { cat \"$LONGSHORE_STEP_DIR/upload\"; }\n");
            text.push_str(&same_as_upload(size, &sha256));
        } else {
            text.push_str("longshore_die 'the local file was not read when the plan was made'\n");
        }
        text.push_str(replace::REFUSE);
        let (mode, user, group) = replace::attribute_words(self.mode.as_deref(), self.owner.as_deref());
        let _ = writeln!(text, "want_mode={mode}\nwant_user={user}\nwant_group={group}");
        text
    }

    fn look_text(&self) -> String {
        let mut text = self.begin_text();
        if self.state == FileState::Absent {
            text.push_str(
                r#"if [ ! -e "$to" ] && [ ! -L "$to" ]; then exit 0; fi
printf 'remove %s\n' "$to"
exit 10
"#,
            );
            return text;
        }
        text.push_str(LOOK);
        if self.shown().is_some() {
            text.push_str("if [ -n \"$differs\" ]; then\n");
            text.push_str(difference::SEND);
            text.push_str("fi\n");
        } else if self.is_secret() {
            text.push_str("[ -z \"$differs\" ] || echo '(the content is secret and not shown)'\n");
        }
        text.push_str("exit $result\n");
        text
    }

    fn act_text(&self) -> String {
        let mut text = self.begin_text();
        text.push_str(replace::SAVE);
        if self.state == FileState::Absent {
            text.push_str(
                r#"if [ -e "$to" ] || [ -L "$to" ]; then
  longshore_save
  rm -f "$to" || longshore_die "cannot remove $to"
  sync "$dir" 2>/dev/null
fi
printf 'longshore-receipt path %s\n' "$to"
exit 0
"#,
            );
            return text;
        }
        text.push_str(replace::PUT);
        if self.upload().is_some() {
            text.push_str(
                "longshore_same \"$LONGSHORE_STEP_DIR/upload\" || \
                 longshore_die 'the file did not arrive on the host as it was sent'\n",
            );
        }
        if self.parents {
            text.push_str(replace::PARENTS);
        } else {
            text.push_str(
                "[ -d \"$dir\" ] || longshore_die \"the folder $dir is missing (\\`parents = true\\` makes it)\"\n",
            );
        }
        let fallback = if self.is_secret() { "0600" } else { "0644" };
        text.push_str(&ACT.replace("@FALLBACK@", fallback));
        if self.upload().is_some() {
            text.push_str("rm -f \"$LONGSHORE_STEP_DIR/upload\"\n");
        }
        text.push_str("printf 'longshore-receipt path %s\\nlongshore-receipt size %s\\n' \"$to\" $(wc -c <\"$to\")\n");
        if !self.is_secret() {
            text.push_str(
                "sum=$(longshore_sha256 \"$to\")\n[ -z \"$sum\" ] || echo \"longshore-receipt sha256 $sum\"\n",
            );
        }
        text.push_str("exit 0\n");
        text
    }
}

/// Compares with what is wanted, says what differs, and sets `result` and `differs`.
const LOOK: &str = r#"result=0 differs=
if [ -L "$to" ]; then
  result=10
  printf 'create %s, in place of a symbolic link\n' "$to"
elif [ ! -e "$to" ]; then
  result=10 differs=1
  printf 'create %s\n' "$to"
  [ -d "$dir" ] || printf 'its folder is missing: %s\n' "$dir"
else
  [ -r "$to" ] || { printf 'cannot read %s\n' "$to" >&2; exit 1; }
  if ! longshore_same "$to"; then
    result=10 differs=1
    printf 'content of %s differs\n' "$to"
  fi
  set -- $(longshore_attributes "$to")
  if [ -n "$want_mode" ] && [ "$want_mode" != "$1" ]; then
    result=10
    printf 'mode of %s: %s -> %s\n' "$to" "$1" "$want_mode"
  fi
  if [ -n "$want_user" ] && ! longshore_owned "$to" "$want_user" "$want_group"; then
    result=10
    printf 'owner of %s: %s -> %s\n' "$to" "$2:$3" "$want_user${want_group:+:$want_group}"
  fi
fi
"#;

/// Does no more than is needed: a file whose content is right keeps its place on the disk, as
/// containers that have it mounted would otherwise go on seeing the old one.
const ACT: &str = r#"if [ -f "$to" ] && [ ! -L "$to" ] && [ -r "$to" ] && longshore_same "$to"; then
  set -- $(longshore_attributes "$to")
  if [ -n "$want_user" ] && ! longshore_owned "$to" "$want_user" "$want_group"; then
    longshore_save
    chown "$want_user${want_group:+:$want_group}" "$to" || longshore_die "cannot give $to to $want_user"
    # Changing the owner may have dropped special bits.
    want_mode=${want_mode:-$1}
  fi
  if [ -n "$want_mode" ] && [ "$want_mode" != "$(longshore_attributes "$to" | awk '{ print $1 }')" ]; then
    longshore_save
    chmod "$want_mode" "$to" || longshore_die "cannot set the mode of $to"
  fi
else
  longshore_save
  if [ ! -f "$to" ] || [ -L "$to" ]; then want_mode=${want_mode:-@FALLBACK@}; fi
  longshore_put "$want_mode" "$want_user" "$want_group"
fi
"#;

/// Returns `longshore_same` for a large file: by size and digest, as the content may not be on the host yet.
fn same_as_upload(size: u64, sha256: &str) -> String {
    format!(
        r#"longshore_same() {{
  [ "$(($(wc -c <"$1")))" = {size} ] || return 1
  sum=$(longshore_sha256 "$1")
  if [ -n "$sum" ]; then [ "$sum" = {sha256} ]
  elif [ -f "$LONGSHORE_STEP_DIR/upload" ] && [ "$1" != "$LONGSHORE_STEP_DIR/upload" ]; then
    cmp -s "$1" "$LONGSHORE_STEP_DIR/upload"
  else [ "$1" = "$LONGSHORE_STEP_DIR/upload" ]
  fi
}}
"#
    )
}

#[cfg(test)]
mod tests;
