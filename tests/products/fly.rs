//! Apps on the stand-in for Fly: a folder for each, with its machine, its volume, its `fly.toml`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

/// The token that the stand-in asks for. Nobody may ever see it.
pub const TOKEN: &str = "FlyV1-of-the-test";

/// All apps, and the command that knows them.
pub struct Fly {
    folder: PathBuf,
}

impl Fly {
    /// Puts the command `fly` into the folder `bin` of the place.
    pub fn new(folder: PathBuf) -> Self {
        fs::create_dir_all(folder.join("bin")).expect("made");
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/products/stand_ins");
        let fly = folder.join("bin/fly");
        let place = folder.display();
        // As a module it is compiled once, and not for each of its many calls.
        let text = format!(
            "#!/bin/sh\nexec /usr/bin/python3 -IS -X pycache_prefix={place}/compiled -c 'import sys; sys.path.insert(0, \"{scripts}\"); import fly' {place} \"$@\"\n"
        );
        fs::write(&fly, text).expect("written");
        fs::set_permissions(&fly, fs::Permissions::from_mode(0o755)).expect("may be run");
        Self { folder }
    }

    /// The search path in which `fly` is the stand-in.
    pub fn path(&self) -> String {
        format!("{}:{}", self.folder.join("bin").display(), std::env::var("PATH").unwrap_or_default())
    }

    /// Makes an app that runs `tag`, with a volume at `/data`, secrets, and images of other tags. Returns its folder.
    pub fn app(&self, name: &str, tag: &str, tags: &[&str], secrets: &[&str]) -> PathBuf {
        let folder = self.folder.join(name);
        fs::create_dir_all(folder.join("data")).expect("made");
        let repository = format!("registry.fly.io/{name}");
        let digest = format!("sha256:{}", tag.replace('.', "").repeat(8));
        let state = json!({
            "token": TOKEN,
            "app": name,
            "images": tags.iter().map(|tag| format!("{repository}:{tag}")).collect::<Vec<_>>(),
            "machines": [{
                "id": "m1", "name": "quiet-sea", "state": "started", "region": "ams", "version": 1, "cordoned": false,
                "image_ref": { "registry": "registry.fly.io", "repository": name, "tag": tag, "digest": digest },
                "config": {
                    "mounts": [{ "volume": "vol_1", "path": "/data", "name": "data" }],
                    "metadata": { "fly_release_version": "7", "fly_process_group": "app" },
                },
                "events": [{ "type": "start", "status": "started", "timestamp": 1 }],
                "checks": [{ "name": "up", "status": "passing", "output": "" }],
            }],
            "volumes": [{
                "id": "vol_1", "name": "data", "state": "created", "size_gb": 1, "region": "ams",
                "attached_machine_id": "m1", "snapshots": [],
            }],
            "releases": [
                { "ID": "r8", "Version": 8, "Status": "failed", "ImageRef": format!("{repository}:9.9.9"),
                  "CreatedAt": "2026-11-02T08:00:00Z" },
                { "ID": "r7", "Version": 7, "Status": "complete", "ImageRef": format!("{repository}:{tag}@{digest}"),
                  "CreatedAt": "2026-11-01T08:00:00Z" },
            ],
            "secrets": secrets.iter().map(|name| json!({ "name": name, "digest": "d1", "status": "Deployed" })).collect::<Vec<_>>(),
            "logs": [{ "timestamp": "2026-10-01T08:00:00Z", "level": "error", "message": "** (Ecto.MigrationError) long ago" }],
        });
        fs::write(folder.join("state.json"), state.to_string()).expect("written");
        fs::write(folder.join("running"), tag).expect("written");
        folder
    }

    pub fn folder(&self, app: &str) -> PathBuf {
        self.folder.join(app)
    }

    pub fn state(&self, app: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.folder(app).join("state.json")).expect("there")).expect("JSON")
    }

    pub fn change(&self, app: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.state(app);
        change(&mut state);
        fs::write(self.folder(app).join("state.json"), state.to_string()).expect("written");
    }

    /// Lets things go wrong, a word a line as the stand-in knows them.
    pub fn fault(&self, app: &str, faults: &str) {
        fs::write(self.folder(app).join("faults"), faults).expect("written");
    }

    /// The calls that change something, in order.
    pub fn changes(&self, app: &str) -> Vec<String> {
        let calls = fs::read_to_string(self.folder(app).join("calls")).unwrap_or_default();
        let reads = |call: &str| call.contains(" list ") || call.starts_with("releases ") || call.starts_with("logs ");
        calls.lines().filter(|call| !reads(call)).map(str::to_owned).collect()
    }

    /// The tag of the release that runs; empty where none does.
    pub fn runs(&self, app: &str) -> String {
        fs::read_to_string(self.folder(app).join("running")).unwrap_or_default()
    }
}

/// Writes a `fly.toml` with these lines for `[deploy]` and `[mounts]`.
pub fn toml(folder: &Path, app: &str, release_command: &str, mounts: &str) {
    let text = format!(
        "app = \"{app}\"\n\n[env]\nPHX_HOST = \"board.example.com\"\nPORT = \"4000\"\nFOGLET_SSH_PORT = \"2222\"\n\n\
         [deploy]\n{release_command}\n\n{mounts}\n"
    );
    fs::write(folder.join("fly.toml"), text).expect("written");
}

/// The usual `[mounts]`.
pub const MOUNTS: &str = "[mounts]\n  source = \"data\"\n  destination = \"/data\" # host keys";
