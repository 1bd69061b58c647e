//! The `longshore` binary as a person or a script calls it, and what came of it.

use std::{
    ffi::OsStr,
    fmt, fs,
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use longshore::event::{Event, Happening, RunState};

/// A call that is being put together.
pub struct Longshore {
    command: Command,
    shown: String,
    limit: Duration,
}

impl Longshore {
    /// Prepares a call that may take as long as `limit`.
    pub fn new(project: &Path, home: &Path, mark: (&str, &str), limit: Duration) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("COLUMNS", "160")
            .env(mark.0, mark.1)
            .arg("-C")
            .arg(project)
            // What a test keeps by its name alone is gone with its project.
            .current_dir(project)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { command, shown: "longshore".to_owned(), limit }
    }

    /// Lets neither the user's nor the system's SSH configuration count.
    pub fn no_ssh_config(mut self) -> Self {
        self.command.arg("--no-ssh-config");
        self
    }

    pub fn args<I: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = I>) -> Self {
        for argument in arguments {
            self.shown = format!("{} '{}'", self.shown, argument.as_ref().display());
            self.command.arg(argument);
        }
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives it this file as standard input.
    pub fn stdin(mut self, from: impl Into<Stdio>) -> Self {
        self.command.stdin(from);
        self
    }

    /// Gives it this as standard output, which is then not looked at.
    pub fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.command.stdout(to);
        self
    }

    /// Starts it, for what has to be looked at while it runs.
    pub fn start(mut self) -> Running {
        let child = self.command.spawn().expect("the binary starts");
        Running { child: Some(child), shown: self.shown, limit: self.limit }
    }

    /// Runs it to its end.
    pub fn run(self) -> Ran {
        self.start().finish()
    }

    /// Runs it at a terminal where a person answers: each question, and what is typed once it stands there.
    pub fn answer(mut self, answers: &[(&str, &str)]) -> Ran {
        let size = nix::pty::Winsize { ws_row: 50, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
        let nix::pty::OpenptyResult { master, slave } = nix::pty::openpty(&size, None).expect("a terminal");
        let typing = fs::File::from(slave.try_clone().expect("a second handle"));
        self.command.env("TERM", "xterm").stdin(typing).stderr(fs::File::from(slave));
        let running = self.start();
        let answers: Vec<_> =
            answers.iter().map(|(question, word)| (question.to_string(), format!("{word}\n"))).collect();
        let person = std::thread::spawn(move || {
            let mut terminal = fs::File::from(master);
            let (mut seen, mut read, mut part) = (String::new(), 0, [0; 4096]);
            let mut answers = answers.into_iter().peekable();
            // The terminal of a program that has ended cannot be read any more.
            while let Ok(count @ 1..) = terminal.read(&mut part) {
                seen.push_str(&String::from_utf8_lossy(&part[..count]));
                while let Some(at) = answers.peek().and_then(|(question, _)| seen[read..].find(question.as_str())) {
                    let (question, word) = answers.next().expect("peeked");
                    read += at + question.len();
                    terminal.write_all(word.as_bytes()).expect("it listens");
                }
            }
            (seen, answers.collect::<Vec<_>>())
        });
        let mut ran = running.finish();
        let (seen, left) = person.join().expect("the person stays calm");
        ran.err = seen;
        assert!(left.is_empty(), "never asked: {left:?}\n{ran}");
        ran
    }
}

/// A call that runs. Killed when a test drops it.
pub struct Running {
    child: Option<Child>,
    shown: String,
    limit: Duration,
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it was not waited for").id()
    }

    /// Sends a signal to it alone, as `kill` would.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = i32::try_from(self.id()).expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), signal).expect("it runs");
    }

    /// Waits for its end; one that takes too long is killed, and the test fails.
    pub fn finish(mut self) -> Ran {
        let mut child = self.child.take().expect("it was not waited for");
        let (done, watched) = std::sync::mpsc::channel::<()>();
        let (id, limit) = (child.id(), self.limit);
        let watch = std::thread::spawn(move || {
            let timed_out = watched.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
            if timed_out {
                let id = i32::try_from(id).expect("a process id");
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
            }
            timed_out
        });
        let began = Instant::now();
        drop(child.stdin.take());
        let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
        let _ = done.send(());
        let ran = Ran {
            code: status.code(),
            out: String::from_utf8_lossy(&stdout).into_owned(),
            err: String::from_utf8_lossy(&stderr).into_owned(),
            took: began.elapsed(),
            shown: self.shown.clone(),
        };
        assert!(!watch.join().expect("the watch does not panic"), "it did not end within {limit:?}\n{ran}");
        ran
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What came of a call. Printed whole where an assertion fails.
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub took: Duration,
    shown: String,
}

impl Ran {
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Asserts that standard output, read with its line breaks as blanks, contains the text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(flat(&self.out).contains(text), "not printed: {text}\n{self}");
        self
    }

    /// The same of standard error.
    #[track_caller]
    pub fn tells(self, text: &str) -> Self {
        assert!(flat(&self.err).contains(text), "not told: {text}\n{self}");
        self
    }

    /// Returns the cells of the rows whose first cell is `name`.
    #[track_caller]
    pub fn row(&self, name: &str) -> Vec<String> {
        let rows = self.out.lines().filter(|line| line.starts_with('│'));
        let mut rows = rows.map(|line| line.trim_matches('│').split('│').map(|cell| cell.trim().to_owned()).collect());
        let mut found: Option<Vec<String>> = None;
        for row in rows.by_ref() {
            let row: Vec<String> = row;
            match &mut found {
                None if row[0] == name => found = Some(row),
                // A row that was wrapped goes on below.
                Some(found) if row[0].is_empty() => {
                    for (cell, more) in found.iter_mut().zip(row) {
                        if !more.is_empty() {
                            *cell = format!("{cell} {more}");
                        }
                    }
                }
                Some(_) => break,
                None => {}
            }
        }
        found.unwrap_or_else(|| panic!("no row for {name}\n{self}"))
    }

    /// Reads standard output as the event stream.
    #[track_caller]
    pub fn events(&self) -> Vec<Event> {
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{self}"));
        self.out.lines().map(read).collect()
    }

    /// Folds the event stream; `history` and the tables read the same.
    #[track_caller]
    pub fn state(&self) -> RunState {
        RunState::fold(&self.events()).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// The events of one host.
    pub fn happened(&self, host: &str) -> Vec<Happening> {
        let of_host = |event: &Event| event.host.as_ref().is_some_and(|name| name.as_str() == host);
        self.events().into_iter().filter(of_host).map(|event| event.what).collect()
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, out, err, took, shown, .. } = self;
        // The end of it usually tells.
        let cut = |text: &str| {
            let lines = text.lines().map(|line| line.chars().take(700).collect::<String>()).collect::<Vec<_>>();
            lines[lines.len().saturating_sub(80)..].join("\n")
        };
        write!(f, "$ {shown}\nexit {code:?} after {took:?}\n--- out\n{}\n--- err\n{}\n---", cut(out), cut(err))
    }
}

/// The text with every run of blanks and line breaks as one blank, and the frames of tables left out.
pub fn flat(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c == '│').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
