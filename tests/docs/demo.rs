//! The recorded run in the README: taken from the demo, and compared with a fresh one.

use std::{fs, process::Command, sync::LazyLock};

use regex::Regex;
use similar::TextDiff;

use crate::{
    kept::{between, blesses, inside, read, root},
    picture,
};

/// Columns of the recorded terminal.
pub(crate) const WIDTH: usize = 100;

#[test]
fn the_readme_shows_what_the_demo_prints() {
    let shown = inside(&read("README.md"), "demo");
    let fresh = format!("```text\n{}```", kept_lines(&run("never")));
    let (known, now) = (normal(&shown), normal(&fresh));
    let is_the_same = known == now;
    if blesses() && (!is_the_same || std::env::var_os("RECORD").is_some()) {
        // One run makes both, so that picture and text tell the same.
        let coloured = kept_lines(&run("always"));
        let block = format!("```text\n{}```", picture::plain(&coloured));
        let readme = between(&read("README.md"), "demo", &block);
        fs::write(root().join("README.md"), readme).expect("the README can be written");
        fs::write(root().join(PICTURE), picture::draw(part_of_the_picture(&coloured), WIDTH)).expect("the picture");
        return;
    }
    let difference = TextDiff::from_lines(&known, &now).unified_diff().context_radius(4).to_string();
    assert!(is_the_same, "the demo has changed; `docs/record-demo` records it anew\n{difference}");
}

const PICTURE: &str = "docs/demo.svg";

#[test]
fn the_picture_shows_a_part_of_the_readmes_run() {
    if blesses() {
        return;
    }
    let shown = inside(&read("README.md"), "demo");
    let shown = shown.trim_start_matches("```text\n").trim_end_matches("```");
    let expected: Vec<_> = part_of_the_picture(shown).lines().flat_map(|line| picture::wrap(line, WIDTH)).collect();
    assert_eq!(picture::texts(&read(PICTURE)), expected);
}

/// From the apply on.
fn part_of_the_picture(text: &str) -> &str {
    let at = text.find("3. Do it").expect("the third part of the demo");
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    text[start..].trim_end()
}

/// Everything the demo prints, in the order it comes.
fn run(colour: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" --color \"$1\" demo 2>&1", env!("CARGO_BIN_EXE_longshore"), colour]);
    command.env("COLUMNS", WIDTH.to_string()).env("NO_COLOR", "1").env("LANG", "C.UTF-8").env_remove("LC_ALL");
    command.env_remove("LONGSHORE_PROJECT");
    let output = command.output().expect("the demo runs");
    let text = String::from_utf8(output.stdout).expect("the demo prints text");
    assert!(output.status.success(), "the demo ended with {}\n{text}", output.status);
    text
}

/// Leaves out the progress of single hosts, but for the one that fails.
fn kept_lines(text: &str) -> String {
    static PROGRESS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^\d\d:\d\d:\d\d (web-\d+): ").expect("an expression"));
    let mut kept = String::new();
    for line in text.lines() {
        let plain = picture::plain(line);
        let host = PROGRESS.captures(&plain).map(|found| found[1].to_owned());
        if host.is_none_or(|host| host == "web-4") {
            kept.push_str(line.trim_end());
            kept.push('\n');
        }
    }
    kept.trim_start_matches('\n').to_owned()
}

/// What is the same in every run, one word a line.
///
/// Times, ports, digests and sizes differ from run to run, and with them where lines and cells break.
fn normal(text: &str) -> String {
    static VARIABLE: LazyLock<[(Regex, &str); 6]> = LazyLock::new(|| {
        [
            (r"\b\d\d:\d\d:\d\d\b", "TIME"),
            (r"\b\d+(\.\d+)?(ms|s|m)\b( \d+(ms|s)\b)?", "LENGTH"),
            (r"\b\d+ ms\b", "LENGTH"),
            (r"127\.0\.0\.1:\d+", "ADDRESS"),
            (r"sha256:[0-9a-f]+", "DIGEST"),
            (r"\b[\d.]+[KMGT]iB of [\d.]+[KMGT]iB free \(\d+%\)", "SPACE"),
        ]
        .map(|(expression, name)| (Regex::new(expression).expect("an expression"), name))
    });
    let mut words = String::new();
    let mut has_causes = false;
    for line in text.lines() {
        if line.starts_with('╭') {
            has_causes = false;
        }
        if line.starts_with(['╭', '├', '╰']) {
            continue;
        }
        let mut line = line.to_owned();
        if let Some(row) = line.strip_prefix('│') {
            let mut cells: Vec<_> = row.trim_end_matches('│').split('│').map(str::trim).collect();
            has_causes |= cells.last() == Some(&"cause");
            if has_causes {
                // The cause tells how long something took, and breaks accordingly. It is told below the table, too.
                cells.pop();
            }
            line = cells.join(" ");
        }
        for (expression, name) in VARIABLE.iter() {
            line = expression.replace_all(&line, *name).into_owned();
        }
        for word in line.split_whitespace() {
            words.push_str(word);
            words.push('\n');
        }
    }
    words
}

#[test]
fn what_differs_from_run_to_run_is_not_compared() {
    let one = "10:00:01 web-4: took back Stop in 71ms\n│ a │ cause │\n│ b │ status 503 in 1 ms │\ncause: x in 1 ms";
    let two = "11:00:01 web-4: took back Stop in 1.2s\n│ a │ cause │\n│ b │ status 503 in │\n│   │ 12 ms │\ncause: x in\n 12 ms";
    assert_eq!(normal(one), normal(two));
    assert_ne!(normal(one), normal(&one.replace("Stop", "Start")));
}
