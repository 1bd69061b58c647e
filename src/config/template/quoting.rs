//! Follows the quotes of a shell text, to know in which of them a template's value would land.

/// Where in a shell text something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    None,
    Single,
    Double,
    Comment,
    HereDocument,
}

/// Reads a shell text piece by piece.
///
/// Not a parser of the shell: it knows quotes, escapes, comments, `$( )` and here-documents, which
/// is what decides how a quoted value is read.
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent fact of a reader that goes character by character"
)]
pub(super) struct Reader {
    /// What is open, outermost first.
    open: Vec<Open>,
    escaped: bool,
    in_word: bool,
    in_comment: bool,
    dollar: bool,
    /// Text after `<<` so far, while the delimiter is being read.
    delimiter: Option<String>,
    smaller: u8,
    /// Here-documents that begin at the next line.
    pending: Vec<String>,
    /// The line of a here-document so far.
    line: String,
    inside: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Single,
    Double,
    /// `$(` or `(`: quotes begin anew within it.
    Parenthesis,
}

impl Reader {
    pub(super) fn quotes(&self) -> Quotes {
        if self.inside {
            return Quotes::HereDocument;
        }
        if self.in_comment {
            return Quotes::Comment;
        }
        match self.open.last() {
            Some(Open::Single) => Quotes::Single,
            Some(Open::Double) => Quotes::Double,
            Some(Open::Parenthesis) | None => Quotes::None,
        }
    }

    /// Takes the place of a value.
    pub(super) fn value(&mut self) {
        self.in_word = true;
        self.escaped = false;
        self.dollar = false;
        self.smaller = 0;
        self.line.push('\u{fffd}');
    }

    pub(super) fn read(&mut self, text: &str) {
        text.chars().for_each(|c| self.step(c));
    }

    #[expect(clippy::match_same_arms, reason = "the order of the arms is the order in which the shell decides")]
    fn step(&mut self, c: char) {
        if self.inside {
            return self.step_inside(c);
        }
        if self.in_comment {
            if c != '\n' {
                return;
            }
            self.in_comment = false;
        }
        if std::mem::take(&mut self.escaped) {
            self.in_word = true;
            return;
        }
        if let Some(delimiter) = &mut self.delimiter {
            match c {
                '-' | ' ' | '\t' if delimiter.is_empty() => return,
                '\'' | '"' | '\\' => return,
                c if c.is_ascii_alphanumeric() || c == '_' => return delimiter.push(c),
                _ => {
                    let word = std::mem::take(delimiter);
                    self.delimiter = None;
                    if !word.is_empty() {
                        self.pending.push(word);
                    }
                }
            }
        }
        let dollar = std::mem::take(&mut self.dollar);
        let smaller = std::mem::take(&mut self.smaller);
        match (self.open.last(), c) {
            (Some(Open::Single), '\'') | (Some(Open::Double), '"') => {
                self.open.pop();
            }
            (Some(Open::Single), _) => {}
            (_, '\\') => self.escaped = true,
            (_, '$') => {
                self.dollar = true;
                self.in_word = true;
            }
            (Some(Open::Double), '(') if dollar => self.open.push(Open::Parenthesis),
            (Some(Open::Double), _) => {}
            (_, '(') => {
                self.open.push(Open::Parenthesis);
                self.in_word = false;
            }
            (Some(Open::Parenthesis), ')') => {
                self.open.pop();
            }
            (_, '\'') => self.open_quote(Open::Single),
            (_, '"') => self.open_quote(Open::Double),
            (_, '#') if !self.in_word => self.in_comment = true,
            (_, '\n') => {
                self.in_word = false;
                if !self.pending.is_empty() {
                    self.inside = true;
                    self.line.clear();
                }
            }
            (_, '<') => {
                self.smaller = smaller + 1;
                self.in_word = false;
                if self.smaller == 2 {
                    self.delimiter = Some(String::new());
                }
            }
            (_, c) => self.in_word = !(c.is_whitespace() || matches!(c, ';' | '&' | '|' | ')')),
        }
    }

    fn step_inside(&mut self, c: char) {
        if c != '\n' {
            self.line.push(c);
            return;
        }
        let line = std::mem::take(&mut self.line);
        if self.pending.first().is_some_and(|end| line.trim_start_matches('\t') == end) {
            self.pending.remove(0);
            self.inside = !self.pending.is_empty();
        }
    }

    fn open_quote(&mut self, quote: Open) {
        self.open.push(quote);
        self.in_word = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_knows_in_which_quotes_a_value_would_land() {
        let table = [
            ("echo @", Quotes::None),
            ("echo 'a' @", Quotes::None),
            ("echo '@'", Quotes::Single),
            ("echo \"@\"", Quotes::Double),
            ("echo \"a $(cat @)\"", Quotes::None),
            ("echo \"a $(cat x) @\"", Quotes::Double),
            ("echo it\\'s @", Quotes::None),
            ("# it's\necho @", Quotes::None),
            ("echo a#b '@'", Quotes::Single),
            ("# about @", Quotes::Comment),
            ("cat <<EOF\nit's @\nEOF\n", Quotes::HereDocument),
            ("cat <<-'EOF' > x\nit's\n\tEOF\necho @", Quotes::None),
            ("case x in a) echo @;; esac", Quotes::None),
            ("echo \"it's\" @", Quotes::None),
            ("echo '\"' @", Quotes::None),
        ];
        for (text, expected) in table {
            let mut reader = Reader::default();
            reader.read(&text[..text.find('@').expect("a place")]);
            assert_eq!(reader.quotes(), expected, "{text}");
        }
    }
}
