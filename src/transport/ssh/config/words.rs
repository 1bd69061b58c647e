//! Splits a line of the configuration into its keyword and words, and reads single values.

use std::time::Duration;

/// A line with something on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Lower case.
    pub keyword: String,
    /// All after the keyword, as written: commands are taken from here.
    pub rest: String,
    /// The same as words: quotes and escapes resolved, comment cut off.
    pub words: Vec<String>,
}

impl Line {
    /// Returns the only word.
    pub fn one(&self) -> Result<&str, String> {
        match self.words.as_slice() {
            [] => Err("a value is missing".to_owned()),
            [word] if word.is_empty() => Err("the value is empty".to_owned()),
            [word] => Ok(word),
            [_, extra, ..] => Err(format!("`{extra}` is one value too many")),
        }
    }

    /// Returns the words, at least one and none empty.
    pub fn many(&self) -> Result<Vec<String>, String> {
        if self.words.is_empty() {
            return Err("a value is missing".to_owned());
        }
        if self.words.iter().any(String::is_empty) {
            return Err("a value is empty".to_owned());
        }
        Ok(self.words.clone())
    }
}

const UNCLOSED: &str = "the quotes are not closed";

const WHITE: [char; 4] = [' ', '\t', '\r', '\n'];

/// A line that cannot be split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitError {
    /// Lower case; empty where even the keyword is not clear.
    pub keyword: String,
    pub message: String,
}

/// Splits a line. `None` for a comment or an empty line.
pub fn split(line: &str) -> Result<Option<Line>, SplitError> {
    let line = line.trim_start_matches(WHITE).trim_end_matches([' ', '\t', '\r', '\n', '\x0c']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (keyword, rest) = match line.strip_prefix('"') {
        Some(quoted) => {
            quoted.split_once('"').ok_or_else(|| SplitError { keyword: String::new(), message: UNCLOSED.to_owned() })?
        }
        None => line.split_at(line.find(|c| WHITE.contains(&c) || c == '=').unwrap_or(line.len())),
    };
    let rest = rest.trim_start_matches(WHITE);
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start_matches(WHITE);
    let keyword = keyword.to_ascii_lowercase();
    if rest.is_empty() {
        return Err(SplitError { message: format!("`{keyword}` has no value"), keyword });
    }
    match split_words(rest) {
        Ok(words) => Ok(Some(Line { keyword, rest: rest.to_owned(), words })),
        Err(message) => Err(SplitError { keyword, message }),
    }
}

/// Splits into words at white space, with both sorts of quotes, backslashes before quotes, backslashes
/// and spaces, and a comment from a `#` that begins a word.
fn split_words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|&c| c == ' ' || c == '\t').is_some() {}
        match chars.peek() {
            None | Some('#') => return Ok(words),
            Some(_) => {}
        }
        let mut word = String::new();
        let mut quote: Option<char> = None;
        while let Some(&c) = chars.peek() {
            if quote.is_none() && (c == ' ' || c == '\t') {
                break;
            }
            chars.next();
            match (c, quote) {
                ('\\', _) => {
                    let escaped =
                        chars.next_if(|&next| matches!(next, '\'' | '"' | '\\') || (quote.is_none() && next == ' '));
                    word.push(escaped.unwrap_or('\\'));
                }
                ('"' | '\'', None) => quote = Some(c),
                (_, Some(open)) if c == open => quote = None,
                _ => word.push(c),
            }
        }
        if quote.is_some() {
            return Err(UNCLOSED.to_owned());
        }
        words.push(word);
    }
}

/// Reads `yes` and `no`.
pub fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err(format!("`{text}` is neither `yes` nor `no`")),
    }
}

/// Reads a port.
pub fn port(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 && text.starts_with(|c: char| c.is_ascii_digit()) => Ok(port),
        _ if text == "ssh" => Ok(22),
        _ => Err(format!("`{text}` is no port")),
    }
}

/// Reads a time: seconds, or numbers with `s`, `m`, `h`, `d`, `w`. `none` is no time.
pub fn time(text: &str) -> Result<Option<Duration>, String> {
    if text == "none" {
        return Ok(None);
    }
    let bad = || format!("`{text}` is no time");
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let number: u64 = digits.parse().map_err(|_| bad())?;
        let unit = after.chars().next();
        let factor = match unit.map(|unit| unit.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 60 * 60,
            Some('d') => 24 * 60 * 60,
            Some('w') => 7 * 24 * 60 * 60,
            Some(_) => return Err(bad()),
        };
        seconds = number.checked_mul(factor).and_then(|more| seconds.checked_add(more)).ok_or_else(bad)?;
        rest = &after[unit.map_or(0, char::len_utf8)..];
    }
    // OpenSSH counts in a signed 32-bit number.
    if text.is_empty() || seconds > u64::from(i32::MAX.unsigned_abs()) {
        return Err(bad());
    }
    Ok(Some(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line).unwrap().unwrap().words
    }

    #[test]
    fn keyword_and_values_are_parted_by_blanks_tabs_or_one_equals_sign() {
        for line in [
            "User deploy",
            "\tuser\tdeploy \r\n",
            "USER=deploy",
            "User = deploy",
            "  User= deploy\x0c",
            "\"User\" deploy",
        ] {
            let line = split(line).unwrap().unwrap();
            assert_eq!((line.keyword.as_str(), line.words.as_slice()), ("user", ["deploy".to_owned()].as_slice()));
        }
        assert_eq!(words("User = = x"), ["=", "x"]);
        for line in ["", "   ", "# User x", "\t#User x"] {
            assert_eq!(split(line), Ok(None));
        }
        assert!(split("User").is_err());
        assert!(split("User=").is_err());
    }

    #[test]
    fn quotes_escapes_and_comments_are_those_of_openssh() {
        assert_eq!(words(r#"Host "a b" 'c d' e\ f"#), ["a b", "c d", "e f"]);
        assert_eq!(words(r#"Host a"b c"d # comment"#), ["ab cd"]);
        assert_eq!(words(r"Host a\\b \x a#b"), [r"a\b", r"\x", "a#b"]);
        assert_eq!(words(r#"Host "it's" 'say "no"' "a\"b""#), ["it's", r#"say "no""#, "a\"b"]);
        assert!(split("Host \"a b").is_err());
        assert_eq!(words("Host \"\""), [""]);
    }

    #[test]
    fn times_have_units_and_a_limit() {
        let seconds = |text| time(text).map(|time| time.map(|time| time.as_secs()));
        assert_eq!(seconds("90"), Ok(Some(90)));
        assert_eq!(seconds("1h30M5s"), Ok(Some(5_405)));
        assert_eq!(seconds("1w2d"), Ok(Some(777_600)));
        assert_eq!(seconds("none"), Ok(None));
        for bad in ["", "s", "1x", "-1", "1.5h", "99999999999", "4000w", "9999999999999999999999"] {
            assert!(seconds(bad).is_err(), "{bad:?}");
        }
    }
}
