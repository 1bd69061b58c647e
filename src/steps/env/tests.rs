//! The env step, in real shells and with their awk.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::*;
use crate::{
    model::SecretId,
    steps::trial::{Trial, in_every_shell, program},
};

fn env(trial: &Trial, set: &[(&str, &str)]) -> Env {
    Env {
        file: trial.at("app.env"),
        set: set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Env::default()
    }
}

/// What a shell makes of the file.
fn sourced(trial: &Trial, key: &str) -> String {
    let ran = trial.run(&format!(". {} && printf %s \"${key}\"", quote(&trial.at("app.env"))));
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{}", trial.read("app.env"));
    ran.out
}

#[test]
fn a_key_is_changed_in_its_place_and_all_else_is_kept() {
    in_every_shell(|trial| {
        let before = "# The image.\n\nexport TAG=1.0 # pinned\nOTHER='a b'\nTAG_2 = x\nTEXT=\"two\nTAG=no\n\"\nLAST=1";
        trial.write("app.env", before);
        fs::set_permissions(trial.path("app.env"), fs::Permissions::from_mode(0o640)).expect("settable");
        let step = Env {
            remove: vec!["OTHER".to_owned(), "NOT_THERE".to_owned()],
            ..env(trial, &[("TAG", "1.1"), ("NEW", "n")])
        };
        let looked = trial.look(&step);
        assert_eq!((looked.status, looked.out.as_str()), (10, "change TAG\nadd NEW\nremove OTHER\n"), "{looked:?}");
        trial.acts(&step);
        assert_eq!(
            trial.read("app.env"),
            "# The image.\n\nexport TAG=1.1 # pinned\nTAG_2 = x\nTEXT=\"two\nTAG=no\n\"\nLAST=1\nNEW=n\n"
        );
        assert_eq!(fs::metadata(trial.path("app.env")).expect("there").permissions().mode() & 0o777, 0o640);
        let looked = trial.look(&step);
        assert_eq!((looked.status, looked.out.as_str(), looked.err.as_str()), (0, "", ""));
        trial.undoes(&step);
        assert_eq!(trial.read("app.env"), before);
    });
}

#[test]
fn any_value_reads_back_in_a_shell_and_is_then_unchanged() {
    in_every_shell(|trial| {
        for value in [
            "",
            "plain-1.2:3/4@x",
            "a b",
            "it's",
            "say \"hi\"",
            "$HOME `id` $(touch x)",
            "back\\slash",
            "back\\slash at the end\\",
            "it's $5 \\n \"x\"",
            "# no comment",
            "two\nlines",
            "\nends\n",
            "äöü €",
            "-rf",
            "a=b&c|d;e",
            "~",
            "1.0",
            "%s\\101",
        ] {
            trial.write("app.env", "A=1\nKEY=old # said\nZ=2\n");
            let step = env(trial, &[("KEY", value)]);
            trial.acts(&step);
            assert_eq!(sourced(trial, "KEY"), value, "{}", trial.read("app.env"));
            assert_eq!((sourced(trial, "A").as_str(), sourced(trial, "Z").as_str()), ("1", "2"));
            assert_eq!(trial.look(&step).status, 0, "{value:?} is not recognized in {}", trial.read("app.env"));
            trial.undoes(&step);
        }
        assert!(!trial.path("x").exists());
    });
}

#[test]
fn a_value_that_readers_would_see_differently_is_refused_without_showing_it() {
    in_every_shell(|trial| {
        trial.write("app.env", "KEY=old\n");
        let ran = trial.act(&env(trial, &[("KEY", "it's `secret`")]));
        assert_eq!(ran.status, 1);
        assert!(ran.err.contains("`KEY`") && !ran.err.contains("secret"), "{ran:?}");
        assert_eq!(trial.read("app.env"), "KEY=old\n");
    });
}

#[test]
fn numbers_are_compared_as_texts() {
    in_every_shell(|trial| {
        trial.write("app.env", "TAG=1.0\n");
        trial.acts(&env(trial, &[("TAG", "1")]));
        assert_eq!(trial.read("app.env"), "TAG=1\n");
    });
}

#[test]
fn a_value_is_the_same_however_it_is_quoted() {
    in_every_shell(|trial| {
        for text in ["KEY=a", "KEY='a'", "KEY=\"a\" # said", "  export KEY=a  ", "KEY=b\nKEY=a", "KEY=a\r"] {
            trial.write("app.env", format!("{text}\n"));
            assert_eq!(trial.look(&env(trial, &[("KEY", "a")])).status, 0, "{text:?}");
        }
        for text in ["KEY=a\nKEY=b", "KEY=\"$X\"", "#KEY=a", "KEY='a'b", "KEYS=a"] {
            trial.write("app.env", format!("{text}\n"));
            assert_eq!(trial.look(&env(trial, &[("KEY", "a")])).status, 10, "{text:?}");
        }
    });
}

