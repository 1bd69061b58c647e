//! Reads the files, with what they include, into a tree of statements.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    ConfigProblem, ProblemKind, Surroundings,
    directive::{self, Criterion, Directive, Setting},
    expand, glob, words,
};
use crate::transport::ssh::pattern;

/// How deep files may include each other, as in OpenSSH.
const DEPTH_LIMIT: usize = 16;

/// How many files may be included in all: two files that include both would otherwise be read 2^16 times.
const FILE_LIMIT: usize = 1_000;

/// A configuration file larger than this is an error: 4 MiB.
const SIZE_LIMIT: u64 = 4 * 1024 * 1024;

/// Where the system's files are.
const SYSTEM_FOLDER: &str = "/etc/ssh";

/// A file, read.
#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    /// With line numbers, from 1; 0 for the file as a whole.
    pub statements: Vec<(usize, Statement)>,
}

/// What a line comes to.
#[derive(Debug)]
pub enum Statement {
    Host(Vec<String>),
    Match(Vec<Criterion>),
    Include(Vec<Arc<File>>),
    Set(Setting),
    /// A line that cannot be understood, or a file that cannot be read, and that may change where or
    /// how to connect: the hosts of its block are refused.
    Broken(String),
    /// A `Host` or `Match` that cannot be understood. Nobody knows which hosts it is for: all are refused.
    BrokenBlock(String),
}

/// Reads files and collects what is wrong with them.
pub struct Reader<'a> {
    surroundings: &'a Surroundings,
    problems: Vec<ConfigProblem>,
    /// Patterns of keywords that may be unknown.
    ignored: Vec<String>,
    files: usize,
}

impl<'a> Reader<'a> {
    pub fn new(surroundings: &'a Surroundings) -> Self {
        Self { surroundings, problems: Vec::new(), ignored: Vec::new(), files: 0 }
    }

    pub fn finish(self) -> Vec<ConfigProblem> {
        self.problems
    }

    /// Reads a file that nobody includes. `None` when it does not exist.
    pub fn root(&mut self, path: &Path) -> Option<Arc<File>> {
        let is_system = path.starts_with(SYSTEM_FOLDER);
        match open(path, !is_system) {
            Ok(text) => Some(Arc::new(self.parse(path, &text, 0, is_system))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let broken = self.broken(path, 0, ProblemKind::File, describe(&error));
                Some(Arc::new(File { path: path.to_owned(), statements: vec![(0, broken)] }))
            }
        }
    }

    fn parse(&mut self, path: &Path, text: &str, depth: usize, is_system: bool) -> File {
        let mut statements = Vec::new();
        for (number, line) in (1..).zip(text.split('\n')) {
            let line = match words::split(line) {
                Ok(Some(line)) => line,
                Ok(None) => continue,
                Err(error) => {
                    statements.push((number, self.broken_line(path, number, &error.keyword, error.message)));
                    continue;
                }
            };
            let statement = match directive::parse(&line) {
                Ok(Directive::Host(patterns)) => Statement::Host(patterns),
                Ok(Directive::Match(criteria)) => Statement::Match(criteria),
                Ok(Directive::Set(setting)) => Statement::Set(setting),
                Ok(Directive::Include(patterns)) => {
                    for pattern in patterns {
                        let statement = self.include(path, number, &pattern, depth, is_system);
                        statements.push((number, statement));
                    }
                    continue;
                }
                Ok(Directive::IgnoreUnknown(list)) => {
                    self.ignored.push(list.to_ascii_lowercase());
                    continue;
                }
                Ok(Directive::Nothing) => continue,
                Ok(Directive::Unknown) => {
                    // Not broken: it may be a keyword of a newer OpenSSH.
                    if !self.ignored.iter().any(|list| pattern::list_matches(&line.keyword, list)) {
                        let message = format!("`{}` is no keyword that is known", line.keyword);
                        self.problem(path, number, ProblemKind::Syntax, message);
                    }
                    continue;
                }
                Err(message) => self.broken_line(path, number, &line.keyword, format!("`{}`: {message}", line.keyword)),
            };
            statements.push((number, statement));
        }
        File { path: path.to_owned(), statements }
    }

    fn include(&mut self, path: &Path, line: usize, pattern: &str, depth: usize, is_system: bool) -> Statement {
        let pattern = match self.include_pattern(pattern, is_system) {
            Ok(pattern) => pattern,
            Err(message) => return self.broken(path, line, ProblemKind::Syntax, message),
        };
        let found = match glob::find(&pattern) {
            Ok(found) => found,
            Err(error) => {
                return self.broken(path, line, ProblemKind::File, format!("`{pattern}`: {}", describe(&error)));
            }
        };
        if depth >= DEPTH_LIMIT || self.files + found.len() > FILE_LIMIT {
            let message = "too many files include each other".to_owned();
            return self.broken(path, line, ProblemKind::File, message);
        }
        self.files += found.len();
        let mut included = Vec::new();
        for file in found {
            match open(&file, true) {
                Ok(text) => included.push(Arc::new(self.parse(&file, &text, depth + 1, is_system))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let message = format!("cannot include {}: {}", file.display(), describe(&error));
                    return self.broken(path, line, ProblemKind::File, message);
                }
            }
        }
        Statement::Include(included)
    }

    fn include_pattern(&self, pattern: &str, is_system: bool) -> Result<String, String> {
        let pattern = expand::variables(pattern, &self.surroundings.environment)?;
        if pattern.contains('%') {
            // They would differ from host to host, and the files are read once.
            return Err(format!("tokens in `Include {pattern}` are not honoured"));
        }
        if pattern.starts_with('~') {
            if is_system {
                return Err(format!("`Include {pattern}` cannot stand in a file of the system"));
            }
            return expand::tilde(&pattern, self.surroundings);
        }
        let folder = if is_system { SYSTEM_FOLDER.to_owned() } else { expand::tilde("~/.ssh", self.surroundings)? };
        Ok(if pattern.starts_with('/') { pattern } else { format!("{folder}/{pattern}") })
    }

    fn broken_line(&mut self, path: &Path, line: usize, keyword: &str, message: String) -> Statement {
        match (keyword, self.broken(path, line, ProblemKind::Syntax, message)) {
            ("host" | "match" | "", Statement::Broken(message)) => Statement::BrokenBlock(message),
            (_, statement) => statement,
        }
    }

    fn broken(&mut self, path: &Path, line: usize, kind: ProblemKind, message: String) -> Statement {
        self.problem(path, line, kind, message.clone());
        Statement::Broken(message)
    }

    fn problem(&mut self, path: &Path, line: usize, kind: ProblemKind, message: String) {
        self.problems.push(ConfigProblem { file: path.to_owned(), line, kind, message });
    }
}

/// Reads a file of bounded size. A file that others may change can run commands as this user, so it is
/// refused where `guarded`.
fn open(path: &Path, guarded: bool) -> io::Result<String> {
    // Asked before opening, which would wait for ever on a pipe.
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() || path == Path::new("/dev/null") {
        // As OpenSSH has it: an `Include` with a wildcard may well cover a folder.
        return Ok(String::new());
    }
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    let is_ours = metadata.uid() == 0 || metadata.uid() == nix::unistd::getuid().as_raw();
    if guarded && (!is_ours || metadata.mode() & 0o022 != 0) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others than its owner may change the file"));
    }
    let mut bytes = Vec::new();
    file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn describe(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}
