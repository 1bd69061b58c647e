//! The lab's directory: private, locked while the lab runs, and gone afterwards.
//!
//! A lab that was killed outright cannot tidy up. Its lock is free then, so the next lab ends what it
//! left running and removes what it left lying.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::{LabError, processes::Processes};

/// Names of the temporary directories begin so.
const PREFIX: &str = "longshore-lab-";
const LOCK: &str = "lab.lock";

/// Everything the lab itself puts into its directory.
const OWN: [&str; 6] = ["hosts", "keys", "tools", "known_hosts", super::control::FILE, LOCK];

/// A lab's directory. Removed on drop.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    /// Whether the directory itself is the lab's, or only what is in it.
    is_own: bool,
    /// Held while the lab runs.
    _lock: File,
}

impl Root {
    /// Makes the directory, or takes over that of a lab which has died. `mark` goes into the lock file.
    pub(super) fn create(wanted: Option<&Path>, mark: &str) -> Result<Self, LabError> {
        let (path, is_own) = match wanted {
            None => {
                #[expect(clippy::disallowed_methods, reason = "a lab without a place of its own is temporary")]
                let temporary = std::env::temp_dir();
                let temporary =
                    fs::canonicalize(&temporary).map_err(|source| LabError::Directory { path: temporary, source })?;
                sweep(&temporary);
                let path = temporary.join(format!("{PREFIX}{mark}"));
                make(&path)?;
                (path, true)
            }
            Some(path) => {
                let is_new = !path.exists();
                if is_new {
                    DirBuilder::new()
                        .recursive(true)
                        .mode(0o700)
                        .create(path)
                        .map_err(|source| LabError::Directory { path: path.to_owned(), source })?;
                }
                let path =
                    fs::canonicalize(path).map_err(|source| LabError::Directory { path: path.to_owned(), source })?;
                (path, is_new)
            }
        };
        let in_use = || LabError::InUse { path: path.clone() };
        let wrong = |source| LabError::Directory { path: path.clone(), source };
        if !is_own {
            match take_over(&path) {
                Ok(Some(_)) => clear(&path).map_err(wrong)?,
                Ok(None) => return Err(in_use()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Never mix with, and later remove, what somebody else keeps there.
                    if OWN.iter().any(|name| path.join(name).symlink_metadata().is_ok()) {
                        return Err(LabError::NotEmpty { path });
                    }
                }
                Err(source) => return Err(wrong(source)),
            }
        }
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(wrong)?;
        lock.try_lock().map_err(|_| in_use())?;
        // Written under the lock: an empty lock file belongs to a lab that is just starting.
        lock.set_len(0).and_then(|()| lock.write_all(mark.as_bytes())).map_err(wrong)?;
        Ok(Self { path, is_own, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory, or what the lab has put into it.
    pub(super) fn remove(&self) -> io::Result<()> {
        if self.is_own { remove_tree(&self.path) } else { clear(&self.path) }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // Nothing more can be done here than to try; `Fleet::stop` reports.
        let _ = self.remove();
    }
}

/// Makes a private directory which must not be there yet.
pub(super) fn make(path: &Path) -> Result<(), LabError> {
    DirBuilder::new().mode(0o700).create(path).map_err(|source| LabError::Directory { path: path.to_owned(), source })
}

/// Takes the lock of a lab that has died and ends its processes. `None`: it lives, or is starting.
fn take_over(path: &Path) -> io::Result<Option<File>> {
    let mut lock = OpenOptions::new().read(true).write(true).open(path.join(LOCK))?;
    if lock.try_lock().is_err() {
        return Ok(None);
    }
    let mut mark = String::new();
    lock.read_to_string(&mut mark)?;
    if mark.is_empty() {
        return Ok(None);
    }
    Processes::new(mark).kill_all();
    Ok(Some(lock))
}

/// Removes what labs that were killed left in the temporary directory. What fails is left for the next.
fn sweep(temporary: &Path) {
    let Ok(entries) = fs::read_dir(temporary) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let is_ours = fs::symlink_metadata(&path)
            .is_ok_and(|found| found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw());
        if is_ours && matches!(take_over(&path), Ok(Some(_))) {
            let _ = remove_tree(&path);
        }
    }
}

fn clear(path: &Path) -> io::Result<()> {
    for name in OWN {
        let inside = path.join(name);
        match fs::symlink_metadata(&inside) {
            Ok(found) if found.is_dir() => remove_tree(&inside)?,
            Ok(_) => fs::remove_file(&inside)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes a tree, also where a program has taken the right to write from its directories.
fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn open_up(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
