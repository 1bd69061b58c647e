//! The file step, in real shells.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
};

use super::*;
use crate::{
    model::SecretId,
    steps::trial::{Trial, in_every_shell, program},
};

const NASTY: &[&str] = &[
    "",
    "plain",
    "two\nlines\n",
    "\n\n",
    "it's \"quoted\" `id` $(touch x) $HOME \\n \\101 %s %% !",
    "-rf",
    "-n",
    "tab\tunicode äöü €  日本\r\n",
    "no newline at the end",
    "\u{81}\u{82}\u{88}",
];

fn file(trial: &Trial, content: &str) -> File {
    File { to: trial.at("a file"), content: Some(content.to_owned()), ..File::default() }
}

fn mode(trial: &Trial, name: &str) -> u32 {
    fs::metadata(trial.path(name)).expect("there").permissions().mode() & 0o7777
}

#[test]
fn any_content_arrives_as_it_is_and_is_then_unchanged() {
    in_every_shell(|trial| {
        for content in NASTY {
            let file = file(trial, content);
            assert_eq!(trial.look(&file).status, 10, "{content:?}");
            trial.acts(&file);
            assert_eq!(&trial.read("a file"), content);
            assert_eq!(
                trial.look(&file),
                crate::steps::trial::Ran { status: 0, out: String::new(), err: String::new() }
            );
            trial.undoes(&file);
            assert!(!trial.path("a file").exists(), "{content:?}");
        }
        assert_eq!(trial.names("step"), ["before"; 0]);
    });
}

#[test]
fn a_long_text_and_any_bytes_arrive_as_they_are() {
    in_every_shell(|trial| {
        let long = "0123456789 äöü '\"\\\n".repeat(12_000);
        trial.acts(&file(trial, &long));
        assert!(trial.read("a file") == long, "the long text differs");
        let bytes: Vec<u8> = (0..=255).chain([0, b'1', 0, b'7']).cycle().take(40_000).collect();
        trial.write("local", &bytes);
        let mut file = File { to: trial.at("bytes"), from: Some(trial.at("local")), ..File::default() };
        file.load_rendered(Path::new("/")).expect("readable");
        assert!(matches!(file.loaded, Some(Loaded::Hex(_))));
        trial.acts(&file);
        assert!(fs::read(trial.path("bytes")).expect("there") == bytes, "the bytes differ");
        assert_eq!(trial.look(&file).status, 0);
    });
}

#[test]
fn nasty_paths_are_only_paths() {
    in_every_shell(|trial| {
        for name in ["-rf", "a b", "it's", "$(touch x)", "new\nline", "äöü", "ends \n"] {
            let file = File { to: trial.at(name), content: Some("x".to_owned()), ..File::default() };
            trial.acts(&file);
            assert_eq!(trial.read(name), "x");
            assert_eq!(trial.look(&file).status, 0, "{name:?}");
            trial.undoes(&file);
            assert!(!trial.path(name).exists());
        }
        assert!(!trial.path("x").exists());
    });
}

#[test]
fn the_home_folder_is_the_hosts() {
    in_every_shell(|trial| {
        let file = File { to: "~/in home".to_owned(), content: Some("x".to_owned()), ..File::default() };
        trial.acts(&file);
        assert_eq!(trial.read("in home"), "x");
    });
}

#[test]
fn mode_and_owner_are_kept_set_and_put_back() {
    in_every_shell(|trial| {
        trial.write("a file", "old");
        fs::set_permissions(trial.path("a file"), fs::Permissions::from_mode(0o4750)).expect("settable");
        trial.acts(&file(trial, "new"));
        assert_eq!((mode(trial, "a file"), trial.read("a file").as_str()), (0o4750, "new"));
        trial.undoes(&file(trial, "new"));
        assert_eq!((mode(trial, "a file"), trial.read("a file").as_str()), (0o4750, "old"));

        let stricter = File { mode: Some("600".to_owned()), ..file(trial, "old") };
        let looked = trial.look(&stricter);
        assert_eq!((looked.status, looked.out), (10, format!("mode of {}: 4750 -> 0600\n", trial.at("a file"))));
        let inode = fs::metadata(trial.path("a file")).expect("there").ino();
        trial.acts(&stricter);
        assert_eq!(mode(trial, "a file"), 0o600);
        assert_eq!(fs::metadata(trial.path("a file")).expect("there").ino(), inode, "the file lost its place");
        trial.undoes(&stricter);
        assert_eq!(mode(trial, "a file"), 0o4750);
    });
}

