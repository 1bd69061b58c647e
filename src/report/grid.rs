//! Tables that fit: how wide each column is, where words wrap, and what moves below its row.

use tabled::{
    builder::Builder,
    settings::{Style as Borders, object::Cell, span::ColumnSpan, width::Wrap},
};

use super::page::{Page, Tone, text_width};

/// Columns below which a note is no pleasure to read.
const NARROWEST_NOTE: usize = 24;

/// Longest word that a column is kept wide enough for.
const LONGEST_WORD: usize = 24;

/// Draws a table. Columns in which nothing stands are left out; `note` is the column of the notes.
pub(super) fn draw(page: &Page, head: &[&str], rows: &[Vec<String>], note: Option<usize>) -> String {
    let filled: Vec<usize> = (0..head.len()).filter(|column| rows.iter().any(|row| !row[*column].is_empty())).collect();
    if filled.is_empty() {
        return String::new();
    }
    let pick = |columns: &[usize]| -> Vec<Vec<String>> {
        rows.iter().map(|row| columns.iter().map(|column| row[*column].clone()).collect()).collect()
    };
    let heads = |columns: &[usize]| -> Vec<String> {
        columns.iter().map(|column| page.paint(Tone::Strong, head[*column])).collect()
    };
    let all = widths(page, &heads(&filled), &pick(&filled));
    let note = note.and_then(|note| filled.iter().position(|column| *column == note));
    let narrow = note.filter(|at| *at > 1 && all[*at] < NARROWEST_NOTE && all[*at] < natural(&pick(&filled), *at));
    let Some(at) = narrow else { return render(page, &heads(&filled), &pick(&filled), &all, &[]) };

    let mut kept = filled.clone();
    let column = kept.remove(at);
    let notes: Vec<String> = rows.iter().map(|row| row[column].clone()).collect();
    let widths = widths(page, &heads(&kept), &pick(&kept));
    render(page, &heads(&kept), &pick(&kept), &widths, &notes)
}

fn natural(rows: &[Vec<String>], column: usize) -> usize {
    rows.iter().map(|row| widest_line(&row[column])).max().unwrap_or(0)
}

/// Shares the page among the columns: the widest gives first, and none breaks a word while another can give.
fn widths(page: &Page, head: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    // A border and a space on each side of every column, and the last border.
    let room = page.width.max(40).saturating_sub(3 * head.len() + 1);
    let columns = 0..head.len();
    let mut widths: Vec<usize> =
        columns.clone().map(|column| natural(rows, column).max(text_width(&head[column]))).collect();
    let least: Vec<usize> = columns
        .map(|column| {
            let words = rows.iter().map(|row| longest_word(&row[column])).max().unwrap_or(0);
            words.min(LONGEST_WORD).max(text_width(&head[column]))
        })
        .collect();
    while widths.iter().sum::<usize>() > room {
        let can_give = (0..widths.len()).filter(|column| widths[*column] > least[*column]);
        let widest = can_give.max_by_key(|column| widths[*column]);
        let Some(column) = widest.or_else(|| (0..widths.len()).max_by_key(|column| widths[*column])) else { break };
        if widths[column] <= 4 {
            break;
        }
        widths[column] -= 1;
    }
    widths
}

fn render(page: &Page, head: &[String], rows: &[Vec<String>], widths: &[usize], notes: &[String]) -> String {
    let mut builder = Builder::new();
    builder.push_record(head.iter().zip(widths).map(|(text, width)| wrap(text, *width)));
    let mut spans = Vec::new();
    // What a note has: all columns but the first, and the borders between them.
    let room = widths[1..].iter().sum::<usize>() + 3 * widths.len().saturating_sub(2);
    for (index, row) in rows.iter().enumerate() {
        builder.push_record(row.iter().zip(widths).map(|(text, width)| wrap(text, *width)));
        if let Some(note) = notes.get(index).filter(|note| !note.is_empty()) {
            spans.push(builder.count_records());
            let mut record = vec![String::new(); widths.len()];
            record[1] = wrap(note, room);
            builder.push_record(record);
        }
    }
    let mut table = builder.build();
    for row in spans {
        let span = isize::try_from(widths.len() - 1).expect("few columns");
        table.modify(Cell::new(row, 1), ColumnSpan::new(span));
    }
    if page.unicode {
        table.with(Borders::rounded());
    } else {
        table.with(Borders::psql());
    }
    let text = table.to_string();
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

fn widest_line(text: &str) -> usize {
    text.lines().map(text_width).max().unwrap_or(0)
}

fn longest_word(text: &str) -> usize {
    text.split_whitespace().map(text_width).max().unwrap_or(0)
}

/// Wraps a cell. Words longer than the column are broken; a line's own indentation is kept.
fn wrap(text: &str, width: usize) -> String {
    if widest_line(text) <= width {
        return text.to_owned();
    }
    if text.contains('\u{1b}') {
        // Colours that go on in the next line have to be begun again there.
        return Wrap::wrap(text, width, true);
    }
    let mut lines = Vec::new();
    for line in text.lines() {
        let lead = line.len() - line.trim_start_matches(' ').len();
        let lead = if lead + 8 > width { 0 } else { lead };
        let mut current = " ".repeat(lead);
        for word in line.trim_start_matches(' ').split(' ') {
            let mut word = word.to_owned();
            let begun = current.len() > lead;
            if begun && text_width(&current) + 1 + text_width(&word) > width {
                lines.push(std::mem::replace(&mut current, " ".repeat(lead)));
            } else if begun {
                current.push(' ');
            }
            while text_width(&current) + text_width(&word) > width {
                let fits = split_at_width(&word, width.saturating_sub(text_width(&current)).max(1));
                let rest = word.split_off(fits);
                current.push_str(&word);
                lines.push(std::mem::replace(&mut current, " ".repeat(lead)));
                word = rest;
            }
            current.push_str(&word);
        }
        lines.push(current);
    }
    lines.join("\n")
}

/// Returns how many bytes of `word` fit into `width` columns; at least one character.
fn split_at_width(word: &str, width: usize) -> usize {
    let mut end = 0;
    for (index, c) in word.char_indices() {
        let next = index + c.len_utf8();
        if end > 0 && text_width(&word[..next]) > width {
            break;
        }
        end = next;
    }
    end
}
