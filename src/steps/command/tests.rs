//! Commands and scripts, in real shells.

use std::fs;

use super::*;
use crate::{
    model::{SecretId, quote},
    steps::{
        Action, Script,
        trial::{Ran, Trial, in_every_shell, program},
    },
};

fn read(text: &str) -> Command {
    toml::from_str::<IndexMap<String, Command>>(&format!("command = {text}"))
        .unwrap_or_else(|error| panic!("{error}"))
        .swap_remove("command")
        .expect("there")
}

fn shell(text: &str) -> Command {
    CommandLine::Shell(text.to_owned()).into()
}

fn ran(status: i32, out: &str) -> Ran {
    Ran { status, out: out.to_owned(), err: String::new() }
}

#[test]
fn a_command_is_text_words_or_a_table() {
    assert_eq!(read("'docker compose up -d'"), shell("docker compose up -d"));
    assert_eq!(
        read("['systemctl', 'restart', 'my app']").run,
        CommandLine::Words(vec!["systemctl".to_owned(), "restart".to_owned(), "my app".to_owned()])
    );
    let table = read("{ run = ['a'], dir = '/srv', ok = [0, 3], unless = 'true' }");
    assert_eq!((table.dir.as_deref(), table.ok.as_slice()), (Some("/srv"), &[0, 3][..]));
    for (wrong, said) in [
        ("{ run = 'a', dirr = '/x' }", "unknown field `dirr`"),
        ("{ dir = '/x' }", "missing field `run`"),
        ("3", "a command as text, a list of words, or a table with `run`"),
        ("['a', 3]", "invalid type: integer `3`, expected a string"),
    ] {
        let error = toml::from_str::<IndexMap<String, Command>>(&format!("command = {wrong}")).expect_err(wrong);
        assert!(error.message().contains(said), "{wrong}: {}", error.message());
    }
}

#[test]
fn an_action_survives_the_way_through_a_plan() {
    for text in [
        r#"{"command":{"run":"a b"}}"#,
        r#"{"command":{"run":["a","b c"],"dir":"/x","env":{"A":"b"},"ok":[0,3]}}"#,
        r#"{"file":{"to":"/x","content":"","loaded":{"hex":"00ff"}}}"#,
        r#"{"check":{"http":{"url":"http://x/","status":[200,"3xx"],"json":{"a.b":[1,"x",null]}}}}"#,
        r#"{"wait":{"for":"10s"}}"#,
    ] {
        let action: Action = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(serde_json::to_string(&action).expect("serializable"), text);
    }
}

#[test]
fn words_arrive_as_they_were_written() {
    in_every_shell(|trial| {
        let words = ["printf", "%s|", "a  b", "$(touch x)", "it's", "*", "", "-rf", "two\nlines", "~", "äöü"];
        let command: Command = CommandLine::Words(words.map(str::to_owned).to_vec()).into();
        assert_eq!(trial.act(&command), ran(0, "a  b|$(touch x)|it's|*||-rf|two\nlines|~|äöü|"));
    });
}

#[test]
fn a_text_stops_at_its_first_failure_and_says_how_it_ended() {
    in_every_shell(|trial| {
        assert_eq!(trial.act(&shell("echo one\nfalse\necho two")), ran(1, "one\n"));
        assert_eq!(trial.act(&shell("exit 7")).status, 7);
        assert_eq!(trial.act(&shell("cat; echo end # with a comment")), ran(0, "end\n"));
        let broken = trial.act(&shell("echo 'open"));
        assert!(broken.status != 0 && !broken.err.is_empty(), "{broken:?}");
        assert_eq!(trial.act(&Command { ok: vec![0, 3], ..shell("exit 3") }).status, 0);
        assert_eq!(trial.act(&Command { ok: vec![0, 3], ..shell("exit 4") }).status, 4);
        assert_eq!(trial.act(&Command { ok: vec![3], ..shell("exit 0") }).status, 0);
    });
}

#[test]
fn folder_and_variables_hold_for_the_command_and_its_condition() {
    in_every_shell(|trial| {
        fs::create_dir(trial.path("a folder")).expect("writable");
        let env = [("A".to_owned(), "it's $HOME".to_owned()), ("B".to_owned(), String::new())].into();
        let command = Command { dir: Some("~/a folder".to_owned()), env, ..shell("pwd; printf %s \"$A$B\" >here") };
        trial.acts(&command);
        assert_eq!(trial.read("a folder/here"), "it's $HOME");
        let command = Command { unless: Some("test -e here && [ \"$A\" ]".to_owned()), ..command };
        assert_eq!(trial.look(&command), ran(0, ""));
        let elsewhere = Command { dir: Some(trial.at("not there")), ..command };
        assert_eq!(trial.look(&elsewhere).status, 10);
        assert_eq!(trial.act(&elsewhere).status, 1);
    });
}

#[test]
fn there_is_nothing_to_do_where_a_condition_holds() {
    in_every_shell(|trial| {
        trial.write("there", "");
        let there = |trial: &Trial| Some(trial.at("there"));
        let away = |trial: &Trial| Some(trial.at("away"));
        for (command, status) in [
            (Command { unless: Some("true".to_owned()), ..shell("x") }, 0),
            (Command { unless: Some("exit 5".to_owned()), ..shell("x") }, 10),
            (Command { unless: Some("echo 'open".to_owned()), ..shell("x") }, 10),
            (Command { creates: there(trial), ..shell("x") }, 0),
            (Command { creates: away(trial), ..shell("x") }, 10),
            (Command { removes: away(trial), ..shell("x") }, 0),
            (Command { removes: there(trial), ..shell("x") }, 10),
        ] {
            assert_eq!(trial.look(&command).status, status, "{command:?}");
        }
        assert_eq!(program(&shell("x")).look, None);
        // What it prints would be taken for the host's own words when the step is done.
        assert_eq!(trial.look(&Command { removes: there(trial), ..shell("rm x") }).out, "");
    });
}

