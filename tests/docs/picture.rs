//! Draws what a terminal shows as an SVG picture.

use std::fmt::Write as _;

/// Removes the control sequences for colours.
pub(crate) fn plain(text: &str) -> String {
    text.lines().map(|line| pieces(line).into_iter().map(|piece| piece.text).collect::<String>() + "\n").collect()
}

/// Breaks a line where the terminal would.
pub(crate) fn wrap(line: &str, width: usize) -> Vec<String> {
    let letters: Vec<char> = line.chars().collect();
    if letters.is_empty() {
        return vec![String::new()];
    }
    letters.chunks(width).map(|part| part.iter().collect::<String>().trim_end().to_owned()).collect()
}

/// A run of letters in one style.
#[derive(Debug, Clone, Default, PartialEq)]
struct Piece {
    text: String,
    style: Style,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Style {
    bold: bool,
    dim: bool,
    colour: Option<u8>,
}

impl Style {
    fn apply(&mut self, codes: &str) {
        for code in codes.split(';') {
            match code.parse() {
                Ok(0) | Err(_) => *self = Self::default(),
                Ok(1) => self.bold = true,
                Ok(2) => self.dim = true,
                Ok(22) => (self.bold, self.dim) = (false, false),
                Ok(39) => self.colour = None,
                Ok(colour @ 30..=37) => self.colour = Some(colour - 30),
                Ok(_) => {}
            }
        }
    }

    /// Colours that are read well on dark and have names in every terminal: red, green, yellow and the rest.
    fn attributes(self) -> String {
        const COLOURS: [&str; 8] =
            ["#6b7280", "#ff7b72", "#7ee787", "#e3b341", "#79c0ff", "#d2a8ff", "#76e3ea", "#e6edf3"];
        let mut text = String::new();
        if let Some(colour) = self.colour {
            let _ = write!(text, " fill=\"{}\"", COLOURS[usize::from(colour)]);
        } else if self.dim {
            text.push_str(" fill=\"#8b949e\"");
        }
        if self.bold {
            text.push_str(" font-weight=\"bold\"");
        }
        text
    }
}

fn pieces(line: &str) -> Vec<Piece> {
    let mut pieces = vec![Piece::default()];
    let mut rest = line;
    while let Some(at) = rest.find("\u{1b}[") {
        pieces.last_mut().expect("never empty").text.push_str(&rest[..at]);
        let codes = &rest[at + 2..];
        let end = codes.find('m').expect("a control sequence of another kind");
        let mut style = pieces.last().expect("never empty").style;
        style.apply(&codes[..end]);
        pieces.push(Piece { text: String::new(), style });
        rest = &codes[end + 1..];
    }
    pieces.last_mut().expect("never empty").text.push_str(rest);
    pieces.retain(|piece| !piece.text.is_empty());
    pieces
}

/// Size of a letter, in pixels.
const LETTER: (f64, f64) = (7.8, 17.0);
const MARGIN: f64 = 16.0;

/// Draws the lines of a terminal that is so many columns wide.
pub(crate) fn draw(text: &str, width: usize) -> String {
    let mut rows: Vec<Vec<Piece>> = Vec::new();
    for line in text.lines() {
        let mut row = Vec::new();
        let mut column = 0;
        for piece in pieces(line) {
            for letter in piece.text.chars() {
                if column == width {
                    rows.push(std::mem::take(&mut row));
                    column = 0;
                }
                match row.last_mut() {
                    Some(Piece { text, style }) if *style == piece.style => text.push(letter),
                    _ => row.push(Piece { text: letter.to_string(), style: piece.style }),
                }
                column += 1;
            }
        }
        rows.push(row);
    }
    let columns = f64::from(u32::try_from(width).expect("a terminal"));
    let (wide, high) = (
        columns * LETTER.0 + 2.0 * MARGIN,
        f64::from(u32::try_from(rows.len()).expect("a page")) * LETTER.1 + 2.0 * MARGIN,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{wide:.0}\" height=\"{high:.0}\" \
         viewBox=\"0 0 {wide:.0} {high:.0}\">\n<title>longshore demo</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0d1117\"/>\n\
         <g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" \
         font-size=\"13\" fill=\"#e6edf3\" xml:space=\"preserve\">\n"
    );
    for (index, row) in rows.iter().enumerate() {
        let y = MARGIN + (f64::from(u32::try_from(index).expect("a page")) + 0.75) * LETTER.1;
        let _ = write!(svg, "<text y=\"{y:.1}\">");
        let mut column = 0_u32;
        for piece in row {
            let letters = u32::try_from(piece.text.chars().count()).expect("a line");
            // Its length is given, so that columns stand below each other in whatever font there is.
            let _ = write!(
                svg,
                "<tspan x=\"{:.1}\" textLength=\"{:.1}\"{}>{}</tspan>",
                MARGIN + f64::from(column) * LETTER.0,
                f64::from(letters) * LETTER.0,
                piece.style.attributes(),
                escape(&piece.text)
            );
            column += letters;
        }
        svg.push_str("</text>\n");
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The lines of text in a picture.
pub(crate) fn texts(svg: &str) -> Vec<String> {
    let lines = svg.lines().filter_map(|line| line.strip_prefix("<text ")?.strip_suffix("</text>"));
    lines
        .map(|line| {
            let mut text = String::new();
            for part in line.split('<') {
                text.push_str(part.split_once('>').map_or("", |(_, text)| text));
            }
            text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").trim_end().to_owned()
        })
        .collect()
}

#[test]
fn a_picture_says_what_the_terminal_said() {
    let coloured = "\u{1b}[1mhost\u{1b}[0m  \u{1b}[32m5 <done> & well\u{1b}[0m\n\nplain";
    let svg = draw(coloured, 12);
    assert_eq!(texts(&svg), ["host  5 <don", "e> & well", "", "plain"]);
    assert_eq!(plain(coloured), "host  5 <done> & well\n\nplain\n");
    assert!(svg.contains("font-weight=\"bold\">host</tspan>") && svg.contains("fill=\"#7ee787\""), "{svg}");
}
