//! Files of the project that steps carry to hosts.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{Problem, StepError};

/// Largest text read into a plan: scripts and templates.
const TEXT: u64 = 1 << 20;

/// Says what is wrong with the path of a template or script. These are not templates themselves: the file is read
/// before rendering, so that its own templates can be checked.
pub(super) fn problem(key: &str, path: &str) -> Option<Problem> {
    if path.trim().is_empty() {
        return Some(Problem::new(key, "the path is empty"));
    }
    path.contains("{{").then(|| {
        Problem::new(key, "the path of a local file is not a template")
            .hint("make what differs between hosts a variable inside the file, or use `when` on two steps")
    })
}

/// Returns the path of a local file named in a document of the folder `base`, or below the home folder.
pub(super) fn locate(base: &Path, path: &str) -> PathBuf {
    base.join(at_home(path))
}

/// Returns a path on the controller, with `~/` as the home folder there.
#[expect(clippy::disallowed_methods, reason = "`~` in a step that works on the controller means its user's home")]
pub(super) fn at_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// Reads a text file: UTF-8, without NUL, bounded.
pub(super) fn read_text(base: &Path, path: &str) -> Result<String, StepError> {
    let (bytes, size) = read_up_to(base, path, TEXT)?;
    if size > TEXT {
        return Err(StepError::Refused(format!("`{path}` is too large for a text: {size} bytes, at most {TEXT}")));
    }
    match String::from_utf8(bytes) {
        Ok(text) if crate::model::Redactor::mentions_secret(&text) => {
            Err(StepError::Refused(format!("`{path}` contains U+F8FF, which longshore reserves")))
        }
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(StepError::Refused(format!("`{path}` is not a text in UTF-8"))),
    }
}

/// Reads a file's first `limit` bytes and says how large it is.
pub(super) fn read_up_to(base: &Path, path: &str, limit: u64) -> Result<(Vec<u8>, u64), StepError> {
    let wrap = |source| StepError::LocalFile { path: locate(base, path).display().to_string(), source };
    let file = fs::File::open(locate(base, path)).map_err(wrap)?;
    let about = file.metadata().map_err(wrap)?;
    if !about.is_file() {
        return Err(StepError::Refused(format!("`{path}` is not a file")));
    }
    let mut bytes = Vec::new();
    let read = file.take(limit).read_to_end(&mut bytes).map_err(wrap)?;
    Ok((bytes, about.len().max(read as u64)))
}

/// Returns the size of a file and the digest of its content, in lower-case hex.
pub(super) fn digest(path: &Path) -> Result<(u64, String), StepError> {
    let wrap = |source| StepError::LocalFile { path: path.display().to_string(), source };
    let mut file = fs::File::open(path).map_err(wrap)?;
    let mut digest = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(wrap)?;
        if read == 0 {
            return Ok((size, hex(&digest.finalize())));
        }
        digest.update(&buffer[..read]);
        size += read as u64;
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
