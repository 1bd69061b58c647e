//! Runs the binary in a world of its own, and masks what differs from run to run.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use regex::Regex;

/// How a command ended and what it printed.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn from(output: &Output) -> Self {
        Self {
            // A signal is no exit code, and no test expects one.
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// All of it, masked, for a snapshot.
    pub fn screen(&self) -> String {
        let mut text = masked(&self.out);
        if !self.err.is_empty() {
            text.push_str("-- standard error\n");
            text.push_str(&masked(&self.err));
        }
        format!("{}\n-- exit code {}", text.trim_end(), self.code)
    }

    /// Fails with everything that was printed unless the exit code is the expected one.
    #[track_caller]
    pub fn expect(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "standard output:\n{}\nstandard error:\n{}", self.out, self.err);
        self
    }
}

/// The binary, in `folder`: no terminal, 80 columns, nobody's own SSH configuration.
pub fn longshore(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", folder)
        .env("COLUMNS", "80")
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    command
}

pub fn run(folder: &Path, args: &[&str]) -> Ran {
    Ran::from(&longshore(folder, args).output().unwrap())
}

/// Puts placeholders where times, ports, sizes and identifiers stand.
pub fn masked(text: &str) -> String {
    let masks = [
        (r"\d\d:\d\d:\d\d", "TIME"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d", "DATE"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
        (r"sha256:[0-9a-f]{12}", "sha256:DIGEST"),
        (r"id [0-9a-z]{26}", "id ID"),
        (r"(Took|took|in|after|than|\d, for) (\d+m )?\d+(\.\d+)?m?s( \d+ms)?", "$1 SPAN"),
        (r"\((\d+m )?\d+(\.\d+)?m?s\)", "(SPAN)"),
        (r"in \d+ ms", "in SPAN"),
        // How long a host was down, on a machine that has other things to do.
        (r"│ (?:\ds  |\d\.\ds) │ (\d/\d green)", "│ <1s  │ $1"),
    ];
    masks.iter().fold(text.to_owned(), |text, (pattern, mask)| {
        Regex::new(pattern).unwrap().replace_all(&text, *mask).into_owned()
    })
}
