//! The README's tutorial, followed word by word on the embedded lab.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use longshore::lab::{Fleet, LabOptions};

use crate::{
    kept::{inside, read},
    markdown::split,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tutorial_of_the_readme_works() {
    let fleet = Fleet::start(LabOptions::numbered(2)).await.expect("the lab starts");
    let lab: toml::Table = fleet.inventory_toml().parse().expect("an inventory");
    let told = tokio::task::spawn_blocking(move || follow(&lab)).await;
    fleet.stop().await.expect("the lab stops");
    told.expect("the tutorial works");
}

/// Does what the tutorial says, block by block.
fn follow(lab: &toml::Table) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut here = folder.path().to_path_buf();
    let mut ran = Vec::new();
    for block in split(&inside(&read("README.md"), "tutorial")).1 {
        match block.info.as_str() {
            "toml inventory" => {
                fs::write(here.join("inventory/fleet.toml"), with_lab(&block.text, lab)).expect("the inventory");
            }
            "toml playbook" => fs::write(here.join("playbooks/note.toml"), &block.text).expect("the playbook"),
            "sh" => {
                for line in block.text.lines().filter(|line| !line.trim().is_empty()) {
                    let line = line.split(" # ").next().expect("never empty").trim();
                    if let Some(inner) = line.strip_prefix("cd ") {
                        here = here.join(inner);
                        continue;
                    }
                    if let Some(words) = line.strip_prefix("mv ") {
                        let (from, to) = words.split_once(' ').expect("two names");
                        fs::rename(here.join(from), here.join(to)).expect("the file is there");
                        continue;
                    }
                    let output = longshore(line, &here, folder.path());
                    let told = format!(
                        "`{line}` ended with {}\n{}{}",
                        output.status,
                        String::from_utf8_lossy(&output.stdout),
                        String::from_utf8_lossy(&output.stderr)
                    );
                    assert!(output.status.success(), "{told}");
                    ran.push((line.to_owned(), told));
                }
            }
            other => panic!("the tutorial has a block of `{other}`"),
        }
    }
    let said = |command: &str| {
        let told: Vec<_> = ran.iter().filter(|(line, _)| line.contains(command)).map(|(_, told)| told).collect();
        assert!(!told.is_empty(), "the tutorial has no `{command}`");
        told.iter().map(|told| told.as_str()).collect::<Vec<_>>().join("\n")
    };
    assert!(said(" lint").contains("no problems"));
    assert!(said(" trust ").contains("2 keys written"));
    let applied = said(" apply ");
    assert!(applied.contains("2 done") && applied.contains("2 unchanged"), "{applied}");
    assert!(said(" exec ").contains("belongs to the fleet"));
    for command in ["init", "hosts", "check", "plan", "history"] {
        said(&format!(" {command}"));
    }
}

/// Puts the lab's hosts in place of those of the tutorial.
fn with_lab(text: &str, lab: &toml::Table) -> String {
    let mut inventory: toml::Table = text.parse().expect("an inventory");
    let table = |inventory: &toml::Table, name: &str| inventory[name].as_table().expect("a table").clone();
    let mut defaults = table(&inventory, "defaults");
    defaults.extend(table(lab, "defaults"));
    inventory.insert("defaults".to_owned(), defaults.into());
    let mut hosts = table(&inventory, "hosts");
    for ((_, host), (_, of_lab)) in hosts.iter_mut().zip(table(lab, "hosts")) {
        host.as_table_mut().expect("a host").extend(of_lab.as_table().expect("a host").clone());
    }
    inventory.insert("hosts".to_owned(), hosts.into());
    inventory.to_string()
}

/// Runs a command of the tutorial, as somebody without any configuration of their own.
fn longshore(line: &str, here: &Path, home: &Path) -> Output {
    assert!(!line.contains(['\'', '"', '\\', '|', '&']), "`{line}` would need a shell");
    let words: Vec<_> = line.split_whitespace().collect();
    let (program, arguments) = words.split_first().expect("a command");
    assert_eq!(*program, "longshore", "the tutorial runs `{line}`");
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.args(arguments).current_dir(here).env("HOME", home).env("NO_COLOR", "1").env("COLUMNS", "100");
    for variable in ["SSH_AUTH_SOCK", "LONGSHORE_PROJECT", "XDG_CONFIG_HOME"] {
        command.env_remove(variable);
    }
    if arguments.first() == Some(&"trust") {
        // There is no terminal here to say yes at.
        command.arg("--yes");
    }
    command.output().expect("longshore starts")
}
