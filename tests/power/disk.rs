//! Disks that can be cut off: an image on an XFS that clones files in one instant.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// Where the images lie.
pub struct Shelf {
    dir: TempDir,
    clones: std::cell::Cell<u32>,
}

/// A mounted image.
pub struct Disk {
    pub root: PathBuf,
}

/// Why this machine cannot do it.
pub fn able() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("not root".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Err("no loop devices".to_owned());
    }
    for tool in ["mkfs.xfs", "mkfs.ext4", "mount", "unshare"] {
        let found = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].iter().any(|at| Path::new(at).join(tool).exists());
        if !found {
            return Err(format!("no `{tool}`"));
        }
    }
    let mounts = "d=$(mktemp -d) && truncate -s 320M $d/i && mkfs.xfs -q -m reflink=1 $d/i && mkdir $d/m && \
                  mount -o loop $d/i $d/m; s=$?; umount $d/m 2>/dev/null; rm -rf $d; exit $s";
    let tried = Command::new("unshare").args(["--mount", "sh", "-c", mounts]).output().map_err(|e| e.to_string())?;
    if tried.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&tried.stderr).trim().to_owned()) }
}

fn run(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
    let output = output.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

impl Shelf {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("longshore-power-").tempdir().expect("a folder");
        let (image, at) = (dir.path().join("shelf.img"), dir.path().join("shelf"));
        std::fs::create_dir(&at).expect("a folder");
        run(&["truncate", "-s", "600M", text(&image)]);
        run(&["mkfs.xfs", "-q", "-m", "reflink=1", text(&image)]);
        run(&["mount", "-o", "loop", text(&image), text(&at)]);
        Self { dir, clones: std::cell::Cell::new(0) }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new disk, empty.
    pub fn disk(&self) -> Disk {
        let image = self.place("shelf/disk.img");
        run(&["truncate", "-s", "48M", text(&image)]);
        run(&["mkfs.ext4", "-q", "-F", text(&image)]);
        self.mounted(&image, "disk")
    }

    /// What is on the disk in this very moment, as a machine finds it that starts again.
    pub fn cut(&self) -> Disk {
        self.clones.set(self.clones.get() + 1);
        let clone = self.place("shelf/clone.img");
        run(&["cp", "--reflink=always", text(&self.place("shelf/disk.img")), text(&clone)]);
        self.mounted(&clone, "clone")
    }

    fn mounted(&self, image: &Path, name: &str) -> Disk {
        let root = self.place(name);
        let _ = std::fs::create_dir(&root);
        run(&["mount", "-o", "loop,noatime", text(image), text(&root)]);
        Disk { root }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(&["umount", text(&self.root)]);
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.place("shelf")).status();
    }
}
