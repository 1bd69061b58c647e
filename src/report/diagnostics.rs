//! Diagnostics as text: what is wrong, the line it is in, the part underlined, and a hint.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::words;
use crate::{
    config::{Diagnostic, Severity},
    model::{HostName, clean_line, is_invisible},
};

/// Renders diagnostics one after another, each with an empty line after it. Without colour the text is plain.
pub fn render(diagnostics: &[Diagnostic], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    diagnostics.iter().fold(String::new(), |mut text, diagnostic| {
        // The lines of a document are shown as they are, less what the renderer leaves of control characters.
        let is_unfit = |c: &char| ('\u{80}'..='\u{9f}').contains(c) || is_invisible(*c);
        text.extend(one(diagnostic, &renderer).chars().map(|c| if is_unfit(&c) { '\u{fffd}' } else { c }));
        text.push_str("\n\n");
        text
    })
}

/// Says how many there are: `3 errors, 1 warning`. Empty when there are none.
pub fn summary(diagnostics: &[Diagnostic]) -> String {
    let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let said = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{count} {word}s")),
    };
    let parts = [said(count(Severity::Error), "error"), said(count(Severity::Warning), "warning")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn one(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let hosts = match words::ranges(diagnostic.hosts.iter().map(HostName::as_str)).join(", ") {
        names if names.is_empty() => names,
        names => format!("{names}: "),
    };
    let title = level.primary_title(clean_line(format!("{hosts}{}", diagnostic.message).as_bytes(), 400));
    let path = diagnostic.place.as_ref().map(|place| clean_line(place.file.to_string_lossy().as_bytes(), 300));
    let mut group = match (&diagnostic.place, path) {
        (Some(place), Some(path)) => {
            // A mistake over many lines is shown by its first.
            let range = place.range.clone();
            let first = place.text.get(range.clone()).and_then(|text| text.find('\n'));
            let range = first.map_or(range.clone(), |end| range.start..range.start + end.max(1));
            let annotation = AnnotationKind::Primary.span(range).label(diagnostic.label.clone());
            Group::with_title(title).element(Snippet::source(place.text.as_ref()).path(path).annotation(annotation))
        }
        _ => Group::with_title(title),
    };
    let Some(hint) = &diagnostic.hint else { return renderer.render(&[group]) };
    let hint = clean_line(hint.as_bytes(), 400);
    if diagnostic.place.is_none() {
        // Without a line to show there is nothing to draw a margin for.
        return format!("{}\n  = hint: {hint}", renderer.render(&[group]));
    }
    group = group.element(Level::HELP.with_name("hint").message(hint));
    renderer.render(&[group])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Place;

    fn diagnostic() -> Diagnostic {
        let text: Arc<str> = Arc::from("[hosts.web]\naddres = \"x\"\n");
        Diagnostic::error("unknown key `addres`")
            .at(Place { file: "inventory/fleet.toml".into(), text, range: 12..18 })
            .hint("did you mean `address`?")
    }

    #[test]
    fn the_line_is_shown_with_the_mistake_underlined_and_a_hint() {
        insta::assert_snapshot!(render(&[diagnostic()], false), @r#"
        error: unknown key `addres`
         --> inventory/fleet.toml:2:1
          |
        2 | addres = "x"
          | ^^^^^^
          |
          = hint: did you mean `address`?
        "#);
    }

    #[test]
    fn a_place_anywhere_in_the_text_can_be_shown() {
        let text: Arc<str> = Arc::from("a = \"é\"\n\tb = 1\r\n");
        for start in 0..=text.len() {
            for end in start..=text.len() {
                if text.is_char_boundary(start) && text.is_char_boundary(end) {
                    let place = Place { file: "x.toml".into(), text: Arc::clone(&text), range: start..end };
                    let shown = render(&[Diagnostic::error("wrong").at(place)], false);
                    assert!(shown.contains("error: wrong"), "{start}..{end}: {shown}");
                }
            }
        }
        let empty = Place { file: "x.toml".into(), text: Arc::from(""), range: 0..0 };
        assert!(render(&[Diagnostic::warning("odd").at(empty)], false).starts_with("warning: odd"));
    }

    #[test]
    fn what_a_document_contains_cannot_move_the_cursor() {
        let mut hostile = diagnostic();
        hostile.message = "unknown key `\u{1b}[2J`".to_owned();
        hostile.place = Some(Place { file: "x.toml".into(), text: Arc::from("\u{1b}[2J = 1"), range: 0..4 });
        assert!(!render(&[hostile], false).contains('\u{1b}'));
    }

    #[test]
    fn the_summary_counts_each_sort() {
        let warning = Diagnostic::warning("odd");
        assert_eq!(summary(&[diagnostic(), warning.clone(), diagnostic()]), "2 errors, 1 warning");
        assert_eq!(summary(&[warning]), "1 warning");
        assert_eq!(summary(&[]), "");
    }
}
