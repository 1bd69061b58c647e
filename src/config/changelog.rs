//! Reads a `CHANGELOG.md` in the shape of Keep a Changelog: which release breaks what, and what must be done for it.
//!
//! People write these files by hand, so much is forgiven: any depth of headings, `v` and brackets around versions,
//! links, dates, bold lines in place of headings. What is no release's heading is text of the entry above it.

use crate::model::Version;

/// The entries of a changelog, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changelog {
    pub entries: Vec<Entry>,
}

/// What a changelog says of one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub version: Version,
    /// Line on which it begins, from 1.
    pub line: usize,
    /// The text below `BREAKING CHANGES`.
    pub breaking: Option<String>,
    /// The text below `Required action`.
    pub required_action: Option<String>,
}

impl Changelog {
    pub fn parse(text: &str) -> Self {
        let mut reader = Reader::default();
        let lines: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(text).lines().collect();
        for (index, line) in lines.iter().enumerate() {
            reader.line(index + 1, line.trim_end(), lines.get(index + 1).map(|next| next.trim()));
        }
        Self { entries: reader.entries }
    }

    /// Returns what is said of a release, however its version is written. The first entry counts.
    pub fn get(&self, version: &Version) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.version.compare(version) == Some(std::cmp::Ordering::Equal))
    }
}

/// Which of the sections that are kept a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Breaking,
    RequiredAction,
}

#[derive(Default)]
struct Reader {
    entries: Vec<Entry>,
    /// Depth of the heading of the entry that is being read.
    depth: usize,
    /// The section that is being read, and the depth of its heading.
    section: Option<(Section, usize)>,
    /// Below a heading that is no release's, at an entry's depth: `## [Unreleased]`.
    is_outside: bool,
    fence: Option<char>,
    in_comment: bool,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str, next: Option<&str>) {
        let bare = line.trim_start();
        let fence = ['`', '~'].into_iter().find(|mark| bare.starts_with(&mark.to_string().repeat(3)));
        match (self.fence, fence) {
            (Some(open), Some(mark)) if open == mark => self.fence = None,
            (None, Some(mark)) => self.fence = Some(mark),
            (None, None) if !self.comment(bare) => {
                if let Some((depth, title)) = heading(line, next) {
                    return self.heading(number, depth, title);
                }
                // Some write a bold line where others write a heading.
                let bold =
                    bare.strip_prefix("**").and_then(|rest| rest.strip_suffix("**").or(rest.strip_suffix("**:")));
                if let Some(section) = bold.and_then(section_of) {
                    self.section = Some((section, usize::MAX));
                    return;
                }
                if is_underline(bare) || is_link_target(bare) {
                    return;
                }
            }
            (None, None) => return,
            _ => {}
        }
        self.text(line);
    }

    /// Whether the line is within an HTML comment.
    fn comment(&mut self, line: &str) -> bool {
        let was = self.in_comment;
        let starts = !was && line.starts_with("<!--");
        self.in_comment = (was || starts) && !line.contains("-->");
        was || starts
    }

    fn heading(&mut self, number: usize, depth: usize, title: &str) {
        let version = version_of(title).filter(|_| self.section.is_none_or(|(_, section)| depth <= section));
        if let Some(version) = version {
            self.depth = depth;
            self.section = None;
            self.is_outside = false;
            self.entries.push(Entry { version, line: number, breaking: None, required_action: None });
            return;
        }
        if depth <= self.depth || self.entries.is_empty() {
            self.section = None;
            self.is_outside = true;
            return;
        }
        match section_of(title) {
            Some(section) => self.section = Some((section, depth)),
            None if self.section.is_some_and(|(_, of_section)| depth <= of_section) => self.section = None,
            None => self.text(title),
        }
    }

    fn text(&mut self, line: &str) {
        let (Some((section, _)), Some(entry), false) = (self.section, self.entries.last_mut(), self.is_outside) else {
            return;
        };
        let text = match section {
            Section::Breaking => &mut entry.breaking,
            Section::RequiredAction => &mut entry.required_action,
        };
        if line.is_empty() && text.is_none() {
            return;
        }
        let text = text.get_or_insert_default();
        // A line that goes on with an item stays with it; empty lines say nothing.
        if !line.is_empty() {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(line);
        }
    }
}

/// Reads `## Title`, or a title that the next line underlines.
fn heading<'a>(line: &'a str, next: Option<&str>) -> Option<(usize, &'a str)> {
    let depth = line.bytes().take_while(|byte| *byte == b'#').count();
    if (1..=6).contains(&depth) {
        let title = line[depth..].strip_prefix([' ', '\t'])?;
        return Some((depth, title.trim().trim_end_matches('#').trim_end()));
    }
    let title = line.trim();
    let next = next.filter(|next| is_underline(next))?;
    let is_title = !title.is_empty() && !line.starts_with(' ') && !title.starts_with(['-', '*', '+', '>', '|']);
    is_title.then(|| (if next.starts_with('=') { 1 } else { 2 }, title))
}

