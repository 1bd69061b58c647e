//! Commands that touch no host: `init`, `lint`, `hosts`, `schema`, `completions`, `man`; and mistyped ones.

use std::fs;

use insta::assert_snapshot;
use serde_json::Value;

use super::program::run;

#[test]
fn a_new_project_is_made_and_lints_clean() {
    let folder = tempfile::tempdir().unwrap();
    assert_snapshot!(run(folder.path(), &["init", "myfleet"]).screen(), @r"
    -- standard error
    made myfleet/inventory/fleet.toml
    made myfleet/playbooks/hello.toml
    made myfleet/playbooks/upgrade.toml
    made myfleet/roles/myapp/role.toml
    made myfleet/roles/myapp/releases.toml
    made myfleet/roles/myapp/CHANGELOG.md
    made myfleet/.gitignore

    Next: write your hosts into myfleet/inventory/fleet.toml, then
      cd myfleet
      longshore lint
      longshore trust all
      longshore check all
    -- exit code 0
    ");
    let project = folder.path().join("myfleet");
    assert_snapshot!(run(&project, &["lint"]).screen(), @r"
    -- standard error
    2 hosts, 1 role, 2 playbooks: no problems
    -- exit code 0
    ");
    assert_snapshot!(run(&project, &["hosts"]).screen(), @r"
    ╭────────┬───────────────────┬─────────┬────────┬────────╮
    │ host   │ reached at        │ profile │ groups │ tags   │
    ├────────┼───────────────────┼─────────┼────────┼────────┤
    │ first  │ deploy@192.0.2.11 │ compose │ prod   │ canary │
    │ second │ deploy@192.0.2.12 │ compose │ prod   │        │
    ╰────────┴───────────────────┴─────────┴────────┴────────╯
    2 hosts
    -- exit code 0
    ");
    assert_snapshot!(run(&project, &["plan", "upgrade", "--offline"]).screen(), @r#"
    upgrade
    apply: 2 hosts in 2 waves; role myapp, upgrade; to 1.1.0; plan
      sha256:DIGEST

    ╭────────┬───────┬────────┬──────┬───────────────────╮
    │ wave   │ hosts │ which  │ soak │ then              │
    ├────────┼───────┼────────┼──────┼───────────────────┤
    │ canary │ 1     │ first  │ 2m   │ goes on by itself │
    │ wave 1 │ 1     │ second │ 2m   │                   │
    ╰────────┴───────┴────────┴──────┴───────────────────╯

      ! made without asking 2 hosts for their versions: it can be read, but not be
        applied to them

    At a glance
      time       about 3m 20s a host, at most 1m 10s to take it back; about 11m in
                 all, soaks included
      downtime   about 34s a host
      no return  none: a host that fails is taken back by itself
      canary     1 host of 2; every profile is in it
      halts      at the first failed host, or the first inconclusive host
      asked      nothing, while all goes well

    first, second (profile compose)
    ╭───┬────────────────────────────────┬────────┬────────────────────────────────╮
    │   │ step                           │ effect │ undo                           │
    ├───┼────────────────────────────────┼────────┼────────────────────────────────┤
    │ 1 │ Fetch the image: All variables │ read   │ nothing to undo                │
    │   │ of the compose file are set    │        │                                │
    │   │   said=$(env TAG=1.1.0 docker  │        │                                │
    │   │   compose config -q 2>&1) || { │        │                                │
    │   │   echo "$said" >&2; exit …     │        │                                │
    │ 2 │ Fetch the image: The images    │ read   │ nothing to undo                │
    │   │ are there                      │        │                                │
    │   │   env TAG=1.1.0 docker compose │        │                                │
    │   │   pull -q                      │        │                                │
    │ 3 │ Write the new tag down         │ code   │ by itself                      │
    │   │   /srv/myapp/.env: set TAG     │        │                                │
    │ 4 │ Start the new release          │ code   │ What ran before is known, then │
    │   │   asked=$(docker compose       │        │ Start the release of before    │
    │   │   config </dev/null | awk -v   │        │                                │
    │   │   service=web '; /^ [^ ]/ {    │        │                                │
    │   │   insi…                        │        │                                │
    ╰───┴────────────────────────────────┴────────┴────────────────────────────────╯
    gates: There is room for the image
    health: The application answers; The containers run and are healthy

    Rules
      - Up to 10 hosts at once within a wave.
      - The first host that fails halts the run.
      - Any number of hosts may be unreachable.
      - The first host that is inconclusive halts the run.
      - A host that fails before its point of no return is taken back, last step
        first.
    -- standard error

    hint: leave out `--offline` for a plan that can be applied
    -- exit code 0
    "#);
}

#[test]
fn nothing_that_is_there_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["init"]).expect(0);
    fs::write(folder.path().join("inventory/fleet.toml"), "[hosts]\n").unwrap();
    assert_snapshot!(run(folder.path(), &["init"]).screen(), @r"
    -- standard error
    error: `inventory/fleet.toml` is there already; nothing was written

    hint: name a new folder: `longshore init myfleet`
    -- exit code 2
    ");
    assert_eq!(fs::read_to_string(folder.path().join("inventory/fleet.toml")).unwrap(), "[hosts]\n");
}

#[test]
fn without_a_project_every_command_says_so_and_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(folder.path(), &["lint"]);
    first.expect(2);
    assert!(first.err.contains("hint: `longshore init myfleet` makes one; `-C DIR` names another"), "{}", first.err);
    let commands: [&[&str]; 9] = [
        &["hosts"],
        &["trust", "all"],
        &["check", "all"],
        &["plan", "upgrade"],
        &["apply", "upgrade"],
        &["exec", "all", "--", "true"],
        &["history"],
        &["status"],
        &["resume"],
    ];
    for words in commands {
        let ran = run(folder.path(), words);
        assert_eq!((ran.code, &ran.err, ran.out.as_str()), (2, &first.err, ""), "{words:?}");
    }
}

#[test]
fn lint_tells_every_problem_with_its_line_and_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["init"]).expect(0);
    let inventory = "[hosts.web-1]\naddres = \"192.0.2.1\"\nport = \"22\"\n";
    fs::write(folder.path().join("inventory/fleet.toml"), inventory).unwrap();
    fs::write(folder.path().join("playbooks/hello.toml"), "hosts = \"prodd\"\n\n[[steps]]\ncommand = \"uptime\"\n")
        .unwrap();
    fs::remove_file(folder.path().join("playbooks/upgrade.toml")).unwrap();
    let ran = run(folder.path(), &["lint"]);
    assert_snapshot!(ran.screen(), @r#"
    error: unknown key `addres`
     --> inventory/fleet.toml:2:1
      |
    2 | addres = "192.0.2.1"
      | ^^^^^^
      |
      = hint: did you mean `address`?

    error: `port` must be a whole number
     --> inventory/fleet.toml:3:8
      |
    3 | port = "22"
      |        ^^^^ this is text
      |
      = hint: write `22`, without quotes

    error: the variable `path` is not declared
      --> roles/myapp/role.toml:20:20
       |
    20 | disk = { path = "{{path}}", free = "1GiB" }
       |                    ^^^^
       |
       = hint: declare it in the role's `[vars]`, or set it in the inventory or the playbook

    error: there is no host or group `prodd`
     --> playbooks/hello.toml:1:10
      |
    1 | hosts = "prodd"
      |          ^^^^^
      |
      = hint: there are `web-1` and `all`

    -- standard error
    1 host, 1 role, 1 playbook: 4 errors
    -- exit code 2
    "#);
    // The same for programs: a line for each problem, with its place.
    let lines = run(folder.path(), &["lint", "--output", "json"]);
    lines.expect(2);
    let first: Value = serde_json::from_str(lines.out.lines().next().unwrap()).unwrap();
    assert_eq!(first["place"]["line"], 2, "{first}");
}

#[test]
fn what_is_mistyped_is_answered_with_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["init"]).expect(0);
    let typed: [&[&str]; 13] = [
        &["aply"],
        &["hosts", "frist"],
        &["hosts", "tag=canry"],
        &["hosts", "web-*"],
        &["hosts", "prod:&all:!all"],
        &["check"],
        &["check", "all", "--role", "myap"],
        &["plan", "upgrad"],
        &["plan", "upgrade", "--offline", "--to", "1.2"],
        &["apply", "nosuch.json"],
        &["history", "show", "99"],
        &["history", "show", "--host", "web 1"],
        &["lab", "fault", "web-1", "hagn"],
    ];
    let mut told = String::new();
    for words in typed {
        let ran = run(folder.path(), words);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{words:?}: {}", ran.err);
        told.push_str(&format!("$ longshore {}\n{}\n", words.join(" "), ran.err.trim_end()));
    }
    assert_snapshot!(told, @r"
    $ longshore aply
    error: unrecognized subcommand 'aply'

      tip: a similar subcommand exists: 'apply'

    Usage: longshore [OPTIONS] <COMMAND>

    For more information, try '--help'.
    $ longshore hosts frist
    error: there is no host or group `frist`

    hint: did you mean `first`?
    $ longshore hosts tag=canry
    error: there is no host with the tag `canry`

    hint: did you mean `canary`?
    $ longshore hosts web-*
    error: `web-*` selects no host

    hint: `longshore hosts` lists hosts, groups and tags
    $ longshore hosts prod:&all:!all
    error: `prod:&all:!all` selects no host

    hint: `longshore hosts` lists hosts, groups and tags
    $ longshore check
    error: no hosts are named

    hint: `longshore check all` looks at the whole fleet
    $ longshore check all --role myap
    error: there is no role `myap`

    hint: did you mean `myapp`?
    $ longshore plan upgrad
    error: there is no playbook `upgrad`

    hint: did you mean `upgrade`?
    $ longshore plan upgrade --offline --to 1.2
    error: role `myapp` has no release 1.2
      = hint: its `releases.toml` has `1.0.0` and `1.1.0`

    1 error; nothing was done
    $ longshore apply nosuch.json
    error: there is no plan `nosuch.json`

    hint: make one with `longshore plan PLAYBOOK -o FILE`
    $ longshore history show 99
    error: there is no run `99`

    hint: `longshore history` lists the runs
    $ longshore history show --host web 1
    error: there is no run `last`

    hint: `longshore history` lists the runs
    $ longshore lab fault web-1 hagn
    error: `hagn` is no fault

    hint: did you mean `hang`?
    ");
}

#[test]
fn the_same_problem_of_many_hosts_is_one_message_with_their_names() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["init"]).expect(0);
    let mut inventory = String::from("[defaults]\nprofile = \"host\"\n");
    for number in 1..=40 {
        inventory.push_str(&format!("[hosts.web-{number}]\naddress = \"192.0.2.{number}\"\n"));
    }
    fs::write(folder.path().join("inventory/fleet.toml"), inventory).unwrap();
    fs::write(
        folder.path().join("playbooks/upgrade.toml"),
        "role = \"myapp\"\naction = \"upgrade\"\nhosts = \"all\"\n",
    )
    .unwrap();
    let ran = run(folder.path(), &["plan", "upgrade", "--offline"]);
    assert_snapshot!(ran.screen(), @r#"
    -- standard error
    error: the variable `path` is not declared
      --> roles/myapp/role.toml:20:20
       |
    20 | disk = { path = "{{path}}", free = "1GiB" }
       |                    ^^^^
       |
       = hint: declare it in the role's `[vars]`, or set it in the inventory or the playbook

    error: the profile `host` of hosts `web-1`, `web-2` and 38 more has no verb `version`
      --> roles/myapp/role.toml:10:8
       |
    10 | verb = "version"
       |        ^^^^^^^^^
       |
       = hint: add `[profiles.host.verbs.version]` to the inventory

    error: the profile `host` of hosts `web-1`, `web-2` and 38 more has no verb `fetch`
      --> roles/myapp/role.toml:25:8
       |
    25 | verb = "fetch"
       |        ^^^^^^^
       |
       = hint: add `[profiles.host.verbs.fetch]` to the inventory

    error: the profile `host` of hosts `web-1`, `web-2` and 38 more has no verb `pin`
      --> roles/myapp/role.toml:29:8
       |
    29 | verb = "pin"
       |        ^^^^^
       |
       = hint: add `[profiles.host.verbs.pin]` to the inventory

    error: the profile `host` of hosts `web-1`, `web-2` and 38 more has no verb `switch`
      --> roles/myapp/role.toml:41:8
       |
    41 | verb = "switch"
       |        ^^^^^^^^
       |
       = hint: add `[profiles.host.verbs.switch]` to the inventory

    5 errors; nothing was done
    -- exit code 2
    "#);
}

#[test]
fn s20_a_plan_that_was_changed_or_is_none_is_not_applied() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["init"]).expect(0);
    run(folder.path(), &["plan", "hello", "--offline", "-o", "plan.json"]).expect(0);
    let plan = fs::read_to_string(folder.path().join("plan.json")).unwrap();
    fs::write(folder.path().join("plan.json"), plan.replace("uptime", "reboot")).unwrap();
    fs::write(folder.path().join("half.json"), "{\n  \"format\": 1,\n  \"dig").unwrap();
    let mut told = String::new();
    for words in [&["apply", "plan.json"][..], &["apply", "half.json"], &["apply", "plan.json", "--to", "2"]] {
        told.push_str(&run(folder.path(), words).screen());
        told.push('\n');
    }
    assert_snapshot!(told, @r"
    -- standard error
    error: `plan.json` was changed after it was made: its digest does not fit

    hint: make a new plan and review that
    -- exit code 2
    -- standard error
    error: `half.json` is not a plan: EOF while parsing a string at line 3 column 6

    hint: make one with `longshore plan PLAYBOOK -o FILE`
    -- exit code 2
    -- standard error
    error: a kept plan is applied as it is

    hint: leave out `--to`, `--limit`, `--direct` and `--from`, or make a new plan
    -- exit code 2
    ");
}

#[test]
fn every_schema_is_a_valid_one() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["inventory", "role", "playbook", "profile", "releases"] {
        let ran = run(folder.path(), &["schema", kind]);
        let schema: Value = serde_json::from_str(&ran.expect(0).out).unwrap();
        assert!(jsonschema::meta::is_valid(&schema), "{kind}");
        assert!(schema["properties"].as_object().is_some_and(|keys| !keys.is_empty()), "{kind}");
    }
}

#[test]
fn completions_know_the_commands_and_the_manual_has_a_page_for_each() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(folder.path(), &["completions", shell]);
        for command in ["apply", "resume", "history"] {
            assert!(ran.expect(0).out.contains(command), "{shell} does not know `{command}`");
        }
    }
    assert!(run(folder.path(), &["man"]).expect(0).out.contains(".TH longshore 1"));
    run(folder.path(), &["man", "--dir", "pages"]).expect(0);
    for page in ["longshore.1", "longshore-apply.1", "longshore-lab-up.1"] {
        assert!(folder.path().join("pages").join(page).is_file(), "no {page}");
    }
}
