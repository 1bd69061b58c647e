//! What goes where: results to standard output, the rest to standard error, events for programs.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::SystemTime,
};

use insta::assert_snapshot;
use longshore::event::{Event, RunState};
use regex::Regex;
use serde_json::Value;

use super::{
    lab::Lab,
    program::{longshore, masked, run},
};

/// Reads the event stream of one run as `RunState` would, strictly.
fn fold(lines: &str) -> RunState {
    let events: Vec<Event> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for (event, expected) in events.iter().zip(1..) {
        assert_eq!(event.sequence, expected, "a gap before {event:?}");
    }
    RunState::fold(&events).unwrap()
}

#[test]
fn for_programs_each_line_is_an_event_and_all_of_them_make_the_run() {
    let lab = Lab::new(3, &["web-2"]);
    let applied = lab.run(&["apply", "upgrade", "--yes", "--output", "json"]);
    let state = fold(&applied.out);
    assert_eq!(state.exit.map(|exit| i32::from(exit.number())), Some(applied.code), "{}", applied.err);
    assert_eq!(state.hosts.len(), 3);
    // What the ledger has is what was printed.
    assert_eq!(lab.run(&["history", "show", "--output", "json"]).out, applied.out);
    let of_one = lab.run(&["history", "show", "--host", "web-2", "--output", "json"]).out;
    assert!(of_one.lines().count() > 5 && of_one.lines().all(|line| line.contains("\"host\":\"web-2\"")), "{of_one}");

    for words in [&["check", "all"][..], &["exec", "all", "uname"], &["apply", "upgrade", "--check", "--diff"]] {
        let ran = lab.run(&[&["--output", "json"], words].concat());
        let state = fold(&ran.out);
        assert_eq!(state.exit.map(|exit| i32::from(exit.number())), Some(ran.code), "{words:?}");
        assert_eq!(ran.err, "", "{words:?}");
    }
    let listed = lab.run(&["history", "--output", "json"]);
    let runs: Vec<Value> = listed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(runs.len(), 4);
    // Borders and widths follow the times, which no run has in common.
    let output = longshore(lab.path(), &["history"]).env("COLUMNS", "120").output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let rows = table.lines().filter(|line| line.starts_with('│')).map(|line| {
        let line = Regex::new(r"\d+(\.\d+)?m?s +").unwrap().replace(line, "SPAN ").into_owned();
        masked(&line).split_whitespace().collect::<Vec<_>>().join(" ")
    });
    assert_snapshot!(rows.collect::<Vec<_>>().join("\n"), @r"
    │ run │ begun │ took │ what │ hosts │ result │
    │ 0004 │ DATE │ SPAN │ apply --check Upgrade the shop │ 3 │ 3 looked at │
    │ 0003 │ DATE │ SPAN │ exec uname │ 3 │ 3 done │
    │ 0002 │ DATE │ SPAN │ check all │ 3 │ 3 green │
    │ 0001 │ DATE │ SPAN │ apply Upgrade the shop │ 3 │ 2 done, 1 undone │
    ");
}

#[test]
fn looking_shows_what_would_change_and_changes_nothing() {
    let lab = Lab::new(2, &[]);
    let before = whole(lab.home("web-1"));
    assert!(before.len() > 10, "{before:?}");
    assert_snapshot!(lab.run(&["apply", "upgrade", "--check", "--diff"]).screen(), @r#"
    web-[1,2]
      would change  Fetch the release
          would run: rm -rf .new; cp -R ~/store/shop-1.5.0 .new; (cd .new && cksum *) | cmp - ~/store/shop-1.5.0.cksum; m…
      would change  Say which release is meant
          add SHOP_RELEASE
      would change  Stop the shop
          would run: ./shopctl stop
      would change  Switch to the release
          would run: readlink current > previous.new; mv -f previous.new previous; rm -f current.new; ln -s releases/1.5.…
      unchanged     Start the shop
      not known     The shop answers with the new version
          cannot be told before the steps before it are done: http http://localhost:8080/health 2xx: status 200, but the answer says otherwise: `version` is "1.4.2" (expe…

    ╭───────┬────────┬──────────────┬────────┬─────────╮
    │ host  │ wave   │ result       │ steps  │ version │
    ├───────┼────────┼──────────────┼────────┼─────────┤
    │ web-1 │ canary │ would change │ 4 of 6 │ 1.4.2   │
    │ web-2 │ wave 1 │ would change │ 4 of 6 │ 1.4.2   │
    ╰───────┴────────┴──────────────┴────────┴─────────╯

    2 hosts: 2 would change. Took SPAN.
    -- standard error
    TIME apply --check Upgrade the shop: 2 hosts in 2 waves
    TIME canary: web-1
    TIME wave 1: web-2
    -- exit code 0
    "#);
    assert_eq!(whole(lab.home("web-1")), before, "looking left something behind");
}

/// Everything below a folder: each entry with its mode, when it was last changed, and its content.
fn whole(folder: &Path) -> Vec<(PathBuf, u32, SystemTime, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, about) = (entry.path(), entry.path().symlink_metadata().unwrap());
        let content = match about.file_type() {
            kind if kind.is_dir() => {
                all.extend(whole(&path));
                Vec::new()
            }
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
            _ => fs::read(&path).unwrap(),
        };
        all.push((path, about.permissions().mode(), about.modified().unwrap(), content));
    }
    all.sort();
    all
}

