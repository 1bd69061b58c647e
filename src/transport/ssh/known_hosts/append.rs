//! Writes a key that a person has trusted to a `known_hosts` file.

use std::{
    fs, io,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use russh::keys::PublicKey;

use super::{HostId, KeyVerdict, KnownHosts, SIZE_LIMIT};

/// Characters that mean something in a file, so that no host may have them in its name. The brackets
/// and the colon of `[host]:port` are ours.
const SPECIAL: &[char] = &['@', '?', '*', '!', '#', '[', ']', '|', ',', '\'', '"', '\\'];

/// Appends a host's key. Does nothing when the file knows it already.
///
/// The file is made private, and so is its folder, if they do not exist. Callers in other processes
/// wait for each other, so that no line is torn or doubled.
pub fn add(file: &Path, host: &HostId, key: &PublicKey, comment: &str) -> io::Result<()> {
    let name = host.principal();
    if name.is_empty() || name.contains(SPECIAL) || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let message = format!("`{}` cannot stand in a known_hosts file", name.escape_debug());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut opened = fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file)?;
    opened.lock()?;

    let mut present = Vec::new();
    (&opened).take(SIZE_LIMIT + 1).read_to_end(&mut present)?;
    if present.len() as u64 > SIZE_LIMIT {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    let mut known = KnownHosts::default();
    known.absorb(file, &present);
    if matches!(known.judge(host, key), KeyVerdict::Known { .. }) {
        return Ok(());
    }

    let mut bare = key.clone();
    bare.set_comment("");
    let key = bare.to_openssh().map_err(io::Error::other)?;
    let comment: String = comment.chars().filter(|c| !c.is_control()).collect();
    let mut line = String::new();
    if present.last().is_some_and(|&byte| byte != b'\n') {
        line.push('\n');
    }
    line.push_str(format!("{host} {key} {comment}").trim_end());
    line.push('\n');
    // One write: whoever reads meanwhile sees the whole line or none of it.
    opened.seek(SeekFrom::End(0))?;
    opened.write_all(line.as_bytes())?;
    opened.sync_all()
}