#[test]
fn an_owner_by_name_or_number_is_recognized() {
    in_every_shell(|trial| {
        trial.write("a file", "x");
        let about = fs::metadata(trial.path("a file")).expect("there");
        let owner = format!("{}:{}", about.uid(), about.gid());
        let same = File { owner: Some(owner), ..file(trial, "x") };
        assert_eq!(trial.look(&same).status, 0);
        let other = File { owner: Some("54321:54321".to_owned()), ..file(trial, "x") };
        let looked = trial.look(&other);
        assert!(looked.out.contains("-> 54321:54321"), "{looked:?}");
        let ran = trial.act(&other);
        if about.uid() == 0 {
            assert_eq!(ran.status, 0, "{ran:?}");
            assert_eq!(fs::metadata(trial.path("a file")).expect("there").uid(), 54321);
            assert_eq!(trial.look(&other).status, 0);
            trial.undoes(&other);
            assert_eq!(fs::metadata(trial.path("a file")).expect("there").uid(), 0);
        } else {
            assert_eq!(ran.status, 1, "{ran:?}");
            assert_eq!(trial.read("a file"), "x");
        }
    });
}

#[test]
fn a_new_file_is_readable_by_all_only_without_a_secret() {
    in_every_shell(|trial| {
        trial.acts(&file(trial, "x"));
        assert_eq!(mode(trial, "a file"), 0o644);
        trial.variable("LONGSHORE_SECRET_db", "it's $(touch x)\n");
        let secret = File {
            to: trial.at("secret"),
            content: Some(format!("PASSWORD={}!", SecretId::new("db").placeholder())),
            ..File::default()
        };
        trial.acts(&secret);
        assert_eq!(trial.read("secret"), "PASSWORD=it's $(touch x)\n!");
        assert_eq!(mode(trial, "secret"), 0o600);
        assert_eq!(trial.look(&secret).status, 0);
    });
}

#[test]
fn a_secret_content_is_never_sent_for_a_difference() {
    in_every_shell(|trial| {
        trial.variable("LONGSHORE_DIFF", "1");
        trial.variable("LONGSHORE_SECRET_db", "hunter2");
        trial.write("a file", "old secret\n");
        let secret = file(trial, &SecretId::new("db").placeholder());
        let said = trial.look(&secret).out;
        assert!(!said.contains("old secret") && said.contains("not shown"), "{said}");
        let declared = File { secret: true, ..file(trial, "new\n") };
        let said = trial.look(&declared).out;
        assert!(!said.contains("old secret") && said.contains("not shown"), "{said}");
        let open = file(trial, "new\n");
        let said = open.difference(&trial.look(&open).out);
        assert!(said.contains("-old secret\n+new\n"), "{said}");
    });
}

#[test]
fn a_link_is_replaced_and_put_back_a_folder_is_refused() {
    in_every_shell(|trial| {
        trial.write("target", "target");
        symlink("target", trial.path("a file")).expect("writable");
        let file = file(trial, "new");
        assert_eq!(trial.look(&file).status, 10);
        trial.acts(&file);
        assert_eq!((trial.read("a file").as_str(), trial.read("target").as_str()), ("new", "target"));
        trial.undoes(&file);
        assert_eq!(fs::read_link(trial.path("a file")).expect("a link").to_str(), Some("target"));

        fs::create_dir(trial.path("folder")).expect("writable");
        let folder = File { to: trial.at("folder"), ..file };
        let ran = trial.act(&folder);
        assert_eq!((ran.status, ran.err), (1, format!("{} is a directory\n", trial.at("folder"))));
        assert_eq!(trial.look(&folder).status, 1);
    });
}

