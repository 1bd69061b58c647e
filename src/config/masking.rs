//! Keeps secrets that someone wrote out in a document off the screen.

use std::{ops::Range, sync::Arc};

/// Whether the text under a key looks like a secret that is written out. A template is none.
pub(super) fn is_secret(key: &str, text: &str) -> bool {
    is_name_of_secret(key) && !text.is_empty() && !text.contains("{{")
}

/// Whether a name is one that people give to secrets. `key-file` and `secret-path` say where, not what.
pub(super) fn is_name_of_secret(name: &str) -> bool {
    let words: Vec<String> = name.to_lowercase().split(['-', '_']).map(str::to_owned).collect();
    let tells = ["password", "passwd", "passphrase", "token", "secret"];
    let harmless = ["file", "path", "dir", "name", "env", "id", "user", "url"];
    let last = words.last().map(String::as_str).unwrap_or_default();
    let is_key = words
        .windows(2)
        .any(|pair| pair[1] == "key" && ["api", "private", "secret", "access"].contains(&pair[0].as_str()));
    (words.iter().any(|word| tells.contains(&word.as_str())) || is_key) && !harmless.contains(&last)
}

/// Returns the part after `=` of a line that could not be read, where the key is a secret's.
pub(super) fn broken_line(text: &str, span: &Range<usize>) -> Option<Range<usize>> {
    let at = span.start.min(text.len());
    let start = text.get(..at)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(start..)?.lines().next()?;
    let (key, value) = line.split_once('=')?;
    let key = key.trim().trim_matches(['"', '\'']).rsplit(['.', '{', ',', ' ']).next()?;
    (is_name_of_secret(key) && !value.contains("{{")).then(|| start + line.len() - value.len()..start + line.len())
}

/// Replaces parts of a text by stars, byte for byte, so that all places stay true. Quotes and line
/// breaks stay.
pub(super) fn blot(text: &Arc<str>, parts: &[Range<usize>]) -> Arc<str> {
    if parts.is_empty() {
        return Arc::clone(text);
    }
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if parts.iter().any(|part| part.contains(&at)) && !matches!(c, '\n' | '"' | '\'') {
            shown.push_str(&"*".repeat(c.len_utf8()));
        } else {
            shown.push(c);
        }
    }
    Arc::from(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whether_a_secret_is_meant() {
        for name in ["password", "db-password", "DB_PASSWORD", "api_key", "token", "secret-key-base"] {
            assert!(is_name_of_secret(name), "{name}");
        }
        for name in ["password-file", "key", "path", "token_url", "secretary", "keyboard", "secret-name"] {
            assert!(!is_name_of_secret(name), "{name}");
        }
    }
}
