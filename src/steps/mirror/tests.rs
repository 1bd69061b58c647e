//! Files are copied by the real rclone and rsync, in real shells.

use std::{fs, process::Command};

use super::*;
use crate::steps::trial::{Ran, Trial, in_every_shell};

fn mirror(text: &str) -> Mirror {
    let mirror: Mirror = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(mirror.problems(), [], "{text}");
    mirror
}

fn receipt<'a>(ran: &'a Ran, key: &str) -> Option<&'a str> {
    ran.out.lines().find_map(|line| line.strip_prefix("longshore-receipt ")?.strip_prefix(key)?.strip_prefix(' '))
}

fn refused(trial: &Trial, kind: &Mirror, why: &str) {
    let ran = trial.act(kind);
    assert!(ran.status != 0 && ran.err.contains(why), "{why}: {ran:?}");
}

/// Whether the tool is there, also for a shell that knows only its own folder of programs.
fn has(trial: &Trial, tool: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().expect("sh");
    let path = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    if path.is_empty() {
        eprintln!("SKIPPED: {tool} is not installed");
        return false;
    }
    if trial.path("bin").exists() {
        std::os::unix::fs::symlink(path, trial.path(&format!("bin/{tool}"))).expect("writable");
    }
    true
}

/// Two folders of blobs on the host, and a store elsewhere that rclone knows by name.
fn blobs(trial: &mut Trial) {
    fs::create_dir_all(trial.path("data/videos/deep")).expect("writable");
    fs::create_dir_all(trial.path("data/thumbnails")).expect("writable");
    fs::create_dir_all(trial.path("store")).expect("writable");
    trial.write("data/videos/one.mp4", "first");
    trial.write("data/videos/deep/it's two.mp4", "second");
    trial.write("data/videos/part.tmp", "half");
    trial.write("data/thumbnails/one.jpg", "small");
    trial.variable("RCLONE_CONFIG", &trial.at("rclone.conf"));
    trial.variable("RCLONE_CONFIG_STORE_TYPE", "alias");
    trial.variable("RCLONE_CONFIG_STORE_REMOTE", &trial.at("store"));
    trial.write("rclone.conf", "");
}

#[test]
fn b_07_b_25_b_26_b_27_b_28_blobs_are_copied_to_a_store_once_and_never_overwritten() {
    in_every_shell(|trial| {
        if !has(trial, "rclone") {
            return;
        }
        blobs(trial);
        let text = format!(
            "from = ['{0}/videos', '{0}/thumbnails/']\nto = 'store:fovea'\nexclude = '*.tmp'\n",
            trial.at("data")
        );
        let record = format!("record = {{ folder = '{}', name = 'videos' }}", trial.at("copies"));
        let kind = mirror(&format!("{text}{record}"));
        let ran = trial.acts(&kind);
        assert_eq!((receipt(&ran, "files"), receipt(&ran, "size")), (Some("3"), Some("16")), "{ran:?}");
        assert_eq!(trial.read("store/fovea/videos/deep/it's two.mp4"), "second");
        assert_eq!(trial.names("store/fovea/videos"), ["deep", "one.mp4"]);
        assert_eq!(trial.names("store/fovea/thumbnails"), ["one.jpg"]);
        let receipts = trial.names("copies");
        assert!(receipts.len() == 1 && receipts[0].ends_with("-by-hand.mirror.receipt"), "{receipts:?}");
        assert!(trial.read(&format!("copies/{}", receipts[0])).contains("verified compared: 3 files, 16 bytes"));

        // The second time only what is new moves: what is there keeps its time there.
        let written = |trial: &Trial| fs::metadata(trial.path("store/fovea/videos/one.mp4")).expect("there").modified();
        let before = written(trial).expect("a time");
        trial.write("data/videos/three.mp4", "third");
        let ran = trial.acts(&kind);
        assert_eq!(receipt(&ran, "files"), Some("4"));
        assert_eq!(written(trial).expect("a time"), before);

        // What is gone here stays there, unless it was said how much may go.
        fs::remove_file(trial.path("data/videos/one.mp4")).expect("removed");
        fs::remove_file(trial.path("data/videos/three.mp4")).expect("removed");
        trial.acts(&kind);
        assert_eq!(trial.names("store/fovea/videos"), ["deep", "one.mp4", "three.mp4"]);
        let ran = trial.act(&mirror(&format!("{text}remove-at-most = 1")));
        assert!(ran.status != 0 && ran.err.contains("2 files would be removed"), "{ran:?}");
        assert!(ran.err.contains("videos/one.mp4") && ran.err.contains("videos/three.mp4"), "{ran:?}");
        assert_eq!(trial.names("store/fovea/videos"), ["deep", "one.mp4", "three.mp4"]);
        let ran = trial.acts(&mirror(&format!("{text}remove-at-most = 2")));
        assert_eq!(receipt(&ran, "removed"), Some("2"));
        assert!(ran.out.contains("removed videos/one.mp4"), "{ran:?}");
        assert_eq!(trial.names("store/fovea/videos"), ["deep"]);

        // A file that changed may be a damaged one.
        trial.write("data/videos/deep/it's two.mp4", "secomd");
        refused(trial, &kind, "1 files of");
        assert_eq!(trial.read("store/fovea/videos/deep/it's two.mp4"), "second");
        trial.acts(&mirror(&format!("{text}changing = true")));
        assert_eq!(trial.read("store/fovea/videos/deep/it's two.mp4"), "secomd");
    });
}

