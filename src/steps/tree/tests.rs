//! The tree step: real shells, a real tar, a session on this machine.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Command,
};

use super::*;
use crate::steps::stand::Stand;

/// A local tree with a bit of everything.
fn tree(stand: &Stand) -> Tree {
    let long = format!("deep/{}/{}.py", "folder".repeat(15), "name".repeat(20));
    for (path, text) in [
        ("Dockerfile", "FROM x\n"),
        ("app/main.py", "print('one')\n"),
        ("app/it's a $(file).txt", ""),
        ("build.sh", "#!/bin/sh\n"),
        (".git/HEAD", "ref\n"),
        ("app/node_modules/x.js", "x\n"),
        ("debug.log", "x\n"),
        (long.as_str(), "long\n"),
    ] {
        let path = stand.path("local").join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, text).expect("writable");
    }
    let run = fs::Permissions::from_mode(0o755);
    fs::set_permissions(stand.path("local/build.sh"), run).expect("settable");
    symlink("app/main.py", stand.path("local/start")).expect("writable");
    let exclude = [".git", "node_modules", "*.log"].map(str::to_owned).to_vec();
    Tree { from: stand.at("local"), to: stand.at("host"), exclude: Some(exclude), ..Tree::default() }
}

/// Runs the step as the engine would; returns how many files were brought, or what went wrong.
async fn bring(stand: &Stand, step: &mut Tree, attempt: &str) -> Result<usize, String> {
    step.loaded = None;
    step.load_rendered(std::path::Path::new("/")).map_err(|error| error.to_string())?;
    send_and_act(stand, step, attempt).await
}

async fn send_and_act(stand: &Stand, step: &Tree, attempt: &str) -> Result<usize, String> {
    fs::create_dir_all(stand.path(attempt)).expect("writable");
    let Work::Host(program) = step.work() else { panic!("a program") };
    let word = crate::model::quote(&stand.at(&format!("{attempt}/upload")));
    let upload = program.upload.expect("it is brought");
    let sent = crate::steps::upload(&stand.session, None, &upload, &word, &|_| {}).await;
    sent.map_err(|error| format!("{error} {:?}", error.to_failure().output))?;
    let changed = fs::read_to_string(stand.path(attempt).join("upload/changed")).expect("a list").lines().count();
    let looked = shell(stand, attempt, &program.look.expect("it looks"));
    assert_eq!(looked.0 == 0, changed == 0 && !looked.1.contains("remove"), "{looked:?}");
    if looked.0 == 10 {
        let (status, said) = shell(stand, attempt, &program.act);
        if status != 0 {
            return Err(said);
        }
    }
    Ok(changed)
}