#[test]
fn a_secret_is_used_and_not_said() {
    in_every_shell(|trial| {
        trial.variable("LONGSHORE_SECRET_token", "it's $(touch x)");
        let word = SecretId::new("token").placeholder();
        let words: Command = CommandLine::Words(vec!["printf".to_owned(), "%s".to_owned(), word.clone()]).into();
        assert_eq!(trial.act(&words).out, "it's $(touch x)");
        assert_eq!(words.summary(), "printf %s '[hidden]'");
        let rendered = format!("printf %s {}", quote(&word));
        assert_eq!(trial.act(&shell(&rendered)).out, "it's $(touch x)");
        assert_eq!(shell(&rendered).summary(), "printf %s [hidden]");
        assert!(!format!("{:?}", program(&words)).contains("touch"));
    });
}

#[test]
fn a_script_runs_as_a_file_of_its_own() {
    in_every_shell(|trial| {
        trial.variable("LONGSHORE_SECRET_token", "s3cret");
        trial.write(
            "run.sh",
            "#!/bin/sh\necho \"$0\" | grep -c /script\nprintf '%s,' \"$@\" \"$A\" \"{{x}}\"\nexit 4\n",
        );
        let mut script = Script {
            file: Some(trial.at("run.sh")),
            args: vec!["a b".to_owned(), "$(touch x)".to_owned(), SecretId::new("token").placeholder()],
            env: [("A".to_owned(), "1".to_owned())].into(),
            ok: vec![4],
            ..Script::default()
        };
        script.load(std::path::Path::new("/")).expect("readable");
        assert_eq!(trial.act(&script), ran(0, "1\na b,$(touch x),s3cret,1,{{x}},"));

        let text = Script {
            text: Some(format!("echo 'it''s' {}\nfalse\necho not here", quote(&SecretId::new("token").placeholder()))),
            ..Script::default()
        };
        assert_eq!(trial.act(&text), ran(1, "its s3cret\n"));
        assert!(!trial.read("step/script").contains("s3cret"));
        assert_eq!(text.summary(), "script: echo 'it''s' [hidden] …");
    });
}

#[test]
fn the_first_line_of_a_script_names_its_program() {
    in_every_shell(|trial| {
        trial.write("run.awk", "#!/usr/bin/env -S awk -f\nBEGIN { print \"from awk\" }\n");
        trial.write("run.sh", "#! /bin/sh -u\necho $nothing\n");
        let mut script = Script { file: Some(trial.at("run.sh")), ..Script::default() };
        script.load(std::path::Path::new("/")).expect("readable");
        assert!(trial.act(&script).err.contains("nothing"));
        let mut script = Script { file: Some(trial.at("run.awk")), template: true, ..Script::default() };
        script.load(std::path::Path::new("/")).expect("readable");
        assert_eq!(script.problems().len(), 1, "values would be quoted for a shell");
        let interpreter = program(&script).act;
        assert!(interpreter.contains("/usr/bin/env '\\''-S awk -f'\\''"), "{interpreter}");
    });
}

#[test]
fn wrong_arguments_are_all_named() {
    let command =
        Command { dir: Some("relative".to_owned()), env: [("1X".to_owned(), String::new())].into(), ..shell(" ") };
    let keys: Vec<_> = command.problems().into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["run", "dir", "env.1X"]);
    let script = Script { file: Some("a".to_owned()), text: Some("b".to_owned()), ..Script::default() };
    assert_eq!(script.problems().len(), 1);
}

#[test]
fn the_schema_takes_what_is_read_and_nothing_else() {
    let schema = serde_json::to_value(schemars::schema_for!(Action)).expect("serializable");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    for (text, is_good) in [
        (r#"{"command":"a b"}"#, true),
        (r#"{"command":["a","b"]}"#, true),
        (r#"{"command":{"run":["a"],"ok":[3]}}"#, true),
        (r#"{"command":{"runn":"a"}}"#, false),
        (r#"{"command":[]}"#, false),
        (r#"{"check":{"http":{"url":"http://x/","status":"2xx","contains":["a"],"json":{"a":1}}}}"#, true),
        (r#"{"check":{"http":{"url":"http://x/","status":"ok"}}}"#, false),
        (r#"{"check":{"command":{"run":"x","exit":3,"contains":"y"}}}"#, true),
        (r#"{"check":{"disk":{"path":"/","free":"2GiB"}}}"#, true),
        (r#"{"file":{"to":"/x","content":"y","state":"present"}}"#, true),
        (r#"{"file":{"to":"/x","loaded":{"text":"y"}}}"#, false),
        (r#"{"wait":{"for":"10s"}}"#, true),
        (r#"{"notify":{"message":"x","on-failure":"fail"}}"#, true),
    ] {
        let value: serde_json::Value = serde_json::from_str(text).expect(text);
        assert_eq!(validator.is_valid(&value), is_good, "{text}");
    }
}

#[test]
fn the_lines_of_a_shell_text_stay_apart_in_one_line() {
    let table = [
        ("rm -rf .new\ncp -R a \\\n  b\n\n# why\nmv b c\n", "rm -rf .new; cp -R a b; mv b c"),
        ("if x\nthen\n  y\nfi", "if x; then y; fi"),
        ("a |\n  b &&\nc", "a | b && c"),
        ("uptime", "uptime"),
    ];
    for (text, line) in table {
        assert_eq!(shell::flat(text), line);
    }
}
