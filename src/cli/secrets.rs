//! Resolves references to secrets: environment, file, command. Each once for a process.

use std::{collections::BTreeMap, process::Command, sync::Mutex};

use crate::{
    engine,
    model::{Secret, SecretSource},
};

/// Largest secret accepted, in bytes.
const MAX: usize = 64 * 1024;

/// Reads secrets where their references point, and remembers them for as long as the process lives.
#[derive(Default)]
pub(crate) struct SecretStore {
    known: Mutex<BTreeMap<SecretSource, Secret>>,
}

impl engine::Secrets for SecretStore {
    fn resolve(&self, source: &SecretSource) -> Result<Secret, String> {
        // Held while a command runs, so that one that asks a person asks once for forty hosts.
        let mut known = self.known.lock().map_err(|_| "another secret could not be read".to_owned())?;
        if let Some(secret) = known.get(source) {
            return Ok(secret.clone());
        }
        let secret = read(source)?;
        known.insert(source.clone(), secret.clone());
        Ok(secret)
    }
}

fn read(source: &SecretSource) -> Result<Secret, String> {
    let value = match source {
        SecretSource::Env(name) => {
            std::env::var(name).map_err(|_| format!("environment variable `{name}` is not set"))?
        }
        SecretSource::File(path) => {
            let path = expand_home(path);
            std::fs::read_to_string(&path).map_err(|error| format!("`{path}` cannot be read: {error}"))?
        }
        SecretSource::Command(words) => run(words)?,
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

fn run(words: &[String]) -> Result<String, String> {
    let (program, arguments) = words.split_first().ok_or_else(|| "its command is empty".to_owned())?;
    let output = Command::new(expand_home(program))
        .args(arguments)
        .output()
        .map_err(|error| format!("`{program}` cannot be started: {error}"))?;
    if !output.status.success() {
        // What it printed may hold the secret, so only its status is told.
        return Err(format!("`{program}` ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("what `{program}` printed is not text"))
}

fn expand_home(path: &str) -> String {
    match (path.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => format!("{home}/{rest}"),
        _ => path.to_owned(),
    }
}
