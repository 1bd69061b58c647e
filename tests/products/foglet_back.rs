//! Foglet on Fly, brought back from where an upgrade, or an accident, left it: by its schema, and with its host keys.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{
    command::flat,
    foglet::{Foglet, Login, NEW, OLD, copy_of, deploys, key_of},
};

/// A board that runs, and two that are held: of one the machines never got the image that knows the way down.
#[test]
fn g_28_g_30_g_31_g_34_a_schema_is_rolled_back_only_to_a_chosen_version_on_somebodys_word_also_on_a_board_that_is_held()
{
    let boards = ["board-a", "board-held", "board-seeds"];
    let Some(foglet) = Foglet::with(&boards.map(|board| (board, Login::Good))) else { return };
    fs::write(foglet.fly.folder("board-held").join("seeds-for-tests"), "").expect("written");
    fs::write(foglet.fly.folder("board-seeds").join("seeds-fail"), "").expect("written");
    let ran = foglet.upgrade("0.3.0").expect_code(3);
    let outcomes = foglet.outcomes();
    assert_eq!(boards.map(|board| outcomes[board].as_str()), ["done", "held", "held"], "{ran}");
    let heads = || boards.map(|board| foglet.sql(board, "select max(version) from schema_migrations"));
    for board in boards {
        foglet.sql(board, "update posts set body = 'of today'");
    }

    // Nobody at a terminal and no word in a file: the default is no, whatever `--yes` says.
    let choose = |version: &str, release: &str| {
        let text =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks/foglet-schema-rollback.toml"));
        let chosen = format!("schema-version = \"{version}\", schema-release = \"{release}\"");
        let text = text.expect("there").replace("schema-version = \"\"", &chosen);
        foglet.fleet.write("playbooks/foglet-schema-rollback.toml", &text);
    };
    choose(NEW, "");
    let apply = ["apply", "foglet-schema-rollback", "--to", "0.2.0", "--yes"];
    let ran = foglet.longshore(apply).run().expect_code(6);
    assert_eq!(heads(), [NEW; 3], "{ran}");
    let step = "Roll the schema back, the chosen migration included";
    let word = |board| {
        format!(
            "[[approve]]\nhost = \"{board}\"\naction = \"irreversible\"\nsteps = [\"{step}\"]\nto = \"0.2.0\"\nby = \"anna\"\n"
        )
    };
    let file = foglet.fleet.write("approvals.toml", &boards.map(word).concat()).to_string_lossy().into_owned();
    let approved = || apply.into_iter().chain(["--approvals", &file]);
    // With the word, but without a version, or with one that is not there, nothing is done either.
    for (version, cause) in [("", "choose the migration"), ("20990101000000", "that migration is not applied here")] {
        choose(version, "");
        let ran = foglet.longshore(approved()).run().expect_code(1);
        assert!(flat(&ran.out).contains(cause) && heads() == [NEW; 3], "{ran}");
    }
    // A release that does not have the migration passes over it, and that is found out.
    choose(NEW, "0.2.0");
    let limit = approved().chain(["--limit", "board-seeds"]);
    let ran = foglet.longshore(limit).run().expect_code(3);
    assert!(flat(&ran.out).contains("it is applied still: say with `schema-release`") && heads() == [NEW; 3], "{ran}");

    // A deployment may leave a machine stopped that was, so that it is started, and people are let in again.
    foglet.fly.fault("board-seeds", "stays");
    choose(NEW, "");
    let kept = foglet.fleet.project().join("plan.json").to_string_lossy().into_owned();
    let words = ["plan", "foglet-schema-rollback", "--to", "0.2.0", "-o", &kept];
    let planned = foglet.longshore(words).run().expect_code(0);
    let planned = planned.says("a host that is red before is worked on all the same; its gates must hold");
    let planned = planned.tells("board-held does not tell its board-key: taken as recorded before");
    // So a board that is down is to show the key that it had.
    let plan: serde_json::Value = serde_json::from_str(&fs::read_to_string(&kept).expect("kept")).expect("JSON");
    let key = |board: &str| {
        let checks = plan["hosts"][board]["checks"].as_array().expect("checks").iter();
        let keys: Vec<_> = checks.filter_map(|check| check["check"]["ssh"]["host-key"].as_str()).collect();
        keys.concat()
    };
    assert!(key("board-a").starts_with("SHA256:") && key("board-held") == key("board-a"), "{planned}");
    let ran = foglet.longshore(approved()).run().expect_code(0);
    assert_eq!(heads(), [OLD; 3], "{ran}");
    for board in boards {
        // The release that ran on it runs again, and migrates nothing; what people wrote is there.
        assert_eq!(foglet.fly.runs(board), "0.2.0", "{board}: {ran}");
        assert_eq!(foglet.sql(board, "select body from posts"), "of today", "{board}");
        let changes = foglet.fly.changes(board);
        assert!(deploys(&changes).last().expect("a deployment").contains("--skip-release-command"), "{changes:?}");
        let told = foglet.told("last", board);
        // What was red before is told, and was no reason to leave it.
        assert_eq!(told.contains("check (before) /up answers: pass"), board == "board-a", "{told}");
        assert!(told.contains("check (after) /up answers: pass"), "{told}");
        let key = told.matches("host key SHA256:").count();
        assert_eq!(key, if board == "board-a" { 2 } else { 1 }, "{told}");
    }

    // The held run is told of, is not gone on with, and is closed by a person.
    let ran = ran.tells("board-held still waits for a person in run 0002");
    for way in ["roll-forward", "code-rollback", "restore"] {
        let refused = foglet.longshore(["resume", "2", "--as", way, "--host", "board-held"]).run().expect_code(6);
        refused.tells("does not go on with what has changed since: board-held");
    }
    for board in ["board-held", "board-seeds"] {
        let close = ["close", "2", "--host", board, "--reason", "its schema was taken back"];
        foglet.longshore(close).run().expect_code(0);
    }
    foglet.longshore(["resume", "2"]).run().expect_code(1);
    assert_eq!(boards.map(|board| foglet.fly.runs(board)), ["0.2.0"; 3], "{ran}");
}