fn shell(stand: &Stand, attempt: &str, text: &str) -> (i32, String) {
    let mut shell = Command::new("/bin/sh");
    let ran = shell.arg("-c").arg(text).env("LONGSHORE_STEP_DIR", stand.at(attempt)).output().expect("a shell");
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

/// All of a folder: what each path is, its mode and content.
fn all(stand: &Stand, folder: &str) -> String {
    let text = format!(
        "cd {} && find . ! -name . ! -name .longshore-tree ! -type d -exec ls -ld {{}} + | awk '{{ print $1 }}' && \
         find . ! -type d ! -name .longshore-tree | sort | while IFS= read -r p; do echo \"$p\"; cat \"$p\"; done",
        crate::model::quote(&stand.at(folder))
    );
    shell(stand, "x", &text).1
}

#[tokio::test]
async fn f_43_a_tree_is_brought_once_and_then_only_what_changed_and_goes_back() {
    let stand = Stand::new();
    let mut step = tree(&stand);
    fs::create_dir(stand.path("host")).expect("writable");
    fs::write(stand.path("host/.env"), "SECRET=x\n").expect("writable");
    fs::write(stand.path("host/Dockerfile"), "FROM before\n").expect("writable");
    let before = all(&stand, "host");
    assert_eq!(bring(&stand, &mut step, "one").await, Ok(6));
    let host = |path: &str| fs::read_to_string(stand.path("host").join(path));
    assert_eq!(host("start").expect("a link"), "print('one')\n");
    assert_eq!(fs::metadata(stand.path("host/build.sh")).expect("there").permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::metadata(stand.path("host/app/main.py")).expect("there").permissions().mode() & 0o777, 0o644);
    for excluded in [".git", "app/node_modules", "debug.log"] {
        assert!(!stand.path("host").join(excluded).exists(), "{excluded}");
    }
    assert_eq!(host(".env").expect("untouched"), "SECRET=x\n");

    // A second time there is nothing to do.
    assert_eq!(bring(&stand, &mut step, "two").await, Ok(0));
    let stands = all(&stand, "host");

    // One file is other, one runs now, one is gone: what others put there stays.
    fs::write(stand.path("local/app/main.py"), "print('two')\n").expect("writable");
    fs::set_permissions(stand.path("local/Dockerfile"), fs::Permissions::from_mode(0o755)).expect("settable");
    fs::remove_file(stand.path("local/app/it's a $(file).txt")).expect("removable");
    fs::write(stand.path("host/app/own.txt"), "mine\n").expect("writable");
    assert_eq!(bring(&stand, &mut step, "three").await, Ok(2));
    assert_eq!(host("app/main.py").expect("there"), "print('two')\n");
    assert!(host("app/it's a $(file).txt").is_err());
    assert_eq!(host("app/own.txt").expect("untouched"), "mine\n");

    // Back, one after the other, to the very beginning.
    let Work::Host(program) = step.work() else { panic!("a program") };
    let undo = program.undo.expect("there is one");
    fs::remove_file(stand.path("host/app/own.txt")).expect("removable");
    for (attempt, wanted) in [("three", &stands), ("two", &stands), ("one", &before)] {
        assert_eq!(shell(&stand, attempt, &undo), (0, String::new()));
        assert_eq!(&all(&stand, "host"), wanted, "{attempt}");
    }
    assert!(!stand.path("host/app").exists() && !stand.path("host/.longshore-tree").exists());
}

#[tokio::test]
async fn a_tree_that_changed_since_the_plan_or_on_its_way_is_not_put_into_its_place() {
    let stand = Stand::new();
    let mut step = tree(&stand);
    step.load_rendered(std::path::Path::new("/")).expect("read");
    fs::write(stand.path("local/app/main.py"), "print('later')\n").expect("writable");
    let error = send_and_act(&stand, &step, "one").await.expect_err("another tree");
    assert!(error.contains("has changed since the plan was made"), "{error}");
    assert!(!stand.path("host").exists());

    bring(&stand, &mut step, "two").await.expect("brought");
    let Work::Host(program) = step.work() else { panic!("a program") };
    fs::create_dir_all(stand.path("three")).expect("writable");
    fs::write(stand.path("local/app/main.py"), "print('last')\n").expect("writable");
    step.loaded = None;
    step.load_rendered(std::path::Path::new("/")).expect("read");
    let Work::Host(next) = step.work() else { panic!("a program") };
    let word = crate::model::quote(&stand.at("three/upload"));
    let upload = next.upload.as_ref().expect("it is brought");
    crate::steps::upload(&stand.session, None, upload, &word, &|_| {}).await.expect("sent");
    fs::write(stand.path("three/upload/new/app/main.py"), "print('evil')\n").expect("writable");
    let (status, said) = shell(&stand, "three", &program.act);
    assert!(status != 0 && said.contains("damaged on its way"), "{said}");
    assert_eq!(fs::read_to_string(stand.path("host/app/main.py")).expect("there"), "print('later')\n");
}

#[test]
fn patterns_are_names_anywhere_or_paths_from_the_top() {
    for (pattern, path, wanted) in [
        ("node_modules", "node_modules/a.js", true),
        ("node_modules", "web/node_modules/a.js", true),
        ("node_modules", "my_node_modules", false),
        ("*.log", "a/b/x.log", true),
        ("/dist", "dist/x", true),
        ("/dist", "web/dist/x", false),
        ("docs/build", "docs/build/index.html", true),
        ("docs/build", "web/docs/build", false),
        ("docs/**/x", "docs/a/b/x", true),
        ("a?c/", "abc", true),
        ("a.c", "abc", false),
    ] {
        assert_eq!(local::glob(pattern).expect("a pattern").is_match(path), wanted, "{pattern} {path}");
    }
}
