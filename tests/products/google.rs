//! A Google Cloud of the test's own: its REST API, and `gcloud` before it, the real one or a stand-in.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::sshd::skip;

/// Which `gcloud` speaks to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gcloud {
    Real,
    StandIn,
}

/// The services of Tessallite, in the order of its runbook.
pub const SERVICES: [&str; 6] = ["model-service", "query-router", "optimizer", "scheduler", "frontend", "gateway"];

/// The API with its state. Stops when dropped.
pub struct Google {
    folder: TempDir,
    server: Child,
    port: u16,
    gcloud: Gcloud,
}

impl Google {
    /// `None`, said aloud, where this machine lacks what it needs.
    pub fn up(gcloud: Gcloud, services: &[&str]) -> Option<Self> {
        for program in ["/usr/bin/python3", "jq", "curl"] {
            if found(program).is_none() {
                skip(&format!("there is no {program}"));
                return None;
            }
        }
        let real = found("gcloud");
        if gcloud == Gcloud::Real && real.is_none() {
            skip("there is no gcloud (google-cloud-cli): only the stand-in of it was asked");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("longshore-google-").tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for made in ["bin", "config", "home"] {
            fs::create_dir(path(made)).expect("made");
        }
        fs::write(path("token"), "token-of-the-test\n").expect("written");
        // Each call is written down, whoever answers it.
        let answers = match (gcloud, real) {
            (Gcloud::Real, Some(real)) => real,
            _ => stand_in("gcloud"),
        };
        let text =
            format!("#!/bin/sh\necho \"$*\" >>'{}'\nexec '{}' \"$@\"\n", path("calls").display(), answers.display());
        fs::write(path("bin/gcloud"), text).expect("written");
        let curl = found("curl").expect("it was there");
        let text =
            format!("#!/bin/sh\necho \"$*\" >>'{}'\nexec '{}' \"$@\"\n", path("asked").display(), curl.display());
        fs::write(path("bin/curl"), text).expect("written");
        let made =
            Command::new("chmod").arg("0755").args([path("bin/gcloud"), path("bin/curl")]).status().expect("it runs");
        assert!(made.success());
        let mut server = Command::new(stand_in("google.py"))
            .arg(path("state"))
            .args(services)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut port = String::new();
        BufReader::new(server.stdout.take().expect("piped")).read_line(&mut port).expect("it tells its port");
        Some(Self { folder, server, port: port.trim().parse().expect("a port"), gcloud })
    }

    /// What a process needs in its environment to reach this cloud and no other.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let local = format!("http://127.0.0.1:{}", self.port);
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let programs = std::env::var("PATH").unwrap_or_default();
        let mut all =
            vec![("PATH", format!("{}:/usr/bin:{programs}", path("bin"))), ("GOOGLE_STAND_IN", local.clone())];
        if self.gcloud == Gcloud::Real {
            all.extend([
                ("CLOUDSDK_CONFIG", path("config")),
                ("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", path("token")),
                ("CLOUDSDK_API_ENDPOINT_OVERRIDES_SQL", format!("{local}/")),
                // Its name gets the region put before it, so it is asked through a proxy.
                ("CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN", "http://run.stand-in/".to_owned()),
                ("CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING", "http://logging.stand-in/".to_owned()),
                ("CLOUDSDK_PROXY_TYPE", "http".to_owned()),
                ("CLOUDSDK_PROXY_ADDRESS", "127.0.0.1".to_owned()),
                ("CLOUDSDK_PROXY_PORT", self.port.to_string()),
                ("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true".to_owned()),
                ("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "true".to_owned()),
            ]);
        }
        all
    }

    /// Has something go wrong from now on; an empty object: nothing.
    pub fn faults(&self, faults: &Json) {
        let body = faults.to_string();
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let length = body.len();
        write!(connection, "POST /stand-in HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}").expect("it reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("it answers");
        assert!(answer.contains(" 200 "), "{answer}");
    }

    /// Calls `gcloud` as a person would.
    #[track_caller]
    pub fn gcloud(&self, words: &[&str]) {
        let mut call = Command::new(self.folder.path().join("bin/gcloud"));
        let ran =
            call.args(words).envs(self.environment()).env("CLOUDSDK_CORE_PROJECT", "acme").output().expect("it runs");
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    pub fn state(&self) -> Json {
        let text = fs::read_to_string(self.folder.path().join("state")).expect("a state");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The calls of `gcloud` since the last time, each as its words.
    pub fn calls(&self) -> Vec<String> {
        let file = self.folder.path().join("calls");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(file);
        text.lines().map(str::to_owned).collect()
    }

    /// The arguments with which services were asked by `curl`.
    pub fn asked(&self) -> String {
        fs::read_to_string(self.folder.path().join("asked")).unwrap_or_default()
    }

    /// What serves: each service's revisions with their share, and the tag of the image of each.
    pub fn serving(&self, service: &str) -> String {
        let state = self.state();
        let one = &state["services"][service];
        let revisions = one["revisions"].as_object().expect("revisions");
        let latest = || {
            let ready = revisions.iter().filter(|(_, of)| of["ready"] == true);
            ready.max_by_key(|(_, of)| of["number"].as_u64()).map(|(name, _)| name.clone()).expect("one is ready")
        };
        let mut text = String::new();
        for target in one["traffic"].as_array().expect("traffic") {
            let is_latest = target["latestRevision"] == true;
            let name = if is_latest { latest() } else { target["revisionName"].as_str().expect("a name").to_owned() };
            let image = revisions[&name]["image"].as_str().expect("an image");
            let (percent, pinned) = (&target["percent"], if is_latest { "" } else { " pinned" });
            let _ = write!(text, "{percent} % {}{pinned};", image.rsplit_once(':').expect("a tag").1);
        }
        text
    }

    /// The schema, the rows and the backups of the database.
    pub fn database(&self) -> (String, Json, usize) {
        let state = self.state();
        let sql = &state["sql"];
        let head = sql["head"].as_str().expect("a head").to_owned();
        (head, sql["rows"].clone(), sql["backups"].as_object().expect("backups").len())
    }

    /// Nothing was asked for that the stand-in does not know.
    #[track_caller]
    pub fn expect_no_surprise(&self) {
        assert_eq!(self.state()["refused"], json!([]));
    }
}

impl Drop for Google {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

pub fn stand_in(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/products/stand_ins").join(name)
}

/// The program of that name in PATH.
pub fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
