//! Makes what a host said safe to show: remote output is hostile.

/// Cleans text from a host, keeping its line breaks: control sequences gone, tabs as spaces.
///
/// Removes ESC sequences (CSI, OSC, DCS), C0 and C1 controls and the characters that reorder or
/// hide text, so that a host can neither move the cursor nor forge a row of a table.
pub fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut cleaned = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\n' => cleaned.push('\n'),
            '\t' => cleaned.push_str("    "),
            '\r' => {
                if characters.peek().is_some_and(|next| *next != '\n') {
                    cleaned.push('\n');
                }
            }
            '\u{1b}' => skip_escape(&mut characters),
            '\u{9b}' => skip_until_final(&mut characters),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string(&mut characters),
            c if c.is_control() || is_invisible(c) => {}
            c => cleaned.push(c),
        }
    }
    cleaned
}

/// Cleans text from a host into one line of at most `limit` characters.
pub fn clean_line(bytes: &[u8], limit: usize) -> String {
    let line = clean(bytes).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn skip_escape(characters: &mut Characters<'_>) {
    match characters.peek() {
        Some('[') => {
            characters.next();
            skip_until_final(characters);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            characters.next();
            skip_string(characters);
        }
        Some(' '..='/') => {
            while characters.next_if(|c| (' '..='/').contains(c)).is_some() {}
            characters.next_if(|c| ('0'..='~').contains(c));
        }
        Some('0'..='~') => {
            characters.next();
        }
        _ => {}
    }
}

/// Skips the parameters of a CSI sequence and its final character; a line break ends it early.
fn skip_until_final(characters: &mut Characters<'_>) {
    while characters.next_if(|c| (' '..='?').contains(c)).is_some() {}
    characters.next_if(|c| ('@'..='~').contains(c));
}

/// Skips a control string up to BEL, ST or the end of the line.
fn skip_string(characters: &mut Characters<'_>) {
    while let Some(c) = characters.next_if(|c| *c != '\n') {
        if matches!(c, '\u{7}' | '\u{9c}') {
            return;
        }
        if c == '\u{1b}' && characters.next_if_eq(&'\\').is_some() {
            return;
        }
    }
}

/// Whether a character shows nothing, or moves what is beside it.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_vanish_and_text_stays() {
        let table: &[(&[u8], &str)] = &[
            (b"plain text\n", "plain text\n"),
            (b"\x1b[31mred\x1b[0m", "red"),
            (b"\x1b[2Kbackend | up", "backend | up"),
            (b"\x1b]8;;http://x\x07link\x1b]8;;\x1b\\", "link"),
            (b"\x1b]52;c;ZWNobw==\x07", ""),
            (b"\x1bPqdata\x1b\\after", "after"),
            (b"10%\r20%\r\ndone\r", "10%\n20%\ndone"),
            (b"a\x08b\x00c\x7fd", "abcd"),
            ("\u{9b}31mx\u{9d}0;t\u{9c}y".as_bytes(), "xy"),
            ("safe\u{202e}evil".as_bytes(), "safeevil"),
            (b"bad \xff\xfe utf8", "bad \u{fffd}\u{fffd} utf8"),
            (b"\x1b]unterminated\nnext line", "\nnext line"),
            (b"a\tb", "a    b"),
        ];
        for (bytes, expected) in table {
            assert_eq!(clean(bytes), *expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_line_is_one_line_and_bounded() {
        assert_eq!(clean_line(b"one\n two\r\n\x1b[1mthree", 80), "one two three");
        assert_eq!(clean_line("äöü".repeat(10).as_bytes(), 4), "äöüä…");
    }
}