fn is_underline(line: &str) -> bool {
    line.len() >= 3 && (line.bytes().all(|byte| byte == b'=') || line.bytes().all(|byte| byte == b'-'))
}

/// Whether a line is the target of a link, as such files have them at their end: `[1.1.0]: https://...`.
fn is_link_target(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ")
}

/// Reads the version that a heading names: `[1.2.0] - 2026-01-31`, `v1.2.0 (2026-01-31)`, `Version 1.2`.
fn version_of(title: &str) -> Option<Version> {
    let word = title
        .split_whitespace()
        .find(|word| !matches!(word.to_ascii_lowercase().as_str(), "version" | "release"))?
        .trim_start_matches(['[', '*', '`', '('])
        .split([']', '(', ')', '*', '`', ',', ':'])
        .next()?;
    let version = Version::new(word);
    let core = word.strip_prefix('v').unwrap_or(word).split(['-', '+']).next()?;
    (core.contains('.') && version.semver().is_some()).then_some(version)
}

/// Which of the sections that are kept a title begins: letters count, not case, marks or pictures.
fn section_of(title: &str) -> Option<Section> {
    let words: String = title.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.as_str() {
        "breaking" | "breaking change" | "breaking changes" => Some(Section::Breaking),
        "required action" | "required actions" | "action required" | "actions required" => {
            Some(Section::RequiredAction)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version, breaking changes and required action of each entry; what is not there is `-`.
    fn entries(text: &str) -> Vec<[String; 3]> {
        let entries = Changelog::parse(text).entries.into_iter();
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        entries
            .map(|entry| [entry.version.to_string(), or_none(entry.breaking), or_none(entry.required_action)])
            .collect()
    }

    #[test]
    fn f_14_breaking_changes_and_required_actions_are_found_for_each_version() {
        let text = "\u{feff}# Changelog\r\n\r\nAll notable changes.\r\n\r\n## [Unreleased]\r\n\r\n### BREAKING CHANGES\r\n- not yet\r\n\
\r\n## [0.6.0] - 2026-03-01\r\n\r\n### BREAKING CHANGES\r\n\r\n- The default model is `base`,\r\n  no longer `large`.\r\n- `OLD` is gone.\r\n\
\r\n### Required action\r\n\r\n1. Set `MODEL_NAME`.\r\n\r\n### Added\r\n- much\r\n\r\n## [0.5.1]\r\n### Fixed\r\n- a bug\r\n\
\r\n[0.6.0]: https://example.org/0.6.0\r\n";
        assert_eq!(
            entries(text),
            [
                [
                    "0.6.0",
                    "- The default model is `base`,\n  no longer `large`.\n- `OLD` is gone.",
                    "1. Set `MODEL_NAME`."
                ]
                .map(str::to_owned),
                ["0.5.1", "-", "-"].map(str::to_owned),
            ]
        );
    }

    #[test]
    fn headings_are_read_as_people_write_them() {
        let text = "\
1.4.0
-----
**BREAKING CHANGES:**
one
# [1.3.0](https://example.org) (2026-01-01)
#### ⚠ Breaking Changes
two
#### Features
none
## v1.2 (2026-01-01) ##
### ACTION REQUIRED
three
#### In detail
four
## Version 1.1.0
### 2 new things
<!--
### Required action
hidden
-->
```sh
## 1.0.9
```
## Contributors
### Required action
write to us
## 1.0.0-rc.1
";
        assert_eq!(
            entries(text),
            [
                ["1.4.0", "one", "-"].map(str::to_owned),
                ["1.3.0", "two", "-"].map(str::to_owned),
                ["v1.2", "-", "three\nIn detail\nfour"].map(str::to_owned),
                ["1.1.0", "-", "-"].map(str::to_owned),
                ["1.0.0-rc.1", "-", "-"].map(str::to_owned),
            ]
        );
    }

    #[test]
    fn a_heading_that_names_a_version_inside_a_section_is_text_of_it() {
        let text = "## 2.1.0\n### Required action\n#### 2.0.3 users\nset X\n### Added\n## 2.0.3\n";
        let found = entries(text);
        assert_eq!(found[0][2], "2.0.3 users\nset X");
        assert_eq!(found.len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(#{1,4} ?|\\[|\\]|1\\.2\\.3|-|=|`{3}|<!--|-->|BREAKING|\\n| |\\PC){0,60}") {
            let _ = Changelog::parse(&text);
        }
    }
}
