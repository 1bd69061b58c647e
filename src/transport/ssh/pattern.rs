//! The wildcards of OpenSSH: `*`, `?`, and lists of them in which `!` takes back.
//!
//! Used by `known_hosts`, the SSH configuration and the principals of host certificates.

/// Says whether `pattern` with its `*` and `?` covers all of `text`.
///
/// Time is bounded by the product of the lengths: a hostile pattern cannot make it explode.
pub fn matches(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let (mut t, mut p) = (0, 0);
    // After a mismatch the last star takes one byte more. Earlier stars never need another try.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, taken)) = star else { return false };
                star = Some((after, taken + 1));
                p = after;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// Says whether a comma-separated list covers `text`: some pattern does, and none with `!` does.
pub fn list_matches(text: &str, list: &str) -> bool {
    let mut positive = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(negated) if matches(text, negated) => return false,
            None if matches(text, pattern) => positive = true,
            _ => {}
        }
    }
    positive
}

/// As [`list_matches`], for host names: case does not count.
pub fn host_list_matches(host: &str, list: &str) -> bool {
    list_matches(&host.to_ascii_lowercase(), &list.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_cover_what_openssh_says() {
        let table = [
            ("web-1", "web-1", true),
            ("web-1", "web-?", true),
            ("web-10", "web-?", false),
            ("web-1", "*", true),
            ("", "*", true),
            ("", "", true),
            ("a", "", false),
            ("abcabd", "*abd", true),
            ("abcabd", "a*b*d", true),
            ("abc", "a*b", false),
            ("abc", "**c", true),
            ("[db.example.com]:2222", "[*.example.com]:2222", true),
            ("a,b", "a,b", true),
        ];
        for (text, pattern, expected) in table {
            assert_eq!(matches(text, pattern), expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn a_negated_pattern_wins_wherever_it_stands_in_the_list() {
        assert!(list_matches("web-1", "web-*,!web-2"));
        assert!(!list_matches("web-2", "web-*,!web-2"));
        assert!(!list_matches("web-2", "!web-2,web-*"));
        assert!(!list_matches("web-1", "!web-2"), "a list of negations alone covers nothing");
        assert!(host_list_matches("WEB-1", "Web-*"));
    }

    #[test]
    fn a_pattern_of_many_stars_does_not_take_for_ever() {
        let text = "a".repeat(2_000);
        let pattern = format!("{}b", "a*".repeat(500));
        assert!(!matches(&text, &pattern));
    }

    proptest::proptest! {
        #[test]
        fn matching_agrees_with_the_plain_recursive_definition(text in "[ab]{0,8}", pattern in "[ab*?]{0,6}") {
            fn plain(text: &[u8], pattern: &[u8]) -> bool {
                match pattern {
                    [] => text.is_empty(),
                    [b'*', rest @ ..] => (0..=text.len()).any(|n| plain(&text[n..], rest)),
                    [first, rest @ ..] => {
                        !text.is_empty() && (*first == b'?' || *first == text[0]) && plain(&text[1..], rest)
                    }
                }
            }
            proptest::prop_assert_eq!(matches(&text, &pattern), plain(text.as_bytes(), pattern.as_bytes()));
        }
    }
}
