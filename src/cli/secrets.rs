//! Resolves references to secrets: environment, file, command. Each once for a process.

use std::{
    collections::BTreeMap,
    io::Read as _,
    process::{Command, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    time::{Duration, Instant},
};

use crate::{
    engine,
    model::{Secret, SecretSource, Span},
};

/// Largest secret accepted, in bytes.
const MAX: usize = 64 * 1024;

/// What became of one source.
type Slot = Arc<OnceLock<Result<Secret, String>>>;

/// Reads secrets where their references point, and remembers them for as long as the process lives.
pub(crate) struct SecretStore {
    known: Mutex<BTreeMap<SecretSource, Slot>>,
    /// Longest time for a command.
    within: Duration,
}

impl SecretStore {
    pub(crate) fn new(within: Duration) -> Self {
        Self { known: Mutex::default(), within }
    }
}

impl engine::Secrets for SecretStore {
    fn resolve(&self, source: &SecretSource) -> Result<Secret, String> {
        let slot =
            Arc::clone(self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(source.clone()).or_default());
        // Whoever needs the same secret waits for it, so that a command that asks a person asks once for forty
        // hosts; whoever needs another does not. What failed is not tried again for each of them.
        slot.get_or_init(|| read(source, self.within)).clone()
    }
}

fn read(source: &SecretSource, within: Duration) -> Result<Secret, String> {
    let value = match source {
        SecretSource::Env(name) => {
            std::env::var(name).map_err(|_| format!("environment variable `{name}` is not set"))?
        }
        SecretSource::File(path) => {
            let path = expand_home(path);
            std::fs::read_to_string(&path).map_err(|error| format!("`{path}` cannot be read: {error}"))?
        }
        SecretSource::Command(words) => run(words, within)?,
    };
    let value = value.strip_suffix('\n').map_or(value.as_str(), |v| v.strip_suffix('\r').unwrap_or(v));
    if value.is_empty() {
        return Err("it is empty".to_owned());
    }
    if value.len() > MAX || value.contains('\0') {
        return Err("it is too long, or holds a NUL byte".to_owned());
    }
    Ok(Secret::new(value))
}

fn run(words: &[String], within: Duration) -> Result<String, String> {
    let (program, arguments) = words.split_first().ok_or_else(|| "its command is empty".to_owned())?;
    let deadline = Instant::now() + within;
    let mut child = Command::new(expand_home(program))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What it prints may hold the secret.
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("`{program}` cannot be started: {error}"))?;
    let printed = child.stdout.take().expect("it is piped");
    let (sender, receiver) = mpsc::channel();
    // On a thread of its own: what the command started may hold the pipe open for ever.
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = printed.take(MAX as u64 + 2).read_to_end(&mut bytes);
        let _ = sender.send(read.map(|_| bytes));
    });
    let read = receiver.recv_timeout(within);
    let ended = loop {
        match child.try_wait() {
            Ok(None) if read.is_ok() && Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            ended => break ended.ok().flatten(),
        }
    };
    let Some(status) = ended.filter(|_| read.is_ok()) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("`{program}` did not end within {}; `--secret-timeout` gives it longer", Span(within)));
    };
    let bytes = read.unwrap_or_else(|_| unreachable!("looked at above"));
    let bytes = bytes.map_err(|error| format!("what `{program}` printed cannot be read: {error}"))?;
    if bytes.len() > MAX + 1 {
        return Err(format!("what `{program}` printed is too long"));
    }
    if !status.success() {
        return Err(format!("`{program}` ended with {status}"));
    }
    String::from_utf8(bytes).map_err(|_| format!("what `{program}` printed is not text"))
}

fn expand_home(path: &str) -> String {
    match (path.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => format!("{home}/{rest}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Secrets as _;

    fn command(text: &str) -> SecretSource {
        SecretSource::Command(["sh", "-c", text].map(str::to_owned).to_vec())
    }

    #[test]
    fn a_command_that_hangs_is_named_and_holds_up_no_other_secret() {
        let store = Arc::new(SecretStore::new(Duration::from_secs(3)));
        let hanging = command("echo begun; sleep 600");
        let waiting = std::thread::spawn({
            let (store, hanging) = (Arc::clone(&store), hanging.clone());
            move || store.resolve(&hanging)
        });
        let other = store.resolve(&command("echo value")).expect("it does not wait");
        assert_eq!(other.reveal(), "value");
        assert!(!waiting.is_finished(), "it did not hang");
        let why = waiting.join().expect("no panic").expect_err("no value");
        assert_eq!(why, "`sh` did not end within 3s; `--secret-timeout` gives it longer");
    }

    #[test]
    fn a_child_that_keeps_the_pipe_open_counts_as_hanging_and_a_silent_one_too() {
        for text in ["sleep 600 & echo value", "exec sleep 600"] {
            let store = SecretStore::new(Duration::from_millis(300));
            assert!(store.resolve(&command(text)).is_err_and(|why| why.contains("did not end")), "{text}");
        }
    }

    #[test]
    fn a_command_is_asked_once_whether_it_answers_or_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let trace = folder.path().join("trace");
        for end in ["echo value", "exit 3"] {
            let store = SecretStore::new(Duration::from_secs(60));
            let source = command(&format!("echo asked >>{}; {end}", trace.display()));
            let first = store.resolve(&source).map(|secret| secret.reveal().to_owned());
            let again = store.resolve(&source).map(|secret| secret.reveal().to_owned());
            assert_eq!(first, again);
        }
        assert_eq!(std::fs::read_to_string(&trace).expect("there").lines().count(), 2);
    }
}