#[test]
fn a_playbook_is_not_applied_unread_where_nobody_can_be_asked() {
    let lab = Lab::new(1, &[]);
    assert_snapshot!(lab.run(&["apply", "upgrade"]).screen(), @r"
    -- standard error
    error: nobody can be asked here, so a playbook is not applied unread

    hint: `--yes` goes ahead; or `longshore plan upgrade -o plan.json`, and apply that once it is read
    -- exit code 2
    ");
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_complain() {
    let folder = tempfile::tempdir().unwrap();
    for words in [&["schema", "role"][..], &["completions", "bash"], &["man"]] {
        let mut child = longshore(folder.path(), words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        // Dropped after one line, the pipe is closed.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let ended = child.wait_with_output().unwrap();
        let err = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success() && !err.contains("panicked") && !err.contains("error"), "{words:?}: {err}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_no_run() {
    let lab = Lab::new(1, &[]);
    let playbook = lab.playbook("two", "hosts = \"all\"\n[[steps]]\ncommand = \"sleep 1\"\nno-undo = \"a test\"\n[[steps]]\ncommand = \"touch second\"\nno-undo = \"a test\"\n");
    let mut command = longshore(lab.path(), &["apply", playbook, "--yes", "--output", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("run-started"), "{first}");
    assert!(child.wait().unwrap().success());
    assert!(lab.home("web-1").join("second").exists());
}

#[test]
fn colour_is_there_when_asked_for_and_never_by_itself_in_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["init"]).expect(0);
    let words = ["plan", "upgrade", "--offline"];
    let escape = |output: &str| output.contains('\u{1b}');
    assert!(!escape(&run(folder.path(), &words).out));
    assert!(escape(&run(folder.path(), &[&words[..], &["--color", "always"]].concat()).out));
    assert!(!escape(&run(folder.path(), &[&words[..], &["--color", "never"]].concat()).out));
}

#[test]
fn quiet_leaves_only_the_results() {
    let lab = Lab::new(1, &[]);
    let ran = lab.run(&["check", "all", "--quiet"]);
    assert_eq!(ran.expect(0).err, "");
    assert!(ran.out.contains("1 green"), "{}", ran.out);
}

#[test]
fn narrow_and_without_unicode_the_tables_still_fit() {
    let lab = Lab::new(3, &["web-2"]);
    let mut command = longshore(lab.path(), &["apply", "upgrade", "--yes"]);
    let output = command.env("COLUMNS", "60").env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains(['│', '─', '→']), "{text}");
    let wide: Vec<_> = text.lines().filter(|line| line.chars().count() > 60).collect();
    assert!(wide.is_empty(), "{wide:#?}");
}