#[test]
fn missing_folders_are_made_only_when_asked_and_then_taken_away() {
    in_every_shell(|trial| {
        let file = File { to: trial.at("one/two/three"), ..file(trial, "x") };
        assert_eq!(trial.look(&file).status, 10);
        let ran = trial.act(&file);
        assert_eq!(ran.status, 1);
        assert!(ran.err.contains("is missing (`parents = true` makes it)"), "{ran:?}");
        let file = File { parents: true, ..file };
        trial.acts(&file);
        assert_eq!(trial.read("one/two/three"), "x");
        trial.undoes(&file);
        assert!(!trial.path("one").exists());
        assert_eq!(trial.names("step"), ["before"; 0]);
    });
}

#[test]
fn an_absent_file_stays_away_and_comes_back() {
    in_every_shell(|trial| {
        trial.write("a file", "x");
        let gone = File { state: FileState::Absent, content: None, ..file(trial, "") };
        assert_eq!(trial.look(&gone).out, format!("remove {}\n", trial.at("a file")));
        trial.acts(&gone);
        assert!(!trial.path("a file").exists());
        assert_eq!(trial.look(&gone).status, 0);
        trial.acts(&gone);
        trial.undoes(&gone);
        assert_eq!(trial.read("a file"), "x");
    });
}

#[test]
fn a_second_attempt_does_not_take_its_own_work_for_the_original() {
    in_every_shell(|trial| {
        trial.write("a file", "old");
        trial.acts(&file(trial, "new"));
        trial.write("a file", "half");
        trial.acts(&file(trial, "new"));
        trial.undoes(&file(trial, "new"));
        assert_eq!(trial.read("a file"), "old");
        // Nothing is left to take back, so nothing is touched.
        trial.write("a file", "later");
        trial.undoes(&file(trial, "new"));
        assert_eq!(trial.read("a file"), "later");
    });
}

#[test]
fn an_act_cut_anywhere_is_taken_back_without_leftovers() {
    in_every_shell(|trial| {
        fs::create_dir(trial.path("d")).expect("writable");
        let file = File { to: trial.at("d/f"), content: Some("new".to_owned()), ..File::default() };
        let act = program(&file).act;
        // The calls of the act are cut one after the other: each is a place where it may have died.
        let places: Vec<_> =
            ["longshore_save\n", "chmod \"${mode", "sync \"$new\"", "mv -f \"$new\" \"$to\"", "sync \"$dir\""]
                .into_iter()
                .collect();
        for place in places {
            let at = act.rfind(place).unwrap_or_else(|| panic!("`{place}` is not there"));
            trial.write("d/f", "old");
            let cut = format!("{}kill -9 $$\n{}", &act[..at], &act[at..]);
            let ran = trial.run(&cut);
            assert_eq!(ran.status, -1, "{place}: {ran:?}");
            trial.undoes(&file);
            assert_eq!((trial.read("d/f").as_str(), trial.names("d")), ("old", vec!["f".to_owned()]), "{place}");
            fs::remove_file(trial.path("step/before")).ok();
        }
    });
}

#[test]
fn a_full_disk_is_an_error_and_the_old_file_stays() {
    in_every_shell(|trial| {
        trial.write("a file", "old");
        let program = program(&file(trial, "new")).act;
        // The content cannot be stored: what was written is shorter than what was to be.
        let ran = trial.run(&program.replacen("longshore_content >>\"$new\"", "false", 1));
        assert_eq!(ran.status, 1);
        assert!(ran.err.contains("is the disk full?"), "{ran:?}");
        assert_eq!(trial.read("a file"), "old");
    });
}

