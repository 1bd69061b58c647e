//! How a program travels on standard input: constant commands, a frame around the text, a mark before
//! its output.
//!
//! The text goes in between a random mark and the same mark again. The shell runs it only when the end
//! has arrived: a link cut half way leaves nothing done, not half of it. The mark is printed on both
//! streams just before the text runs, so that what a noisy profile said before is no output of the
//! program, and so that a host that ran something else is found out.

use std::{borrow::Cow, fmt::Write as _};

use crate::{model::Secret, transport::TransportError};

/// Reads the whole input at once, in blocks. The program's own standard input is empty.
///
/// No newline, backslash or `!` stands in these texts, and no quote but the double: so they pass
/// unharmed through fish and csh as login shells, too.
const WHOLE: &str = concat!(
    r##"IFS= read -r lse; lsp=$(cat); case $lsp in *"#$lse") ;; *) exit 125;; esac; lsp=${lsp%"#$lse"}; "##,
    r##"exec </dev/null; echo "$lse"; echo "$lse" >&2; eval "unset lse lsp; $lsp""##
);

/// Reads lines up to the mark by `read` alone, which takes no byte past a line's end: the rest of the
/// input is the program's.
///
/// `cat` and `sh` itself read in blocks and would swallow it.
const STREAM: &str = concat!(
    r##"IFS= read -r lse; lsn=$(printf "%bx" "\012"); lsn=${lsn%x}; lsp=; lsd=; "##,
    r##"while IFS= read -r lsl; do case $lsl in "#$lse") lsd=y; break;; esac; lsp=$lsp$lsl$lsn; done; "##,
    r##"case $lsd in y) ;; *) exit 125;; esac; "##,
    r##"echo "$lse"; echo "$lse" >&2; eval "unset lse lsn lsp lsl lsd; $lsp""##
);

/// A program made ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct Framed {
    /// For `sh -c`: constant, and safe inside single quotes.
    pub(super) body: &'static str,
    /// Sent on standard input first.
    pub(super) head: Secret,
    /// Printed, with a newline, on both streams before the program runs.
    pub(super) mark: String,
}

/// Whether the program has a standard input of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Empty,
    Follows,
}

/// Frames `text`, with `secrets` set and exported first.
pub(super) fn frame(text: &str, secrets: &[(String, Secret)], input: Input) -> Result<Framed, TransportError> {
    let mark = mark();
    let mut head = format!("{mark}\n");
    for (name, value) in secrets {
        if !is_variable(name) {
            return Err(TransportError::Configuration(format!("`{name}` cannot be the name of a variable")));
        }
        // Quoted here and not by `model::quote`, which would read a placeholder into a value.
        let _ = writeln!(head, "{name}='{}'; export {name}", value.reveal().replace('\'', r"'\''"));
    }
    head.push_str(text);
    if head.contains('\0') {
        return Err(TransportError::Configuration("a program for a shell cannot contain NUL".to_owned()));
    }
    if !head.ends_with('\n') {
        head.push('\n');
    }
    let _ = writeln!(head, "#{mark}");
    let body = match input {
        Input::Empty => WHOLE,
        Input::Follows => STREAM,
    };
    Ok(Framed { body, head: Secret::new(head), mark })
}

impl Framed {
    /// The command for the login shell: always one of two texts.
    pub(super) fn command(&self) -> String {
        format!("/bin/sh -c '{}'", self.body)
    }
}

/// Returns a text that no program prints and nobody can guess.
pub(super) fn mark() -> String {
    format!("longshore-{:032x}", rand::random::<u128>())
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Noise before the mark that is held back at most. More is taken for output after all.
const MOST_NOISE: usize = 64 * 1024;

/// Takes what precedes the mark out of a stream.
#[derive(Debug)]
pub(super) struct Noise {
    mark: Vec<u8>,
    held: Option<Vec<u8>>,
    was_found: bool,
}

impl Noise {
    pub(super) fn before(mark: &str) -> Self {
        Self { mark: format!("{mark}\n").into_bytes(), held: Some(Vec::new()), was_found: false }
    }

    /// Whether the mark has come: the program has begun.
    pub(super) fn was_found(&self) -> bool {
        self.was_found
    }

    /// Returns what of `bytes` (and of what was held) belongs to the program.
    pub(super) fn pass<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(held) = &mut self.held else { return Cow::Borrowed(bytes) };
        let searched = held.len().saturating_sub(self.mark.len());
        held.extend_from_slice(bytes);
        if let Some(at) = find(&held[searched..], &self.mark) {
            let rest = held.split_off(searched + at + self.mark.len());
            self.held = None;
            self.was_found = true;
            return Cow::Owned(rest);
        }
        if held.len() > MOST_NOISE {
            return Cow::Owned(self.held.take().unwrap_or_default());
        }
        Cow::Borrowed(&[])
    }

    /// Returns what was still held when the stream ended.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        self.held.take().unwrap_or_default()
    }
}

/// Finds `needle` in `text`.
pub(super) fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests;
