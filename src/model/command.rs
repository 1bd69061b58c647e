//! Command lines, quoted for a POSIX shell in exactly one place.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::secret::{SECRET_MARK, shell_reference};

/// Quotes a text as one word for a POSIX shell.
///
/// A secret's placeholder inside the text becomes a reference to the environment variable that
/// carries it, so a secret never stands in a script. NUL cannot be passed to any program and is
/// dropped here; documents with it are refused earlier.
pub fn quote(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    quote_always(text)
}

fn quote_always(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    for (index, piece) in text.split(SECRET_MARK).enumerate() {
        if index % 2 == 1 {
            quoted.push_str(&shell_reference(piece));
        } else if !piece.is_empty() || text.is_empty() {
            quoted.push('\'');
            for c in piece.chars() {
                match c {
                    '\'' => quoted.push_str("'\\''"),
                    '\0' => {}
                    c => quoted.push(c),
                }
            }
            quoted.push('\'');
        }
    }
    quoted
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(&byte)
}

/// A command as words; the shell text of it is made in one place, here.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteCommand {
    words: Vec<String>,
}

impl RemoteCommand {
    pub fn new<I>(words: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self { words: words.into_iter().map(Into::into).collect() }
    }

    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Returns the command as text for a POSIX shell. A first word like `A=b` stays a command name.
    pub fn to_shell(&self) -> String {
        let mut text = String::new();
        for (index, word) in self.words.iter().enumerate() {
            if index > 0 {
                text.push(' ');
            }
            if index == 0 && word.contains('=') {
                text.push('\'');
                text.push_str(&word.replace('\'', "'\\''"));
                text.push('\'');
            } else {
                text.push_str(&quote(word));
            }
        }
        text
    }

    /// Returns the command as text for a login shell, which may be no POSIX shell.
    ///
    /// Inside single quotes fish takes some backslashes for escapes, and csh a `!` for its history: those stand
    /// outside of them, where every shell reads them alike. zsh would look for a program where a word begins with `=`.
    pub fn to_login_shell(&self) -> String {
        let words = self.words.iter().map(|word| {
            if !word.is_empty() && word.bytes().all(|byte| is_plain(byte) && !b"=%".contains(&byte)) {
                return word.clone();
            }
            let mut text = String::new();
            for piece in word.split_inclusive(['\\', '!']) {
                let plain = piece.trim_end_matches(['\\', '!']);
                if !plain.is_empty() {
                    text.push_str(&quote_always(plain));
                }
                text.extend(piece[plain.len()..].chars().flat_map(|escaped| ['\\', escaped]));
            }
            if text.is_empty() { "''".to_owned() } else { text }
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for RemoteCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_shell())
    }
}

impl fmt::Debug for RemoteCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteCommand({})", self.to_shell())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_the_shell_would_read_them() {
        assert_eq!(RemoteCommand::new(["docker", "compose", "-p", "a b"]).to_shell(), "docker compose -p 'a b'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert_eq!(quote("$(touch x)"), "'$(touch x)'");
        assert_eq!(quote("~"), "'~'");
        assert_eq!(RemoteCommand::new(["A=b"]).to_shell(), "'A=b'");
    }

    #[test]
    fn for_a_login_shell_nothing_stands_in_quotes_that_some_shell_reads_there() {
        let text = |word: &str| RemoteCommand::new([word]).to_login_shell();
        assert_eq!(text("/usr/bin/true"), "/usr/bin/true");
        assert_eq!([text(""), text("A=b"), text("=b")], ["''", "'A=b'", "'=b'"]);
        assert_eq!([text("\\"), text("!"), text("a\\b!")], [r"\\", r"\!", r"'a'\\'b'\!"]);
        assert_eq!(text("a'\\"), r"'a'\'''\\");
    }

    #[test]
    fn a_secret_becomes_a_reference_and_never_a_text() {
        let text = format!("user:{}!", super::super::SecretId::new("db").placeholder());
        assert_eq!(quote(&text), "'user:'\"$LONGSHORE_SECRET_db\"'!'");
    }
}
