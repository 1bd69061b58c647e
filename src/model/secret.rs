//! Secrets: values that are never printed, and the placeholders that stand for them.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// Encloses a secret's name in rendered text. A private-use character: documents may not hold it.
pub(crate) const SECRET_MARK: char = '\u{f8ff}';

/// A value that prints as `[hidden]` whichever way it is printed.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// Returns the value itself. Every call is a place to read in a review.
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Where a secret's value comes from. Resolved late, on the controller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SecretSource {
    /// An environment variable of the controller.
    Env(String),
    /// A file on the controller; one trailing newline is dropped.
    File(String),
    /// A command run on the controller (`pass`, `op`, `age`, `vault`); one trailing newline is dropped.
    Command(Vec<String>),
}

/// Names a secret within one host's plan; safe as part of an environment variable's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretId(String);

impl TryFrom<String> for SecretId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let id = Self::new(&text);
        if id.0 == text && !text.is_empty() {
            Ok(id)
        } else {
            Err(format!("`{}` is not the id of a secret", text.escape_default()))
        }
    }
}

impl From<SecretId> for String {
    fn from(id: SecretId) -> Self {
        id.0
    }
}

impl SecretId {
    /// Makes an id from a variable's name; letters, digits and `_` stay, the rest becomes `_`.
    pub fn new(name: &str) -> Self {
        Self(name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the environment variable that carries the value on the host.
    pub fn variable(&self) -> String {
        format!("LONGSHORE_SECRET_{}", self.0)
    }

    /// Returns the text that stands for the value in rendered templates and plans.
    pub fn placeholder(&self) -> String {
        format!("{SECRET_MARK}{}{SECRET_MARK}", self.0)
    }
}

/// Returns the double-quoted shell reference for the name between two marks.
pub(super) fn shell_reference(name: &str) -> String {
    format!("\"${}\"", SecretId::new(name).variable())
}

/// Knows the values of secrets: puts them in where they are needed, takes them out of what is shown.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    secrets: BTreeMap<SecretId, Secret>,
    /// The spellings to hide: as they are, and as base64 and URLs write them. Longest first.
    spellings: Vec<Secret>,
}

impl Redactor {
    pub fn new(secrets: BTreeMap<SecretId, Secret>) -> Self {
        let spellings = secrets.values().fold(Self::default(), Self::hiding).spellings;
        Self { secrets, spellings }
    }

    /// Hides one more value, which has no placeholder: the password for `sudo`.
    #[must_use]
    pub fn hiding(mut self, secret: &Secret) -> Self {
        let value = secret.reveal();
        // Hiding a very short text would blot out ordinary output and tell its length.
        if value.len() >= 4 {
            self.spellings.push(Secret::new(value));
            let lines = value.lines().filter(|line| line.len() >= 8 && *line != value);
            self.spellings.extend(lines.map(Secret::new));
            self.spellings.extend(encodings(value).into_iter().map(Secret::new));
            self.spellings.sort_by_key(|s| std::cmp::Reverse(s.reveal().len()));
        }
        self
    }

    pub fn secrets(&self) -> &BTreeMap<SecretId, Secret> {
        &self.secrets
    }

    /// Whether `text` contains a placeholder.
    pub fn mentions_secret(text: &str) -> bool {
        text.contains(SECRET_MARK)
    }

    /// Lists the ids of the placeholders in `text`.
    pub fn ids_in(text: &str) -> Vec<SecretId> {
        text.split(SECRET_MARK).skip(1).step_by(2).map(SecretId::new).collect()
    }

    /// Puts the values in place of their placeholders; `None` when one is not known.
    pub fn fill(&self, text: &str) -> Option<Secret> {
        let mut filled = String::with_capacity(text.len());
        for (index, piece) in text.split(SECRET_MARK).enumerate() {
            if index % 2 == 1 {
                filled.push_str(self.secrets.get(&SecretId::new(piece))?.reveal());
            } else {
                filled.push_str(piece);
            }
        }
        Some(Secret::new(filled))
    }