#[test]
fn line_ends_of_another_system_are_kept() {
    in_every_shell(|trial| {
        trial.write("app.env", "A=1\r\nKEY=old\r\n");
        trial.acts(&env(trial, &[("KEY", "new"), ("B", "2")]));
        assert_eq!(trial.read("app.env"), "A=1\r\nKEY=new\r\nB=2\r\n");
    });
}

#[test]
fn every_missing_key_is_named_and_no_value_is() {
    in_every_shell(|trial| {
        trial.write("app.env", "HERE=topsecret\nEMPTY=\nQUOTED=''\nCOMMENT= # nothing\nVARIABLE=\"$X\"\n");
        let step = Env {
            require: ["HERE", "EMPTY", "QUOTED", "COMMENT", "VARIABLE", "AWAY", "SET"].map(str::to_owned).to_vec(),
            ..env(trial, &[])
        };
        let ran = trial.act(&step);
        assert_eq!(ran.status, 1);
        assert_eq!(
            ran.err,
            format!(
                "{} is not complete; empty: EMPTY, empty: QUOTED, empty: COMMENT, missing: AWAY, missing: SET\n",
                trial.at("app.env")
            )
        );
        let looked = trial.look(&step);
        assert!(looked.status == 1 && looked.err.contains("missing: AWAY"), "{looked:?}");
        assert_eq!(program(&step).undo, None);
        assert_eq!((step.effect(), step.undo()), (Effect::Read, Undoing::Nothing));
        let enough = Env { require: vec!["HERE".to_owned(), "SET".to_owned()], ..env(trial, &[("SET", "x")]) };
        trial.acts(&enough);
        assert_eq!(trial.look(&enough).status, 0);
    });
}

#[test]
fn a_secret_reaches_the_file_and_nothing_else() {
    in_every_shell(|trial| {
        trial.variable("LONGSHORE_SECRET_db", "hunter2 & co's");
        trial.write("app.env", "KEY=old\n");
        let step = env(trial, &[("KEY", &SecretId::new("db").placeholder())]);
        let looked = trial.look(&step);
        let ran = trial.acts(&step);
        assert!(!format!("{looked:?}{ran:?}{:?}", program(&step)).contains("hunter2"));
        assert_eq!(sourced(trial, "KEY"), "hunter2 & co's");
        assert_eq!(
            ran.out,
            format!("longshore-receipt path {}\nlongshore-receipt changes change KEY\n", trial.at("app.env"))
        );
    });
}

#[test]
fn a_link_is_followed_to_the_shared_file() {
    in_every_shell(|trial| {
        trial.write("shared.env", "KEY=old\n");
        symlink("shared.env", trial.path("app.env")).expect("writable");
        let step = env(trial, &[("KEY", "new")]);
        trial.acts(&step);
        assert_eq!(trial.read("shared.env"), "KEY=new\n");
        assert!(trial.path("app.env").is_symlink());
        trial.undoes(&step);
        assert_eq!(trial.read("shared.env"), "KEY=old\n");
        assert!(trial.path("app.env").is_symlink());
    });
}

#[test]
fn a_missing_file_is_made_only_when_asked() {
    in_every_shell(|trial| {
        let step = env(trial, &[("KEY", "new")]);
        let ran = trial.act(&step);
        assert_eq!((ran.status, ran.err), (1, format!("there is no file {}\n", trial.at("app.env"))));
        let step = Env { create: true, ..step };
        assert_eq!(trial.look(&step).out, "add KEY\n");
        trial.acts(&step);
        assert_eq!(trial.read("app.env"), "KEY=new\n");
        assert_eq!(fs::metadata(trial.path("app.env")).expect("there").permissions().mode() & 0o777, 0o600);
        trial.undoes(&step);
        assert!(!trial.path("app.env").exists());
    });
}

#[test]
fn an_open_quote_is_an_error_and_nothing_is_touched() {
    in_every_shell(|trial| {
        trial.write("app.env", "A=1\nKEY=\"open\nB=2\n");
        let ran = trial.act(&env(trial, &[("B", "3")]));
        assert_eq!(ran.status, 1);
        assert!(ran.err.contains("line 2: the quote after `KEY` is not closed"), "{ran:?}");
        assert_eq!(trial.read("app.env"), "A=1\nKEY=\"open\nB=2\n");
    });
}

#[test]
fn wrong_arguments_are_all_named() {
    let step = Env {
        file: ".env".to_owned(),
        set: [("1X".to_owned(), String::new()), ("A".to_owned(), String::new())].into(),
        remove: vec!["A".to_owned(), "b c".to_owned()],
        ..Env::default()
    };
    let keys: Vec<_> = step.problems().into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["file", "set.1X", "remove.1", "remove.0"]);
}
