//! One line of a `known_hosts` file: a marker, the names it is for, and a key.
//!
//! Lines come from anywhere, so nothing here trusts them: a bad line is an error with a reason, never
//! a panic.

use hmac::{Hmac, KeyInit, Mac};
use russh::keys::{
    PublicKey,
    ssh_encoding::base64::{Base64, Encoding},
};
use sha1::Sha1;

use crate::transport::ssh::pattern;

/// Key types that may stand in a line. Certificates may not: their decoder follows nested certificates
/// without a limit, so that a crafted line would end the process.
const KEY_TYPES: [&str; 8] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "ssh-dss",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Length of a salt and of a hash, both of SHA-1's size.
const HASH_LENGTH: usize = 20;

/// A line that says something.
#[derive(Debug, Clone)]
pub struct Entry {
    pub marker: Marker,
    pub names: Names,
    pub key: PublicKey,
}

/// What the line says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// It is the host's.
    Host,
    /// It signs certificates of the hosts.
    Authority,
    /// It must not be accepted for the hosts any more.
    Revoked,
}

/// The names a line is for.
#[derive(Debug, Clone)]
pub enum Names {
    /// Lower case, without wildcards: can be looked up instead of tried.
    Plain(Vec<String>),
    /// A list with wildcards or negations, lower case.
    Patterns(String),
    /// `HMAC-SHA1(salt, name)`.
    Hashed { salt: [u8; HASH_LENGTH], hash: [u8; HASH_LENGTH] },
}

impl Names {
    /// Says whether `name`, lower case already, is one of them.
    pub fn cover(&self, name: &str) -> bool {
        match self {
            Self::Plain(names) => names.iter().any(|known| known == name),
            Self::Patterns(list) => pattern::list_matches(name, list),
            Self::Hashed { salt, hash } => hash_name(salt, name) == *hash,
        }
    }
}

/// Returns the hash that stands for a name in a hashed line.
pub fn hash_name(salt: &[u8], name: &str) -> [u8; HASH_LENGTH] {
    let mut mac = Hmac::<Sha1>::new_from_slice(salt).expect("HMAC takes a key of any length");
    mac.update(name.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Reads a line. `None` for a comment or an empty line, an error with the reason for one that is neither.
pub fn parse(line: &[u8]) -> Result<Option<Entry>, &'static str> {
    if line.contains(&0) {
        return Err("the line holds a zero byte");
    }
    // What is not UTF-8 can only be in a comment or in a name that no host has.
    let line = String::from_utf8_lossy(line);
    let line = line.trim_matches([' ', '\t', '\r', '\n']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (marker, rest) = parse_marker(line)?;
    let (names, rest) = word(rest);
    let (kind, rest) = word(rest);
    if kind.is_empty() || kind.starts_with('#') {
        return Err("the line ends before the key");
    }
    let names = parse_names(names)?;
    let (blob, _comment) = word(rest);
    let key = parse_key(kind, blob)?;
    Ok(Some(Entry { marker, names, key }))
}

fn parse_marker(line: &str) -> Result<(Marker, &str), &'static str> {
    if !line.starts_with('@') {
        return Ok((Marker::Host, line));
    }
    let (text, rest) = word(line);
    let marker = match text {
        "@cert-authority" => Marker::Authority,
        "@revoked" => Marker::Revoked,
        _ => return Err("the marker is neither `@cert-authority` nor `@revoked`"),
    };
    if rest.starts_with('@') {
        return Err("only one marker is allowed on a line");
    }
    Ok((marker, rest))
}

fn parse_names(text: &str) -> Result<Names, &'static str> {
    if let Some(hashed) = text.strip_prefix('|') {
        return parse_hash(hashed).ok_or("the hashed name is malformed");
    }
    let text = text.to_ascii_lowercase();
    if text.contains(['*', '?', '!']) {
        return Ok(Names::Patterns(text));
    }
    Ok(Names::Plain(text.split(',').map(str::to_owned).collect()))
}

/// Reads `1|salt|hash`; the first bar is gone already.
fn parse_hash(text: &str) -> Option<Names> {
    let (salt, hash) = text.strip_prefix("1|")?.split_once('|')?;
    let decode = |text: &str| -> Option<[u8; HASH_LENGTH]> { Base64::decode_vec(text).ok()?.try_into().ok() };
    Some(Names::Hashed { salt: decode(salt)?, hash: decode(hash)? })
}

fn parse_key(kind: &str, blob: &str) -> Result<PublicKey, &'static str> {
    if !KEY_TYPES.contains(&kind) {
        return Err("the key type is not known");
    }
    let blob = Base64::decode_vec(blob).map_err(|_| "the key is not base64")?;
    // Checked before decoding: the decoder goes by the type inside.
    let inner = blob.get(..4).and_then(|length| {
        let length = u32::from_be_bytes(length.try_into().ok()?);
        blob.get(4..)?.get(..usize::try_from(length).ok()?)
    });
    if inner != Some(kind.as_bytes()) {
        return Err("the key is of another type than the line says");
    }
    PublicKey::from_bytes(&blob).map_err(|_| "the key is malformed")
}

/// Splits off the first word, and the white space after it.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_at(text.find([' ', '\t']).unwrap_or(text.len()));
    (word, rest.trim_start_matches([' ', '\t']))
}
