//! The guide to a platform of one's own, followed block by block, with a strict stand-in of the command that it uses.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value as Json;

use crate::{
    google::{found, stand_in},
    sshd::skip,
};

const GUIDE: &str = include_str!("../../docs/new-platform.md");

/// A block of the guide: what stands after its fence, and its text.
struct Block<'a> {
    info: &'a str,
    text: String,
    /// The path that the sentence before it names.
    file: Option<&'a str>,
}

fn blocks() -> Vec<Block<'static>> {
    let mut all = Vec::new();
    let mut lines = GUIDE.lines();
    let mut said = "";
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            let is_document = |word: &&str| Path::new(word).extension().is_some_and(|extension| extension == "toml");
            all.push(Block { info, text: text.join("\n") + "\n", file: said.split('`').rfind(is_document) });
            said = "";
        } else if !line.is_empty() {
            said = line;
        }
    }
    all
}

struct Reader {
    folder: tempfile::TempDir,
    here: PathBuf,
}

impl Reader {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn follow(&mut self, block: &Block<'_>) {
        if let Some(kind) = block.info.strip_prefix("toml") {
            let file = self.here.join(block.file.expect("the guide says where it goes"));
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            // The host of the guide is this machine.
            let here =
                format!("[hosts.rocket-1]\nvia = \"controller\"\nstate-dir = \"{}\"", self.path("state").display());
            let text =
                if kind == " inventory" { block.text.replace("[hosts.rocket-1]", &here) } else { block.text.clone() };
            fs::write(file, text).expect("written");
            return;
        }
        for line in block.text.lines() {
            if let Some(inner) = line.strip_prefix("cd ") {
                self.here = self.here.join(inner);
                continue;
            }
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(words[0], "longshore", "the guide runs `{line}`");
            let programs = std::env::var("PATH").expect("a PATH");
            let ran = Command::new(env!("CARGO_BIN_EXE_longshore"))
                .args(&words[1..])
                .current_dir(&self.here)
                .env_clear()
                .env("PATH", format!("{}:/usr/bin:{programs}", self.path("bin").display()))
                .env("HOME", self.path("home"))
                .env("DOCKER_STAND_IN", self.path("docker"))
                .stdin(Stdio::null())
                .output()
                .expect("longshore starts");
            let told = format!(
                "`{line}` ended with {}\n{}{}",
                ran.status,
                String::from_utf8_lossy(&ran.stdout),
                String::from_utf8_lossy(&ran.stderr)
            );
            match block.info {
                "sh" => assert!(ran.status.success(), "{told}"),
                "sh fails" => assert!(!ran.status.success(), "{told}"),
                other => panic!("the guide has a block of `{other}`"),
            }
        }
    }

    fn containers(&self) -> Vec<(String, String, String, String)> {
        let state = fs::read_to_string(self.path("docker/state")).expect("a state");
        let state: Json = serde_json::from_str(&state).expect("JSON");
        let text = |of: &Json, key: &str| of[key].as_str().expect("a text").to_owned();
        let of = |one: &Json| (text(one, "Name"), text(one, "Image"), text(one, "Status"), text(one, "Id"));
        state["containers"].as_array().expect("containers").iter().map(of).collect()
    }

    /// The tag of the container that runs, and its id.
    fn running(&self) -> (String, String) {
        let running: Vec<_> = self.containers().into_iter().filter(|(.., status, _)| status == "running").collect();
        assert_eq!(running.len(), 1, "{running:?}");
        assert_eq!(running[0].0, "rocket");
        (running[0].1.rsplit_once(':').expect("a tag").1.to_owned(), running[0].3.clone())
    }
}

#[test]
fn the_guide_to_a_new_platform_works_as_it_is_written_and_fails_as_it_says() {
    if found("/usr/bin/python3").is_none() {
        return skip("there is no /usr/bin/python3");
    }
    let folder = tempfile::Builder::new().prefix("longshore-guide-").tempdir().expect("a folder");
    let mut reader = Reader { here: folder.path().to_owned(), folder };
    for made in ["home", "bin", "docker"] {
        fs::create_dir(reader.path(made)).expect("made");
    }
    std::os::unix::fs::symlink(stand_in("docker"), reader.path("bin/docker")).expect("linked");
    let started = Command::new(stand_in("docker"))
        .args(["run", "-d", "--name", "rocket", "--restart", "unless-stopped", "-p", "8080:80"])
        .arg("registry.example.com/rocket:1.4.0")
        .env("DOCKER_STAND_IN", reader.path("docker"))
        .status();
    assert!(started.expect("it runs").success());
    let before = reader.running();

    let (mut upgraded, mut failed) = (false, 0);
    for block in &blocks() {
        if block.info == "sh fails" {
            // In both of the ways that the guide names.
            for fault in ["missing 1.4.2\n", "crashing 1.4.2\n"] {
                fs::write(reader.path("docker/faults"), fault).expect("written");
                reader.follow(block);
                assert_eq!(reader.running(), before, "{fault}");
                failed += 1;
            }
            continue;
        }
        reader.follow(block);
        if block.text.contains(" apply ") {
            assert_eq!(reader.running().0, "1.4.1");
            upgraded = true;
        }
        if block.text.contains(" rollback ") {
            assert_eq!(reader.running(), before, "it is to be the very container of before");
        }
    }
    assert!(upgraded && failed == 2, "the guide has no upgrade, or nothing that fails");
    assert_eq!(reader.containers().len(), 1, "{:?}", reader.containers());
}
