//! Finds a part of a TOML text's value in the text as it is written, escapes and quotes included.

use std::ops::Range;

/// Returns where the bytes `range` of `value` stand in `raw`, the literal with its quotes.
///
/// `None` when the literal cannot be followed; the caller then underlines all of it.
pub(super) fn inner(raw: &str, value: &str, range: &Range<usize>) -> Option<Range<usize>> {
    let (quotes, is_literal) = if raw.starts_with("\"\"\"") {
        (3, false)
    } else if raw.starts_with("'''") {
        (3, true)
    } else if raw.starts_with('"') {
        (1, false)
    } else if raw.starts_with('\'') {
        (1, true)
    } else {
        return None;
    };
    let end = raw.len().checked_sub(quotes)?;
    let mut at = quotes;
    if quotes == 3 {
        // A line break right after the opening quotes is not part of the text.
        at += raw[at..].strip_prefix("\r\n").map_or_else(|| usize::from(raw[at..].starts_with('\n')), |_| 2);
    }

    // `starts[i]` is where the byte `i` of the value is written; one more for its end.
    let mut starts = Vec::with_capacity(value.len() + 1);
    while at < end {
        let rest = raw.get(at..end)?;
        let c = rest.chars().next()?;
        let (written, produced) = if c == '\\' && !is_literal { escape(rest)? } else { (c.len_utf8(), c.len_utf8()) };
        starts.extend(std::iter::repeat_n(at, produced));
        at += written;
    }
    starts.push(end);
    if starts.len() != value.len() + 1 {
        return None;
    }
    let start = *starts.get(range.start)?;
    let end = *starts.get(range.end)?;
    (start <= end).then_some(start..end)
}

/// Returns how many bytes an escape takes, and how many bytes of text it makes.
fn escape(rest: &str) -> Option<(usize, usize)> {
    let kind = rest[1..].chars().next()?;
    let digits = match kind {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        '\n' | '\r' | ' ' | '\t' => {
            // A backslash at the end of a line drops the white space that follows.
            let trimmed = rest[1..].trim_start_matches([' ', '\t', '\r', '\n']);
            return Some((rest.len() - trimmed.len(), 0));
        }
        _ => return Some((1 + kind.len_utf8(), 1)),
    };
    let code = u32::from_str_radix(rest.get(2..2 + digits)?, 16).ok()?;
    Some((2 + digits, char::from_u32(code)?.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_text_is_found_as_it_is_written() {
        let table = [
            (r#""say {{x}}""#, "{{x}}"),
            (r"'say {{x}}'", "{{x}}"),
            (r#""a \"quote\" and é \u00e9 {{x}}""#, "{{x}}"),
            ("\"\"\"\nfirst\nsecond {{x}}\n\"\"\"", "{{x}}"),
            ("\"\"\"\nfirst \\\n    second {{x}}\"\"\"", "{{x}}"),
            ("'''\n\\n {{x}}'''", "{{x}}"),
        ];
        for (raw, part) in table {
            let document = format!("v = {raw}");
            let value = document.parse::<toml::Table>().expect(raw)["v"].as_str().expect("text").to_owned();
            let at = value.find(part).expect("part");
            let found = inner(raw, &value, &(at..at + part.len())).expect(raw);
            assert_eq!(&raw[found], part, "{raw}");
        }
    }
}
