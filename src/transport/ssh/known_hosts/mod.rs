//! Judges host keys by `known_hosts` files, as OpenSSH does.
//!
//! Hashed names, `[host]:port`, `*`, `?`, `!`, `@cert-authority` and `@revoked` are understood. A key
//! that is not the known one is refused as changed, of whatever type it is. Bad lines are skipped with
//! a warning. `append` writes what a person has trusted.

mod append;
mod certificate;
#[cfg(test)]
mod differential;
mod line;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt, fs, io,
    io::Read as _,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use russh::keys::{Algorithm, HashAlg, PublicKey};

pub use append::add;
pub use certificate::CertificateFault;
use line::{Entry, Marker, Names};

/// A `known_hosts` file larger than this is an error: 64 MiB.
const SIZE_LIMIT: u64 = 64 * 1024 * 1024;

/// Warnings kept; more are only counted, so that a file of rubbish does not fill the memory.
const WARNINGS_KEPT: usize = 100;

/// The port that is left out of a name.
const DEFAULT_PORT: u16 = 22;

/// Several `known_hosts` files, in the order given.
#[derive(Debug, Default)]
pub struct KnownHosts {
    entries: Vec<(Entry, Place)>,
    /// Lines by each name without wildcards: with thousands of hosts, trying all lines for each costs.
    plain: HashMap<String, Vec<usize>>,
    /// Lines that have to be tried.
    tried: Vec<usize>,
    warnings: Vec<Warning>,
}

impl KnownHosts {
    /// Reads the files; one that does not exist is empty.
    pub fn load(files: &[PathBuf]) -> Result<Self, KnownHostsError> {
        let mut known = Self::default();
        for file in files {
            if let Some(bytes) = read(file, SIZE_LIMIT)? {
                known.absorb(file, &bytes);
            }
        }
        Ok(known)
    }

    /// Returns the lines that were skipped, and why.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Says what is known of a key that a host has shown.
    ///
    /// On another port than 22, a key known for the name without a port is known too; but what differs
    /// there is merely unknown, for it may be another server on the same machine.
    pub fn judge(&self, name: &HostId, key: &PublicKey) -> KeyVerdict {
        if let Some(place) = self.revocation(name, key) {
            return KeyVerdict::Revoked { place };
        }
        let verdict = self.judge_plain(&name.lookup, key);
        match (&verdict, &name.without_port) {
            (KeyVerdict::Unknown, Some(bare)) => match self.judge_plain(bare, key) {
                known @ KeyVerdict::Known { .. } => known,
                _ => verdict,
            },
            _ => verdict,
        }
    }

    /// Returns the key types known for a host, in the order of the files: offer them first, so that
    /// the host shows the key that is known.
    ///
    /// RSA comes without a hash: it stands for `rsa-sha2-512` and `rsa-sha2-256`.
    pub fn known_algorithms(&self, name: &HostId) -> Vec<Algorithm> {
        let mut algorithms = Vec::new();
        for lookup in name.lookups() {
            for (entry, _) in self.covering(lookup).filter(|(entry, _)| entry.marker == Marker::Host) {
                let algorithm = entry.key.algorithm();
                if !algorithms.contains(&algorithm) && self.revocation(name, &entry.key).is_none() {
                    algorithms.push(algorithm);
                }
            }
            if !algorithms.is_empty() {
                break;
            }
        }
        algorithms
    }

