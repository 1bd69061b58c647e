//! The shop: a small product for lab hosts to run, so that upgrades and health checks are real.
//!
//! What a person or a step does with it are files and `sh` commands; only its HTTP answers come from the
//! lab itself, on the host's `localhost:8080` as seen through SSH. In a host's directory:
//!
//! - `store/shop-1.5.0/`, `store/shop-1.5.0.cksum`: builds that can be installed, with what `cksum` says of them;
//! - `srv/releases/1.4.2/`, `srv/current`: installed releases, and a link to the one to start;
//! - `srv/shopctl start|stop|status`: starts and stops. `srv/running` names the release that was started, so
//!   that switching the link alone changes nothing, as with a real process;
//! - `srv/.env`: its settings.
//!
//! `GET /health` answers 200 with the running release's version, or 503 with the reason that the release's
//! file `BROKEN` gives. Where it was not started, connections are refused.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Error, ErrorKind},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The port of a host's shop, as the host sees it.
pub const PORT: u16 = 8080;

/// Longest request that is read, in bytes.
const MAX_REQUEST: usize = 16 * 1024;

const CONTROL: &str = include_str!("demo/shopctl.sh");
const SETTINGS: &str = "# Settings of the shop.\nSHOP_LISTEN=127.0.0.1:8080\nSHOP_CURRENCY=EUR\n";

/// A build of the shop that a host can install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    pub version: String,
    /// Why the build is not healthy once started, if it is not.
    pub broken: Option<String>,
}

impl Build {
    pub fn good(version: impl Into<String>) -> Self {
        Self { version: version.into(), broken: None }
    }

    pub fn broken(version: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { version: version.into(), broken: Some(reason.into()) }
    }
}

/// Installs and starts the shop in a host's directory, and puts `builds` into its store.
pub fn seed(home: &Path, installed: &Build, builds: &[Build]) -> io::Result<()> {
    let srv = home.join("srv");
    let store = home.join("store");
    fs::create_dir_all(srv.join("releases"))?;
    fs::create_dir_all(&store)?;
    for build in [installed].into_iter().chain(builds) {
        let sums = write_build(&store.join(format!("shop-{}", build.version)), build)?;
        fs::write(store.join(format!("shop-{}.cksum", build.version)), sums)?;
    }
    write_build(&srv.join("releases").join(&installed.version), installed)?;
    let release = format!("releases/{}", installed.version);
    symlink(&release, srv.join("current"))?;
    fs::write(srv.join("running"), format!("{release}\n"))?;
    fs::write(srv.join("shopctl"), CONTROL)?;
    fs::set_permissions(srv.join("shopctl"), fs::Permissions::from_mode(0o755))?;
    fs::write(srv.join(".env"), SETTINGS)?;
    fs::set_permissions(srv.join(".env"), fs::Permissions::from_mode(0o600))
}

/// Writes a build's files; returns what `cksum *` prints in its directory.
fn write_build(path: &Path, build: &Build) -> io::Result<String> {
    fs::create_dir_all(path)?;
    let mut files = vec![
        ("PROGRAM", format!("#!/bin/sh\necho 'the shop {}'\n", build.version)),
        ("VERSION", format!("{}\n", build.version)),
    ];
    // In the order in which every locale sorts the names, as `cksum *` does.
    if let Some(reason) = &build.broken {
        files.insert(0, ("BROKEN", format!("{reason}\n")));
    }
    let mut sums = String::new();
    for (name, text) in files {
        fs::write(path.join(name), &text)?;
        writeln!(sums, "{} {} {name}", cksum(text.as_bytes()), text.len()).expect("writing to a text succeeds");
    }
    Ok(sums)
}

/// The checksum of POSIX's `cksum`: a CRC over the bytes and then over their number.
fn cksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: u8| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 })
    };
    let mut crc = bytes.iter().fold(0, |crc, byte| step(crc, *byte));
    let mut length = bytes.len();
    while length > 0 {
        crc = step(crc, u8::try_from(length & 0xff).expect("masked to a byte"));
        length >>= 8;
    }
    !crc
}

