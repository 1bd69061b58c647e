//! The private folder of a project: mode 0700, files 0600, whatever the umask says; no links, no
//! strangers. What is ours and too open is closed again.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::LedgerError;

/// Makes the project's private folder, or checks the one that is there.
pub(super) fn prepare(folder: &Path) -> Result<(), LedgerError> {
    private_folder(folder)?;
    refuse_network(folder)?;
    let ignore = folder.join(".gitignore");
    if !ignore.exists() {
        // A ledger in a repository would be neither private nor whole.
        let mut file = private_file(&ignore)?;
        std::io::Write::write_all(&mut file, b"*\n").map_err(|source| LedgerError::io(&ignore, source))?;
    }
    Ok(())
}

/// Makes the database's file, so that `SQLite` never chooses its mode, and checks those beside it.
///
/// Returns whether the last process that used it did not close it in good order.
pub(super) fn prepare_database(path: &Path) -> Result<bool, LedgerError> {
    let new = !path.exists();
    drop(private_file(path)?);
    let mut left_behind = false;
    for end in ["-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(end);
        let beside = PathBuf::from(beside);
        if fs::symlink_metadata(&beside).is_ok() {
            left_behind = true;
            drop(private_file(&beside)?);
        }
    }
    if let (true, Some(folder)) = (new, path.parent()) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| LedgerError::io(folder, source))?;
    }
    Ok(left_behind)
}

/// Makes a folder of mode 0700, or checks the one that is there.
pub(super) fn private_folder(path: &Path) -> Result<(), LedgerError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(source) => return Err(LedgerError::io(path, source)),
    }
    check(path, 0o700, "folder", fs::FileType::is_dir)
}

/// Opens a file of mode 0600 for reading and writing, made if need be; never through a link.
pub(super) fn private_file(path: &Path) -> Result<File, LedgerError> {
    if fs::symlink_metadata(path).is_ok() {
        check(path, 0o600, "file", fs::FileType::is_file)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
        .open(path)
        .map_err(|source| LedgerError::io(path, source))?;
    // The umask may have taken bits that we need.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(|source| LedgerError::io(path, source))?;
    Ok(file)
}

fn check(
    path: &Path,
    mode: u32,
    expected: &'static str,
    is_expected: fn(&fs::FileType) -> bool,
) -> Result<(), LedgerError> {
    let found = fs::symlink_metadata(path).map_err(|source| LedgerError::io(path, source))?;
    if found.file_type().is_symlink() {
        return Err(LedgerError::Symlink(path.to_owned()));
    }
    if !is_expected(&found.file_type()) {
        return Err(LedgerError::Kind { path: path.to_owned(), expected });
    }
    let user = nix::unistd::geteuid().as_raw();
    if found.uid() != user {
        return Err(LedgerError::Foreign { path: path.to_owned(), owner: found.uid(), user });
    }
    if found.mode() & 0o777 != mode {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|source| LedgerError::io(path, source))?;
    }
    Ok(())
}

/// Refuses file systems on which the memory that the processes of `SQLite` share is not shared.
#[cfg(target_os = "linux")]
fn refuse_network(folder: &Path) -> Result<(), LedgerError> {
    use nix::sys::statfs::{self, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC};
    const CIFS: i64 = 0xff53_4d42;
    const SMB2: i64 = 0xfe53_4d42;
    let Ok(found) = statfs::statfs(folder) else { return Ok(()) };
    let kind = found.filesystem_type();
    #[allow(clippy::unnecessary_cast, reason = "the width differs between platforms")]
    let number = kind.0 as i64 & 0xffff_ffff;
    let name = match number {
        CIFS | SMB2 => "SMB",
        _ if kind == NFS_SUPER_MAGIC => "NFS",
        _ if kind == SMB_SUPER_MAGIC => "SMB",
        _ => return Ok(()),
    };
    Err(LedgerError::Network { path: folder.to_owned(), kind: name })
}

#[cfg(not(target_os = "linux"))]
fn refuse_network(_: &Path) -> Result<(), LedgerError> {
    Ok(())
}