    /// Shows `[hidden]` in place of each placeholder.
    pub fn mask(text: &str) -> String {
        text.split(SECRET_MARK).enumerate().map(|(i, piece)| if i % 2 == 1 { "[hidden]" } else { piece }).collect()
    }

    /// Hides every known secret in `text`, whichever way it is spelt.
    pub fn hide(&self, text: &str) -> String {
        let mut shown = Self::mask(text);
        for spelling in &self.spellings {
            if shown.contains(spelling.reveal()) {
                shown = shown.replace(spelling.reveal(), "[hidden]");
            }
        }
        shown
    }

    /// Longest spelling in bytes: how much of a stream must be kept back to hide across reads.
    pub fn longest(&self) -> usize {
        self.spellings.first().map_or(0, |s| s.reveal().len())
    }
}

fn encodings(value: &str) -> Vec<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut all = Vec::new();
    // A secret may begin at any of three positions of base64's groups: keep what each has in common.
    for skip in 0..3_usize {
        let mut bytes = vec![0_u8; skip];
        bytes.extend(value.bytes());
        let mut text = String::new();
        for group in bytes.chunks_exact(3) {
            let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
            for shift in [18, 12, 6, 0] {
                text.push(char::from(ALPHABET[(bits >> shift & 63) as usize]));
            }
        }
        let text = text.get(if skip == 0 { 0 } else { 4 }..).unwrap_or_default().to_owned();
        if text.len() >= 8 {
            all.push(text.replace('+', "-").replace('/', "_"));
            all.push(text);
        }
    }
    // As URLs, forms and JSON write it; hexadecimal digits come in both cases.
    for is_upper in [true, false] {
        for space in ["%20", "+"] {
            let mut url = String::new();
            for byte in value.bytes() {
                match byte {
                    b' ' => url.push_str(space),
                    _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => url.push(char::from(byte)),
                    _ if is_upper => url.push_str(&format!("%{byte:02X}")),
                    _ => url.push_str(&format!("%{byte:02x}")),
                }
            }
            all.push(url);
        }
    }
    if let Ok(json) = serde_json::to_string(value) {
        let inside = &json[1..json.len() - 1];
        all.extend([inside.to_owned(), inside.replace('/', "\\/")]);
    }
    all.retain(|spelling| spelling != value);
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(BTreeMap::from([(SecretId::new("db-password"), Secret::new("hunter2 & co"))]))
    }

    #[test]
    fn a_secret_is_hidden_in_every_spelling() {
        let redactor = redactor();
        for text in [
            "password hunter2 & co given",
            "postgres://u:hunter2%20%26%20co@db",
            "password=hunter2+%26+co",
            "Authorization: Basic dXNlcjpodW50ZXIyICYgY28=",
        ] {
            let shown = redactor.hide(text);
            assert!(shown.contains("[hidden]"), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn s9_the_case_of_a_secret_is_not_that_of_its_hexadecimal_digits() {
        let secret = Secret::new("aB/c \"D\"\\é");
        let redactor = Redactor::new(BTreeMap::from([(SecretId::new("token"), secret)]));
        for text in [
            "aB%2Fc%20%22D%22%5C%C3%A9",
            "aB%2fc%20%22D%22%5c%c3%a9",
            "aB%2Fc+%22D%22%5C%C3%A9",
            r#"{"token":"aB/c \"D\"\\é"}"#,
            r#"{"token":"aB\/c \"D\"\\é"}"#,
        ] {
            let shown = redactor.hide(text);
            assert!(shown.contains("[hidden]") && !shown.contains('D'), "{text} is shown as {shown}");
        }
    }

    #[test]
    fn a_placeholder_is_filled_on_the_controller_and_masked_on_screen() {
        let id = SecretId::new("db-password");
        let text = format!("PASSWORD={}", id.placeholder());
        assert_eq!(redactor().fill(&text).map(|s| s.reveal().to_owned()).as_deref(), Some("PASSWORD=hunter2 & co"));
        assert_eq!(Redactor::mask(&text), "PASSWORD=[hidden]");
        assert_eq!(format!("{:?}", Secret::new("x")), "[hidden]");
    }
}