/// Whether the shop of a host was started.
pub(super) fn is_running(home: &Path) -> bool {
    home.join("srv/running").exists()
}

/// Answers one request on a connection, and closes it.
pub(super) async fn serve(home: &Path, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > MAX_REQUEST || stream.read_buf(&mut head).await? == 0 {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = match (method, path.split('?').next()) {
        ("GET" | "HEAD", Some("/health")) => health(home),
        ("GET" | "HEAD", Some("/")) => ("200 OK", json!({ "product": "shop" })),
        ("GET" | "HEAD", _) => ("404 Not Found", json!({ "status": "error", "reason": "no such page" })),
        _ => ("405 Method Not Allowed", json!({ "status": "error", "reason": "only GET and HEAD" })),
    };
    let body = format!("{body}\n");
    let mut answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    if method != "HEAD" {
        answer.push_str(&body);
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn health(home: &Path) -> (&'static str, serde_json::Value) {
    let failed = |reason: String| ("503 Service Unavailable", json!({ "status": "error", "reason": reason }));
    let release = match running_release(home) {
        Ok(release) => release,
        Err(error) => return failed(format!("the release cannot be read: {error}")),
    };
    match (fs::read_to_string(release.join("VERSION")), fs::read_to_string(release.join("BROKEN"))) {
        (Ok(version), Ok(reason)) => {
            let (version, reason) = (version.trim(), reason.trim());
            ("503 Service Unavailable", json!({ "status": "error", "version": version, "reason": reason }))
        }
        (Ok(version), Err(_)) => ("200 OK", json!({ "status": "ok", "version": version.trim() })),
        (Err(error), _) => failed(format!("the release has no version: {error}")),
    }
}

/// The directory of the release that was started: a name inside `srv`, never a way out of it.
fn running_release(home: &Path) -> io::Result<PathBuf> {
    let name = fs::read_to_string(home.join("srv/running"))?;
    let srv = fs::canonicalize(home.join("srv"))?;
    let name = if name.trim().is_empty() { "current" } else { name.trim() };
    let release = fs::canonicalize(srv.join(name))?;
    if !release.starts_with(&srv) {
        return Err(Error::new(ErrorKind::PermissionDenied, "outside of `srv`"));
    }
    Ok(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(home: &Path, request: &str) -> String {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let (answered, read) = tokio::join!(serve(home, server), client.read_to_string(&mut answer));
        answered.unwrap();
        read.unwrap();
        answer
    }

    #[test]
    fn the_checksum_is_that_of_posix() {
        // As printed by `printf 123456789 | cksum` and `cksum < /dev/null`.
        assert_eq!(cksum(b"123456789"), 930_766_865);
        assert_eq!(cksum(b""), 4_294_967_295);
    }

    #[tokio::test]
    async fn health_is_that_of_the_release_that_was_started() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        seed(home, &Build::good("1.4.2"), &[Build::broken("1.5.0", "no database")]).unwrap();
        let answer = ask(home, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("{\"status\":\"ok\",\"version\":\"1.4.2\"}\n"), "{answer}");

        fs::rename(home.join("store/shop-1.5.0"), home.join("srv/releases/1.5.0")).unwrap();
        fs::remove_file(home.join("srv/current")).unwrap();
        symlink("releases/1.5.0", home.join("srv/current")).unwrap();
        assert!(ask(home, "GET /health HTTP/1.1\r\n\r\n").await.contains("1.4.2"), "the link alone changes nothing");

        fs::write(home.join("srv/running"), "releases/1.5.0\n").unwrap();
        let answer = ask(home, "GET /health HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("no database"), "{answer}");
        assert!(ask(home, "GET /other HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        assert!(!ask(home, "HEAD /health HTTP/1.1\r\n\r\n").await.contains("status\""));

        fs::write(home.join("srv/running"), "../../..\n").unwrap();
        assert!(ask(home, "GET /health HTTP/1.1\r\n\r\n").await.contains("cannot be read"));
    }
}