#[test]
fn b_33_b_39_blobs_come_back_and_an_empty_folder_is_no_source() {
    in_every_shell(|trial| {
        if !has(trial, "rclone") {
            return;
        }
        blobs(trial);
        trial.acts(&mirror(&format!("from = '{}'\nto = 'store:fovea'", trial.at("data/videos"))));
        let ran = trial.acts(&mirror(&format!("from = 'store:fovea/videos'\nto = '{}'", trial.at("back"))));
        assert_eq!(receipt(&ran, "files"), Some("3"));
        assert_eq!(trial.read("back/videos/deep/it's two.mp4"), "second");
        // The volume that is not mounted is an empty folder.
        fs::create_dir(trial.path("data/away")).expect("writable");
        let away = format!("from = '{}'\nto = 'store:fovea'", trial.at("data/away"));
        refused(trial, &mirror(&away), "holds no files: is what belongs there mounted?");
        trial.acts(&mirror(&format!("{away}\nmay-be-empty = true")));
        refused(trial, &mirror(&format!("from = '{}'\nto = 'store:x'", trial.at("data/none"))), "cannot be read");
        refused(trial, &mirror("from = 'nowhere:x/videos'\nto = '/tmp/x'"), "cannot be read");
    });
}

#[test]
fn b_25_b_27_rsync_keeps_the_same_rules() {
    in_every_shell(|trial| {
        if !has(trial, "rsync") {
            return;
        }
        blobs(trial);
        fs::create_dir(trial.path("disk")).expect("writable");
        let text = format!(
            "by = 'rsync'\nfrom = '{}'\nto = '{}'\nexclude = '*.tmp'\n",
            trial.at("data/videos"),
            trial.at("disk")
        );
        let ran = trial.acts(&mirror(&text));
        assert_eq!((receipt(&ran, "files"), receipt(&ran, "size")), (Some("2"), Some("11")), "{ran:?}");
        fs::remove_file(trial.path("data/videos/one.mp4")).expect("removed");
        trial.acts(&mirror(&text));
        assert_eq!(trial.names("disk/videos"), ["deep", "one.mp4"]);
        refused(trial, &mirror(&format!("{text}remove-at-most = 0")), "1 files would be removed");
        assert_eq!(trial.names("disk/videos"), ["deep", "one.mp4"]);
        trial.acts(&mirror(&format!("{text}remove-at-most = 1")));
        assert_eq!(trial.names("disk/videos"), ["deep"]);
        trial.write("data/videos/deep/it's two.mp4", "secomd");
        refused(trial, &mirror(&text), "such files do not change");
        assert_eq!(trial.read("disk/videos/deep/it's two.mp4"), "second");
    });
}

#[test]
fn b_26_what_cannot_be_copied_to_is_said_before_anything_is_touched() {
    for (text, problem) in [
        ("from = '/x'\nto = 's3://bucket/x'\nby = 'rsync'", "is an address, which neither rclone nor rsync reads"),
        ("from = '/x'\nto = 's3://bucket/x'", "is an address"),
        ("from = []\nto = '/x'", "it does not say what to copy"),
        ("from = 'videos'\nto = '/x'", "neither an absolute path nor a place elsewhere"),
        ("from = '/x'\nto = '-e sh:x'", "neither an absolute path nor a place elsewhere"),
        ("from = ['/a/x', '/b/x/']\nto = '/y'", "two folders are named `x`"),
        ("from = '/'\nto = '/y'", "it has no last name"),
        ("from = '/x'\nto = 'other:/y'\nby = 'rsync'\nremove-at-most = 1", "rsync removes nothing on another host"),
        ("from = '/x'\nto = '/y'\nrecord = { folder = 'z', name = 'a b' }", "cannot begin the name of a copy"),
    ] {
        let kind: Mirror = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let problems: Vec<_> = kind.problems().into_iter().map(|problem| problem.message).collect();
        assert!(problems.iter().any(|message| message.contains(problem)), "{text}: {problems:?}");
    }
}