    fn absorb(&mut self, file: &Path, bytes: &[u8]) {
        let file: Arc<Path> = file.into();
        let mut skipped = 0_usize;
        for (index, bytes) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let place = Place { file: Arc::clone(&file), line: index + 1 };
            match line::parse(bytes) {
                Ok(None) => {}
                Ok(Some(entry)) => self.insert(entry, place),
                Err(message) if self.warnings.len() < WARNINGS_KEPT => {
                    self.warnings.push(Warning { place, message: message.to_owned() });
                }
                Err(_) => skipped += 1,
            }
        }
        if skipped > 0 {
            let message = format!("{skipped} more lines were skipped");
            self.warnings.push(Warning { place: Place { file, line: 1 }, message });
        }
    }

    fn insert(&mut self, entry: Entry, place: Place) {
        let index = self.entries.len();
        match &entry.names {
            Names::Plain(names) => {
                for name in names {
                    let lines = self.plain.entry(name.clone()).or_default();
                    if lines.last() != Some(&index) {
                        lines.push(index);
                    }
                }
            }
            Names::Patterns(_) | Names::Hashed { .. } => self.tried.push(index),
        }
        self.entries.push((entry, place));
    }

    /// Returns the lines for a name, in order.
    fn covering(&self, lookup: &str) -> impl Iterator<Item = &(Entry, Place)> {
        let mut found = self.plain.get(lookup).cloned().unwrap_or_default();
        found.extend(self.tried.iter().filter(|&&index| self.entries[index].0.names.cover(lookup)));
        found.sort_unstable();
        found.into_iter().map(|index| &self.entries[index])
    }

    /// Returns the place that revokes a key for a host, with its port or without.
    fn revocation(&self, name: &HostId, key: &PublicKey) -> Option<String> {
        name.lookups().find_map(|lookup| {
            self.covering(lookup)
                .find(|(entry, _)| entry.marker == Marker::Revoked && is_same(&entry.key, key))
                .map(|(_, place)| place.to_string())
        })
    }

    fn judge_plain(&self, lookup: &str, key: &PublicKey) -> KeyVerdict {
        let mut other: Option<&(Entry, Place)> = None;
        for known in self.covering(lookup).filter(|(entry, _)| entry.marker == Marker::Host) {
            if is_same(&known.0.key, key) {
                return KeyVerdict::Known { place: known.1.to_string() };
            }
            // The line of the same type is the one to look at; without any, the first.
            let same_type = |(entry, _): &(Entry, Place)| entry.key.algorithm() == key.algorithm();
            if other.is_none_or(|other| !same_type(other) && same_type(known)) {
                other = Some(known);
            }
        }
        match other {
            Some((entry, place)) => KeyVerdict::Changed { known: fingerprint(&entry.key), place: place.to_string() },
            None => KeyVerdict::Unknown,
        }
    }
}

/// What a host is looked up as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostId {
    /// As it stands in a file: `host`, or `[host]:port` on another port than 22. Lower case.
    lookup: String,
    /// The name alone, where `lookup` has a port.
    without_port: Option<String>,
}

impl HostId {
    /// A host by the name that is connected to.
    pub fn new(host: &str, port: u16) -> Self {
        let host = host.to_ascii_lowercase();
        if port == DEFAULT_PORT {
            Self { lookup: host, without_port: None }
        } else {
            Self { lookup: format!("[{host}]:{port}"), without_port: Some(host) }
        }
    }

    /// A host by its `HostKeyAlias`, which stands as it is, whatever the port.
    pub fn alias(alias: &str) -> Self {
        Self { lookup: alias.to_ascii_lowercase(), without_port: None }
    }

    /// The name that a certificate has to be for.
    fn principal(&self) -> &str {
        self.without_port.as_deref().unwrap_or(&self.lookup)
    }

    fn lookups(&self) -> impl Iterator<Item = &str> {
        [Some(self.lookup.as_str()), self.without_port.as_deref()].into_iter().flatten()
    }
}

/// As it stands in a `known_hosts` file.
impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lookup)
    }
}

/// What is known of a key. A `place` reads `file:line`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyVerdict {
    /// It is the host's key, or the host's certificate holds.
    Known { place: String },
    /// Nothing is known of the host.
    Unknown,
    /// The host is known by another key, of the same type or of another.
    Changed { known: String, place: String },
    /// It must not be accepted, whatever else is said of it.
    Revoked { place: String },
}

/// A line that was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub place: Place,
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<Path>,
    /// From 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Why known hosts could not be read. Going on without them could accept a revoked key.
#[derive(Debug, thiserror::Error)]
pub enum KnownHostsError {
    #[error("cannot read the known hosts in {}", file.display())]
    Read {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the known hosts in {} are larger than {limit} bytes", file.display())]
    TooLarge { file: PathBuf, limit: u64 },
}

/// Returns a key's fingerprint as OpenSSH writes it: `SHA256:...`.
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Compares the keys alone: a comment is no part of a key.
fn is_same(one: &PublicKey, other: &PublicKey) -> bool {
    one.key_data() == other.key_data()
}

fn read(file: &Path, limit: u64) -> Result<Option<Vec<u8>>, KnownHostsError> {
    let failed = |source| KnownHostsError::Read { file: file.to_owned(), source };
    // Asked before opening, which would wait for ever on a pipe. Devices are for `/dev/null`.
    let kind = match fs::metadata(file) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if kind.is_fifo() || kind.is_socket() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
    }
    let opened = fs::File::open(file).map_err(failed)?;
    let mut bytes = Vec::new();
    opened.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(KnownHostsError::TooLarge { file: file.to_owned(), limit });
    }
    Ok(Some(bytes))
}