#[test]
fn a_large_file_is_taken_from_the_upload_and_compared_by_digest() {
    in_every_shell(|trial| {
        let large: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        trial.write("local", &large);
        let mut file = File { to: trial.at("a file"), from: Some(trial.at("local")), ..File::default() };
        file.load_rendered(Path::new("/")).expect("readable");
        let Some(crate::steps::Upload::File(upload)) = program(&file).upload else { panic!("streamed") };
        assert_eq!((upload.size, upload.from.clone()), (200_000, trial.path("local")));
        assert_eq!(trial.look(&file).status, 10);
        fs::write(trial.path("step/upload"), &large[1..]).expect("writable");
        let ran = trial.act(&file);
        assert!(ran.status == 1 && ran.err.contains("did not arrive"), "{ran:?}");
        fs::write(trial.path("step/upload"), &large).expect("writable");
        trial.acts(&file);
        assert!(fs::read(trial.path("a file")).expect("there") == large);
        assert!(!trial.path("step/upload").exists());
        assert_eq!(trial.look(&file).status, 0);
    });
}

#[test]
fn what_is_left_behind_says_what_was_written() {
    in_every_shell(|trial| {
        let ran = trial.acts(&file(trial, "abc"));
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            ran.out,
            format!(
                "longshore-receipt path {}\nlongshore-receipt size 3\nlongshore-receipt sha256 {sha}\n",
                trial.at("a file")
            )
        );
    });
}

#[test]
fn wrong_arguments_are_all_named() {
    let file = File {
        to: "etc/x/".to_owned(),
        content: Some(String::new()),
        from: Some("{{x}}".to_owned()),
        mode: Some("abc".to_owned()),
        owner: Some("a:b:c".to_owned()),
        ..File::default()
    };
    let keys: Vec<_> = file.problems().into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["to", "to", "from", "mode", "owner"]);
    let good = File { to: "/etc/x".to_owned(), content: Some("x".to_owned()), ..File::default() };
    assert_eq!(good.problems(), []);
}

#[test]
fn a_template_file_is_rendered_and_a_copied_one_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("t"), "port={{port}}\n").expect("writable");
    let render = |file: &mut File| {
        file.load(folder.path()).expect("readable");
        let mut keys = Vec::new();
        file.templates(&mut |_, key, text| {
            keys.push(key.to_owned());
            *text = text.replace("{{port}}", "80");
        });
        file.load_rendered(folder.path()).expect("readable");
        (keys, file.inline())
    };
    let mut template = File { to: "/x".to_owned(), template: Some("t".to_owned()), ..File::default() };
    assert_eq!(
        render(&mut template),
        (vec!["to".to_owned(), "template".to_owned()], Some(Content::Text("port=80\n".to_owned())))
    );
    assert!(template.load(folder.path()).is_err(), "a plan's content came from a document");
    let mut copy = File { to: "/x".to_owned(), from: Some("t".to_owned()), ..File::default() };
    assert_eq!(
        render(&mut copy),
        (vec!["to".to_owned(), "from".to_owned()], Some(Content::Text("port={{port}}\n".to_owned())))
    );
}

#[test]
fn s_21_a_copied_file_is_named_after_the_release_and_is_the_one_that_was_meant() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let large = "x".repeat(100_000);
    for (name, text, sum) in [
        ("app-1.txt", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("app-2.txt", large.as_str(), "0b73f3e355b0a3ddd2e2ad7f3c1ebaa4ba7eb2d0b3b5b0ec8c4f9b9e00000000"),
    ] {
        fs::write(folder.path().join(name), text).expect("writable");
        let mut file = File { to: "/x".to_owned(), from: Some("app-{{n}}.txt".to_owned()), ..File::default() };
        file.sha256 = Some(sum.to_owned());
        file.load(folder.path()).expect("not yet asked for");
        file.templates(&mut |_, _, text| *text = text.replace("{{n}}", &name[4..5]));
        let loaded = file.load_rendered(folder.path());
        if name == "app-1.txt" {
            loaded.expect("it is the file that was meant");
            assert_eq!(file.inline(), Some(Content::Text("abc".to_owned())));
        } else {
            let said = loaded.expect_err("another file").to_string();
            assert!(said.contains("is not the file that was meant: its SHA-256 is "), "{said}");
            assert!(file.loaded.is_none());
        }
    }
    let wrong =
        File { to: "/x".to_owned(), from: Some("a".to_owned()), sha256: Some("12".to_owned()), ..File::default() };
    assert_eq!(wrong.problems()[0].key, "sha256");
}
