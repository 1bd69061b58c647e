//! The tree as it is on the controller: which files it has, and those of them as an archive.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use regex::Regex;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::steps::{
    StepError,
    local_file::{digest, hex},
};

/// Where the host keeps which files came with the last tree.
pub(super) const KNOWN: &str = ".longshore-tree";

/// One file of a tree, or one symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Below the tree, with `/` between folders.
    pub path: String,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    File { executable: bool, size: u64, sha256: String },
    Link { to: String },
}

impl Entry {
    /// Bytes of its content.
    pub fn size(&self) -> u64 {
        match self.what {
            What::File { size, .. } => size,
            What::Link { .. } => 0,
        }
    }

    /// The line that stands for it in lists: `f`, `x` or `l`, its digest or where it leads, its path.
    pub fn line(&self) -> String {
        match &self.what {
            What::File { executable, sha256, .. } => {
                format!("{}\t{sha256}\t{}\n", if *executable { "x" } else { "f" }, self.path)
            }
            What::Link { to } => format!("l\t{to}\t{}\n", self.path),
        }
    }
}

/// All files of a tree, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest(pub Vec<Entry>);

impl Manifest {
    /// Walks the folder, passing over what is excluded, and digests every file.
    pub fn read(root: &Path, exclude: &[String]) -> Result<Self, StepError> {
        let excluded = exclude.iter().map(|pattern| glob(pattern)).collect::<Result<Vec<_>, _>>()?;
        let mut entries = Vec::new();
        walk(root, "", &excluded, &mut entries)?;
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self(entries))
    }

    /// The digest of everything: paths, contents, whether they run.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        self.0.iter().for_each(|entry| digest.update(entry.line()));
        hex(&digest.finalize())
    }

    pub fn lines(&self) -> String {
        self.0.iter().map(Entry::line).collect()
    }
}

fn walk(root: &Path, below: &str, excluded: &[Regex], into: &mut Vec<Entry>) -> Result<(), StepError> {
    let folder = root.join(below);
    let wrap = |path: &Path| {
        let path = path.display().to_string();
        move |source| StepError::LocalFile { path, source }
    };
    for found in fs::read_dir(&folder).map_err(wrap(&folder))? {
        let found = found.map_err(wrap(&folder))?;
        let Some(name) = found.file_name().to_str().map(str::to_owned).filter(|name| is_plain(name)) else {
            let name = found.path().display().to_string().escape_debug().to_string();
            return Err(StepError::Refused(format!(
                "`{name}` cannot be sent: its name is not UTF-8, or has a backslash or a control character"
            )));
        };
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if path == KNOWN || excluded.iter().any(|pattern| pattern.is_match(&path)) {
            continue;
        }
        let local = root.join(&path);
        let about = fs::symlink_metadata(&local).map_err(wrap(&local))?;
        let what = if about.is_dir() {
            walk(root, &path, excluded, into)?;
            continue;
        } else if about.is_symlink() {
            let to = fs::read_link(&local).map_err(wrap(&local))?;
            match to.to_str().filter(|to| is_plain(to)) {
                Some(to) => What::Link { to: to.to_owned() },
                None => {
                    return Err(StepError::Refused(format!("the link `{path}` leads to a name that cannot be sent")));
                }
            }
        } else if about.is_file() {
            let (size, sha256) = digest(&local)?;
            What::File { executable: about.permissions().mode() & 0o111 != 0, size, sha256 }
        } else {
            return Err(StepError::Refused(format!("`{path}` is neither a file nor a folder nor a link")));
        };
        into.push(Entry { path, what });
    }
    Ok(())
}

/// Whether lists of lines can hold a name, and `sha256sum` prints it as it is.
fn is_plain(name: &str) -> bool {
    !name.contains('\\') && !name.chars().any(char::is_control)
}

/// A pattern of paths: `*` is anything within a name, `**` across folders. Without a `/` before its end it is a name
/// anywhere in the tree, with one it begins at the top. What is in an excluded folder is excluded.
pub(super) fn glob(pattern: &str) -> Result<Regex, StepError> {
    let trimmed = pattern.trim_end_matches('/');
    let anchored = trimmed.contains('/');
    let mut text = if anchored { "^".to_owned() } else { "^(?:.*/)?".to_owned() };
    let mut rest = trimmed.trim_start_matches('/').chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => text.push_str(".*"),
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            c => text.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    text.push_str("(?:/.*)?$");
    Regex::new(&text).map_err(|_| StepError::Refused(format!("`{pattern}` is no pattern of paths")))
}

/// Writes the entries as an archive in the format of GNU tar, which every tar reads. `sent` is told the bytes of content so far.
pub(super) async fn archive(
    root: &Path,
    entries: &[Entry],
    into: &mut (impl AsyncWrite + Unpin),
    mut sent: impl FnMut(u64),
) -> io::Result<()> {
    let mut done = 0;
    let mut buffer = vec![0; 64 * 1024];
    for entry in entries {
        let local = root.join(&entry.path);
        match &entry.what {
            What::Link { to } => into.write_all(&headers(&entry.path, to, b'2', 0, 0o777, 0)?).await?,
            What::File { executable, size, .. } => {
                let mut file = tokio::fs::File::open(&local).await?;
                let changed = file.metadata().await?.mtime();
                let mode = if *executable { 0o755 } else { 0o644 };
                into.write_all(&headers(&entry.path, "", b'0', *size, mode, changed)?).await?;
                let mut left = *size;
                while left > 0 {
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    let read = file.read(&mut buffer[..most]).await?;
                    if read == 0 {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
                    }
                    into.write_all(&buffer[..read]).await?;
                    left -= read as u64;
                    done += read as u64;
                    sent(done);
                }
                let over = usize::try_from(*size % 512).expect("less than 512");
                into.write_all(&[0; 512][..(512 - over) % 512]).await?;
            }
        }
    }
    into.write_all(&[0; 1024]).await?;
    into.shutdown().await
}

/// The header of one entry, with entries for its names before it where they are too long for it.
fn headers(path: &str, link: &str, kind: u8, size: u64, mode: u32, changed: i64) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    for (name, long) in [(link, b'K'), (path, b'L')] {
        if name.len() > 100 {
            all.extend(header("././@LongLink", "", long, name.len() as u64 + 1, 0o644, 0)?);
            all.extend(name.as_bytes());
            // With a zero at its end.
            all.push(0);
            all.resize(all.len().next_multiple_of(512), 0);
        }
    }
    all.extend(header(path, link, kind, size, mode, changed)?);
    Ok(all)
}

fn header(path: &str, link: &str, kind: u8, size: u64, mode: u32, changed: i64) -> io::Result<[u8; 512]> {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &path.as_bytes()[..path.len().min(100)]);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    let size = format!("{size:011o}");
    if size.len() > 11 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a file of a tree may have 8 GiB"));
    }
    put(124, size.as_bytes());
    put(136, format!("{:011o}", changed.clamp(0, 0o777_7777_7777)).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(157, &link.as_bytes()[..link.len().min(100)]);
    put(257, b"ustar  ");
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    Ok(block)
}