/// The keys of the proven copy, swapped in beside what lies there, on somebody's word.
#[test]
fn g_05_g_09_g_25_g_36_host_keys_are_put_back_from_the_proven_copy_and_the_board_shows_them_again() {
    let Some(foglet) = Foglet::with(&[("board-a", Login::ItsOwn), ("board-stopped", Login::ItsOwn)]) else { return };
    let data = |board: &str| foglet.fly.folder(board).join("data");
    let live = |board: &str| data(board).join("ssh/ssh_host_ed25519_key");
    let shown = |board: &str| fs::read(foglet.fly.folder(board).join("shown")).expect("it started");
    let good = fs::read(live("board-a")).expect("there");
    let other = fs::read(key_of(&foglet.fleet, &foglet.boards[1])).expect("there");
    // Somebody lost the folder, and the board made itself a key that nobody knows; the other does not even run.
    for board in ["board-a", "board-stopped"] {
        fs::write(live(board), &other).expect("written");
        fs::write(foglet.fly.folder(board).join("shown"), &other).expect("written");
    }
    foglet.fly.change("board-stopped", |state| state["machines"][0]["state"] = "stopped".into());
    fs::write(foglet.fly.folder("board-stopped").join("running"), "").expect("written");

    let apply = ["apply", "foglet-restore-keys", "--yes"];
    let ran = foglet.longshore(apply).run().expect_code(6);
    assert!(flat(&ran.err).contains("approve restore of board-a") && shown("board-a") == other, "{ran}");
    let word = |board| {
        format!(
            "[[approve]]\nhost = \"{board}\"\naction = \"restore\"\nsteps = [\"Put the host keys back\"]\nby = \"anna\"\n"
        )
    };
    let words = ["board-a", "board-stopped"].map(word).concat();
    let file = foglet.fleet.write("approvals.toml", &words).to_string_lossy().into_owned();
    // A copy that is not what was proven is put back nowhere.
    let archive = copy_of(&foglet, "board-a", "foglet-host-keys", ".tgz");
    let bytes = fs::read(&archive).expect("read");
    fs::write(&archive, &bytes[..bytes.len() - 1]).expect("written");
    let only = apply.into_iter().chain(["--approvals", &file, "--limit", "board-a"]);
    let ran = foglet.longshore(only).run();
    assert!(ran.code != Some(0) && flat(&ran.out).contains("bytes, not"), "{ran}");
    assert_eq!(fs::read(live("board-a")).expect("there"), other, "{ran}");
    fs::write(&archive, &bytes).expect("written");

    let ran = foglet.longshore(apply.into_iter().chain(["--approvals", &file])).run().expect_code(0);
    for board in ["board-a", "board-stopped"] {
        assert!(fs::read(live(board)).expect("there") == good && shown(board) == good, "{board}: {ran}");
        assert_eq!(fs::metadata(live(board)).expect("there").permissions().mode() & 0o777, 0o600, "{board}");
        // What it replaced lies beside it, and nothing else is left.
        let names = fs::read_dir(data(board)).expect("there").flatten().map(|entry| entry.file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        assert!(names.len() == 2 && names[1].starts_with("ssh_pre_"), "{board}: {names:?}");
        let kept = data(board).join(&names[1]).join("ssh_host_ed25519_key");
        assert_eq!(fs::read(kept).expect("kept"), other, "{board}");
        let machine = &foglet.fly.state(board)["machines"][0];
        assert_eq!((&machine["state"], &machine["cordoned"]), (&"started".into(), &false.into()), "{board}");
    }
    let calls = fs::read_to_string(foglet.fly.folder("board-a").join("calls")).expect("there");
    assert!(!calls.contains("PRIVATE KEY") && calls.contains("ssh sftp put"), "{calls}");
}
