//! What is told of a program's output: whole lines, cleaned, bounded, secrets hidden.

use crate::{
    model::{Failure, Receipt, Redactor, Secret, clean},
    transport::{Captured, Stream},
};

/// Lines of output that go into an event: the last ones, which usually tell why.
const LINES_KEPT: usize = 20;

/// The variables of secrets that a program's text refers to: it sees those and no others.
pub(super) fn secrets_named(text: &str) -> Vec<String> {
    let prefix = "LONGSHORE_SECRET_";
    let mut names: Vec<String> = text
        .match_indices(prefix)
        .map(|(at, _)| text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The secrets that a text refers to, as variables: it sees those and no others.
pub(in crate::engine) fn secrets_in(text: &str, redactor: &Redactor) -> Vec<(String, Secret)> {
    let named = secrets_named(text);
    let variables = redactor.secrets().iter().map(|(id, secret)| (id.variable(), secret.clone()));
    variables.filter(|(name, _)| named.contains(name)).collect()
}

pub(in crate::engine) fn hidden_receipt(receipt: &Receipt, redactor: &Redactor) -> Receipt {
    let hide = |(key, value): (&String, &String)| (redactor.hide(key), redactor.hide(value));
    Receipt(receipt.0.iter().map(hide).collect())
}

/// Hides secrets in everything a failure says.
pub(in crate::engine) fn hidden(mut failure: Failure, redactor: &Redactor) -> Failure {
    failure.message = redactor.hide(&failure.message);
    for text in failure.causes.iter_mut().chain(&mut failure.output).chain(&mut failure.hint) {
        *text = redactor.hide(text);
    }
    failure
}

/// Finds the last whole line of what a program prints, cleaned, secrets hidden.
///
/// Output comes in pieces that may cut a secret in two, so nothing is shown before its line has ended.
pub(super) struct LastLine<'a> {
    redactor: &'a Redactor,
    /// The beginning of the line each stream is at; `None` while it is too long to be shown.
    begun: [Option<Vec<u8>>; 2],
}

/// Longest line that is shown while a step runs, in bytes.
const LINE_SHOWN: usize = 4096;

impl<'a> LastLine<'a> {
    pub(super) fn new(redactor: &'a Redactor) -> Self {
        Self { redactor, begun: [Some(Vec::new()), Some(Vec::new())] }
    }

    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8]) -> Option<String> {
        let begun = &mut self.begun[usize::from(stream == Stream::Err)];
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            lengthen(begun, bytes);
            return None;
        };
        let (whole, rest) = bytes.split_at(end + 1);
        let mut ended = begun.take();
        // Of many lines only the last ones matter; the cut falls on the beginning of a line.
        let from = whole.len().saturating_sub(LINE_SHOWN);
        let from = if from == 0 {
            0
        } else {
            from + whole[from..].iter().position(|byte| *byte == b'\n').map_or(whole.len() - from, |at| at + 1)
        };
        if from > 0 {
            ended = Some(Vec::new());
        }
        lengthen(&mut ended, &whole[from..]);
        *begun = Some(Vec::new());
        lengthen(begun, rest);
        let text = ended.map(|ended| self.redactor.hide(&clean(&ended)))?;
        text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
    }
}

fn lengthen(line: &mut Option<Vec<u8>>, bytes: &[u8]) {
    if let Some(known) = line {
        if known.len() + bytes.len() > 2 * LINE_SHOWN {
            *line = None;
        } else {
            known.extend_from_slice(bytes);
        }
    }
}

/// What was kept of a stream. Where its middle was left out, the lines cut by that go too: half a secret
/// in them would not be known for one.
fn whole_lines(captured: &Captured) -> Vec<u8> {
    if captured.is_complete() {
        return captured.bytes();
    }
    let head = captured.head.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let tail = captured.tail.iter().position(|byte| *byte == b'\n').map_or(captured.tail.len(), |at| at + 1);
    [&captured.head[..head], b"[...]\n", &captured.tail[tail..]].concat()
}

/// The last lines of both streams for an event, standard error last, cleaned, secrets hidden.
pub(in crate::engine) fn kept_lines(out: &Captured, err: &Captured, redactor: &Redactor) -> Vec<String> {
    let tail = |captured: &Captured| -> Vec<String> {
        let text = redactor.hide(&clean(&whole_lines(captured)));
        let told = |line: &&str| !line.trim().is_empty() && !line.starts_with("longshore-receipt ");
        let lines: Vec<_> = text.lines().filter(told).map(str::to_owned).collect();
        lines[lines.len().saturating_sub(LINES_KEPT)..].to_vec()
    };
    [tail(out), tail(err)].concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::SecretId;

    fn redactor() -> Redactor {
        Redactor::new(BTreeMap::from([(SecretId::new("token"), Secret::new("hunter2hunter2"))]))
    }

    #[test]
    fn a_secret_that_comes_in_two_pieces_is_not_shown() {
        let redactor = redactor();
        for cut in 0..20 {
            let mut last = LastLine::new(&redactor);
            let text = b"key hunter2hunter2\n";
            let shown =
                [&text[..cut.min(text.len())], &text[cut.min(text.len())..]].map(|part| last.take(Stream::Out, part));
            let shown: Vec<_> = shown.into_iter().flatten().collect();
            assert_eq!(shown, ["key [hidden]"], "cut at {cut}");
        }
    }

    #[test]
    fn a_line_without_end_is_neither_shown_nor_kept() {
        let redactor = redactor();
        let mut last = LastLine::new(&redactor);
        for _ in 0..1000 {
            assert_eq!(last.take(Stream::Out, &[b'x'; 1000]), None);
        }
        assert!(last.begun.iter().flatten().map(Vec::len).sum::<usize>() <= 2 * LINE_SHOWN);
        assert_eq!(last.take(Stream::Out, b"\n"), None);
        assert_eq!(last.take(Stream::Out, b"short\n").as_deref(), Some("short"));
        // Of a flood in one piece the last line is found, and the streams do not mix.
        let flood = [vec![b'y'; 9000], b"\nlast\nhalf".to_vec()].concat();
        assert_eq!(last.take(Stream::Err, &flood).as_deref(), Some("last"));
        assert_eq!(last.take(Stream::Err, b" done\n").as_deref(), Some("half done"));
    }

    #[test]
    fn half_a_secret_beside_what_was_left_out_is_not_kept() {
        let captured =
            Captured { head: b"begin\nhunter2hun".to_vec(), tail: b"er2hunter2\nend\n".to_vec(), total: 900 };
        let kept = kept_lines(&captured, &Captured::default(), &redactor());
        assert_eq!(kept, ["begin", "[...]", "end"]);
    }
}
