//! The little of Markdown that the pages are made of: tables, fences, links, anchors.

/// Returns the text as one cell of a table.
pub(crate) fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace('|', "\\|")
}

/// Returns a table.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(head.iter().map(ToString::to_string).collect());
    text.push_str(&line(head.iter().map(|_| "---".to_owned()).collect()));
    for row in rows {
        text.push_str(&line(row.iter().map(|text| cell(text)).collect()));
    }
    text
}

/// A block of code: what stands behind its fence, its text, and the line it begins at.
#[derive(Debug)]
pub(crate) struct Fence {
    pub(crate) info: String,
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// Splits a page into its prose, line by line and empty where code stands, and its blocks of code.
pub(crate) fn split(page: &str) -> (Vec<&str>, Vec<Fence>) {
    let (mut prose, mut fences) = (Vec::new(), Vec::new());
    let mut open: Option<Fence> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(info), None) => {
                open = Some(Fence { info: info.trim().to_owned(), text: String::new(), line: number + 1 });
                prose.push("");
            }
            (Some(_), Some(fence)) => {
                fences.push(fence);
                prose.push("");
            }
            (None, Some(mut fence)) => {
                fence.text.push_str(line);
                fence.text.push('\n');
                open = Some(fence);
                prose.push("");
            }
            (None, None) => prose.push(line),
        }
    }
    assert!(open.is_none(), "a fence is not closed: {open:?}");
    (prose, fences)
}

/// The anchor that a heading gets.
pub(crate) fn anchor(heading: &str) -> String {
    let text = heading.trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The anchors of a page.
pub(crate) fn anchors(page: &str) -> Vec<String> {
    let (prose, _) = split(page);
    let headings = prose.iter().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    headings.map(anchor).collect()
}
