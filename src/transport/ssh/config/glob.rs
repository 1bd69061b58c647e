//! Finds the files that an `Include` names: `*`, `?` and `[a-z]` in each part of a path.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Returns the paths that exist and fit, sorted. Wildcards do not cover a leading dot.
pub fn find(pattern: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let parsed = parse(part);
        let literal: Option<String> =
            parsed.iter().map(|piece| if let Piece::Char(c) = piece { Some(*c) } else { None }).collect();
        let mut next = Vec::new();
        for folder in found {
            match &literal {
                Some(name) => next.push(folder.join(name)),
                None => list(&folder, &parsed, part.starts_with('.'), &mut next)?,
            }
        }
        found = next;
    }
    found.retain(|path| path.exists());
    found.sort();
    Ok(found)
}

fn list(folder: &Path, pattern: &[Piece], hidden: bool, out: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        let Some(text) = name.to_str() else { continue };
        if (hidden || !text.starts_with('.')) && fits(&text.chars().collect::<Vec<_>>(), pattern) {
            out.push(folder.join(&name));
        }
    }
    Ok(())
}

enum Piece {
    Many,
    One,
    Char(char),
    Set { negated: bool, ranges: Vec<(char, char)> },
}

fn parse(text: &str) -> Vec<Piece> {
    let chars: Vec<char> = text.chars().collect();
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        at += 1;
        pieces.push(match c {
            '*' => Piece::Many,
            '?' => Piece::One,
            '\\' if at < chars.len() => {
                at += 1;
                Piece::Char(chars[at - 1])
            }
            '[' => match parse_set(&chars[at..]) {
                Some((set, length)) => {
                    at += length;
                    set
                }
                None => Piece::Char('['),
            },
            _ => Piece::Char(c),
        });
    }
    pieces
}

/// Reads what follows a `[`, and returns how long it is.
fn parse_set(chars: &[char]) -> Option<(Piece, usize)> {
    let negated = matches!(chars.first(), Some('!' | '^'));
    let start = usize::from(negated);
    // A bracket that comes first stands for itself.
    let end = start + 1 + chars.get(start + 1..)?.iter().position(|&c| c == ']')?;
    let mut ranges = Vec::new();
    let mut members = &chars[start..end];
    while let Some((&first, rest)) = members.split_first() {
        members = if let ['-', last, rest @ ..] = rest {
            ranges.push((first, *last));
            rest
        } else {
            ranges.push((first, first));
            rest
        };
    }
    Some((Piece::Set { negated, ranges }, end + 1))
}

fn fits(text: &[char], pattern: &[Piece]) -> bool {
    let (mut t, mut p) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let fits_one = match pattern.get(p) {
            Some(Piece::Many) => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(Piece::One) => true,
            Some(Piece::Char(c)) => *c == text[t],
            Some(Piece::Set { negated, ranges }) => {
                ranges.iter().any(|(first, last)| (first..=last).contains(&&text[t])) != *negated
            }
            None => false,
        };
        if fits_one {
            p += 1;
            t += 1;
        } else {
            let Some((after, taken)) = star else { return false };
            star = Some((after, taken + 1));
            p = after;
            t = taken + 1;
        }
    }
    pattern[p..].iter().all(|piece| matches!(piece, Piece::Many))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_wildcards_in_any_part_of_the_path() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/1.conf", "a/2.conf", "a/.3.conf", "b/1.conf", "b/x]", "c"] {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let root = folder.path().to_str().unwrap();
        let find = |pattern: &str| -> Vec<String> {
            let found = find(&format!("{root}/{pattern}")).unwrap();
            found.iter().map(|path| path.strip_prefix(root).unwrap().display().to_string()).collect()
        };
        assert_eq!(find("*/1.conf"), ["a/1.conf", "b/1.conf"]);
        assert_eq!(find("a/*"), ["a/1.conf", "a/2.conf"]);
        assert_eq!(find("a/.*"), ["a/.3.conf"]);
        assert_eq!(find("[ab]/[2-9].c?nf"), ["a/2.conf"]);
        assert_eq!(find("[!a]/*f"), ["b/1.conf"]);
        assert_eq!(find(r"b/x\]"), ["b/x]"]);
        assert_eq!(find("b/x[]]"), ["b/x]"]);
        assert_eq!(find("c/*"), [""; 0]);
        assert_eq!(find("missing"), [""; 0]);
    }
}
