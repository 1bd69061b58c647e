//! Every exit code that `docs/exit-codes.md` promises, provoked on a lab; and what is on the screen then.

use std::{fs, time::Duration};

use insta::assert_snapshot;
use longshore::lab::Fault;

use super::{lab::Lab, program::masked};

/// A playbook of one step on all hosts, one after another.
fn one_by_one(steps: &str) -> String {
    format!(
        "name = \"Try\"\nhosts = \"all\"\nrollout = {{ at-once = 1, canary = {{ hosts = 1 }}, waves = [\"rest\"] }}\n\n{steps}"
    )
}

#[test]
fn code_0_when_all_is_good() {
    let lab = Lab::new(2, &[]);
    let done = lab.run(&["apply", "upgrade", "--yes"]);
    assert_snapshot!(masked(&done.expect(0).out), @"
    ╭───────┬────────┬────────┬───────┬───────────────┬──────┬───────────╮
    │ host  │ wave   │ result │ steps │ version       │ down │ health    │
    ├───────┼────────┼────────┼───────┼───────────────┼──────┼───────────┤
    │ web-1 │ canary │ done   │ 6/6   │ 1.4.2 → 1.5.0 │ <1s  │ 1/1 green │
    │ web-2 │ wave 1 │ done   │ 6/6   │ 1.4.2 → 1.5.0 │ <1s  │ 1/1 green │
    ╰───────┴────────┴────────┴───────┴───────────────┴──────┴───────────╯

    2 hosts: 2 done. Took SPAN.
    ");
    assert_snapshot!(lab.run(&["check", "all"]).screen(), @r"
    ╭───────────┬────────┬─────────┬─────────────────────╮
    │ host      │ result │ version │ The shop is healthy │
    ├───────────┼────────┼─────────┼─────────────────────┤
    │ web-[1,2] │ green  │ 1.5.0   │ pass                │
    ╰───────────┴────────┴─────────┴─────────────────────╯

    2 hosts: 2 green. Took SPAN.
    -- standard error
    TIME check all: 2 hosts
    -- exit code 0
    ");
}

#[test]
fn code_1_when_a_host_failed_and_was_taken_back() {
    let lab = Lab::new(1, &["web-1"]);
    assert_snapshot!(lab.run(&["apply", "upgrade", "--yes"]).screen(), @r#"
    ╭───────┬────────┬───────┬─────────┬──────┬───────────╮
    │ host  │ result │ steps │ version │ down │ health    │
    ├───────┼────────┼───────┼─────────┼──────┼───────────┤
    │ web-1 │ undone │ 5/6   │ 1.4.2   │ <1s  │ 1/1 green │
    │       │ step `The shop answers with the new         │
    │       │ version` failed                             │
    ╰───────┴────────┴───────┴─────────┴──────┴───────────╯

    error: `web-1` failed and was taken back to where it was
      cause: step `The shop answers with the new version` failed
      cause: http http://localhost:8080/health 2xx: status 503 (expected 2xx):
        {"status":"error","version":"1.5.0","reason":"no connection to the price
        service…
      undone: Start the shop, Switch to the release, Stop the shop, Say which
        release is meant, Fetch the release

    hint: once mended, `longshore retry 0001 --failed` takes them through the plan
      again
    hint: `longshore history show 0001 --host web-1` prints everything that was said
      there

    1 host: 1 undone. Took SPAN.
    exit code 1: a host failed
    -- standard error
    TIME apply Upgrade the shop: 1 host
    TIME web-1: step 1/6 Fetch the release: done in SPAN
    TIME web-1: step 2/6 Say which release is meant: done in SPAN
    TIME web-1: step 3/6 Stop the shop: done in SPAN
    TIME web-1: step 4/6 Switch to the release: done in SPAN
    TIME web-1: step 5/6 Start the shop: done in SPAN
    TIME web-1: step 6/6 The shop answers with the new version: failed after SPAN: http http://localhost:8080/health 2xx: status 503 (expected 2xx): {"status":"error","version":"1.5.0","reason":"no connection to the price service…
    TIME web-1: is taken back: step `The shop answers with the new version` failed
    TIME web-1: took back Start the shop in SPAN
    TIME web-1: took back Switch to the release in SPAN
    TIME web-1: took back Stop the shop in SPAN
    TIME web-1: took back Say which release is meant in SPAN
    TIME web-1: took back Fetch the release in SPAN
    TIME web-1: check (after taking back) The shop is healthy: pass: status 200 in SPAN
    TIME web-1: undone: step `The shop answers with the new version` failed: http http://localhost:8080/health 2xx: status 503 (expected 2xx): {"status":"error","version":"1.5.0","reason":"no connection to the price service… (took SPAN)
    -- exit code 1
    "#);
    assert_eq!(fs::read_to_string(lab.home("web-1").join("srv/current/VERSION")).unwrap().trim(), "1.4.2");
}

#[test]
fn code_1_when_a_check_is_red_and_when_a_command_fails() {
    let lab = Lab::new(3, &[]);
    fs::remove_file(lab.home("web-2").join("srv/running")).unwrap();
    assert_snapshot!(lab.run(&["check", "all"]).screen(), @r"
    ╭───────────┬────────┬─────────┬─────────────────────╮
    │ host      │ result │ version │ The shop is healthy │
    ├───────────┼────────┼─────────┼─────────────────────┤
    │ web-[1,3] │ green  │ 1.4.2   │ pass                │
    │ web-2     │ red    │ 1.4.2   │ FAIL                │
    ╰───────────┴────────┴─────────┴─────────────────────╯

    web-2: fail: The shop is healthy: the host refused to open a channel: it cannot
      connect to localhost:8080

    3 hosts: 2 green, 1 red. Took SPAN.
    exit code 1: a host failed
    -- standard error
    TIME check all: 3 hosts
    TIME web-2: check (sweep) The shop is healthy: fail: the host refused to open a channel: it cannot connect to localhost:8080
    -- exit code 1
    ");
    assert_snapshot!(lab.run(&["exec", "all", "--", "test", "-e", "srv/running"]).screen(), @r"
    ── web-[1,3] (2 hosts): status 0
    ── web-2: status 1

    3 hosts: 2 done, 1 failed. Took SPAN.
    exit code 1: a host failed
    -- standard error
    TIME exec test -e srv/running: 3 hosts
    -- exit code 1
    ");
    let alone = lab.run(&["exec", "web-1", "--", "sh", "-c", "printf '%s;' \"$@\"", "sh", "a b", "$HOME", "c;d"]);
    assert_eq!((alone.code, alone.out.as_str(), alone.err.as_str()), (0, "a b;$HOME;c;d;\n", ""));
}

#[test]
fn code_3_when_a_host_failed_after_its_point_of_no_return() {
    let lab = Lab::new(2, &[]);
    let steps = "[[steps]]\nname = \"Migrate\"\neffect = \"data\"\nunprotected = \"a trial\"\ncommand = \"echo migrated\"\n\n\
                 [[steps]]\nname = \"Start\"\ncommand = \"echo 'no such column' >&2; exit 7\"\n";
    let playbook = lab.playbook("migrate", &one_by_one(steps));
    assert_snapshot!(lab.run(&["apply", playbook, "--yes"]).screen(), @"
    ╭───────┬────────┬─────────────┬───────┬─────────────────────╮
    │ host  │ wave   │ result      │ steps │ cause               │
    ├───────┼────────┼─────────────┼───────┼─────────────────────┤
    │ web-2 │ wave 1 │ not started │       │                     │
    │ web-1 │ canary │ held        │ 1/2   │ step `Start` failed │
    ╰───────┴────────┴─────────────┴───────┴─────────────────────╯

    error: `web-1` waits for a person
      cause: step `Start` failed
      cause: it ended with status 7
      cause: data was changed by `Migrate`
      cause: nothing is put back: the role does not say how, in `[[restore]]`
      web-1 | no such column
      done: Migrate. may have half happened: Start

    hint: `longshore resume 0001 --as roll-forward --host web-1` goes on with the
      step that failed, once that is mended
    hint: `longshore resume 0001 --as code-rollback --host web-1` points the code
      back and leaves the data new: only if the old release can run on it
    hint: once a host of canary ended well, `longshore resume 0001` goes on with the
      hosts that are not finished
    hint: `longshore history show 0001 --host web-1` prints everything that was said
      there

    2 hosts: 1 not started, 1 held. Took SPAN.
    halted: 1 failed, and the budget allows none in the run
    exit code 3: a person is needed
    -- standard error
    TIME apply Try: 2 hosts in 2 waves
    TIME canary: web-1
    TIME web-1: step 1/2 Migrate: done in SPAN
    TIME web-1: step 2/2 Start: failed after SPAN: it ended with status 7
    TIME web-1: failed after data was changed: step `Start` failed; what the role prepared for that is done now
    TIME web-1: held: step `Start` failed: it ended with status 7: data was changed by `Migrate`: nothing is put back: the role does not say how, in `[[restore]]` (took SPAN)
    TIME halted: 1 failed, and the budget allows none in the run; no new hosts are begun
    -- exit code 3
    ");
}

#[test]
fn code_3_when_the_ledger_cannot_be_used_and_no_host_is_touched() {
    let lab = Lab::new(1, &[]);
    fs::write(lab.path().join(".longshore"), "in the way").unwrap();
    let ran = lab.run(&["exec", "all", "--", "touch", "touched"]);
    assert_snapshot!(ran.screen().replace(&lab.path().display().to_string(), "PROJECT"), @r"
    -- standard error
    error: `PROJECT/.longshore` is not a folder

    hint: move `PROJECT/.longshore` away: longshore keeps its own files there
    -- exit code 3
    ");
    assert!(!lab.home("web-1").join("touched").exists());
}

#[test]
fn code_4_when_some_hosts_cannot_be_reached_and_retry_takes_them_along() {
    let lab = Lab::new(3, &[]);
    let step = "[[steps]]\nname = \"Touch\"\ncommand = { run = \"touch touched\", creates = \"~/touched\" }\nundo = { command = \"rm -f touched\" }\n";
    let playbook = lab.playbook("touch", &one_by_one(step));
    lab.fault("web-2", Fault::RefuseConnect);
    lab.fault("web-3", Fault::RefuseConnect);
    let ran = lab.run(&["apply", playbook, "--yes", "--connect-timeout", "1s"]);
    assert_snapshot!(ran.screen(), @"
    ╭───────┬────────┬─────────────┬───────┬──────────────────────────────────╮
    │ host  │ wave   │ result      │ steps │ cause                            │
    ├───────┼────────┼─────────────┼───────┼──────────────────────────────────┤
    │ web-1 │ canary │ done        │ 1/1   │                                  │
    │ web-2 │ wave 1 │ unreachable │ 0/1   │ no connection to 127.0.0.1:PORT │
    │ web-3 │ wave 1 │ unreachable │ 0/1   │ no connection to 127.0.0.1:PORT │
    ╰───────┴────────┴─────────────┴───────┴──────────────────────────────────╯

    error: `web-2` could not be reached
      cause: no connection to 127.0.0.1:PORT
      cause: Connection refused (os error 111)
      nothing was begun on it

    error: `web-3` could not be reached
      cause: no connection to 127.0.0.1:PORT
      cause: Connection refused (os error 111)
      nothing was begun on it

    hint: check `address` and `port` of `web-[2,3]`, and that it is up
    hint: `longshore retry 0001 --unreached` tries the hosts again that could not be
      reached

    3 hosts: 1 done, 2 unreachable. Took SPAN.
    exit code 4: some hosts could not be reached, the rest is good
    -- standard error
    TIME apply Try: 3 hosts in 2 waves
    TIME canary: web-1
    TIME web-1: step 1/1 Touch: done in SPAN
    TIME web-1: done (took SPAN)
    TIME wave 1: web-[2,3]
    TIME web-2: unreachable: no connection to 127.0.0.1:PORT: Connection refused (os error 111) (took SPAN)
    TIME web-3: unreachable: no connection to 127.0.0.1:PORT: Connection refused (os error 111) (took SPAN)
    -- exit code 4
    ");
    lab.mend("web-2");
    lab.mend("web-3");
    let retried = lab.run(&["retry", "--unreached", "--quiet"]);
    retried.expect(0);
    assert!(lab.home("web-2").join("touched").exists() && lab.home("web-3").join("touched").exists());
}

#[test]
fn code_5_when_the_budget_is_used_up_before_all_hosts_were_begun() {
    let lab = Lab::new(3, &[]);
    let playbook =
        lab.playbook("fail", &one_by_one("[[steps]]\nname = \"Break\"\ncommand = \"exit 1\"\nno-undo = \"a test\"\n"));
    assert_snapshot!(lab.run(&["apply", playbook, "--yes"]).screen(), @"
    ╭───────────┬────────┬─────────────┬───────┬─────────────────────╮
    │ host      │ wave   │ result      │ steps │ cause               │
    ├───────────┼────────┼─────────────┼───────┼─────────────────────┤
    │ web-1     │ canary │ undone      │ 0/1   │ step `Break` failed │
    │ web-[2,3] │ wave 1 │ not started │       │                     │
    ╰───────────┴────────┴─────────────┴───────┴─────────────────────╯

    error: `web-1` failed and was taken back to where it was
      cause: step `Break` failed
      cause: it ended with status 1

    hint: once mended, `longshore retry 0001 --failed` takes them through the plan
      again
    hint: once a host of canary ended well, `longshore resume 0001` goes on with the
      hosts that are not finished
    hint: `longshore history show 0001 --host web-1` prints everything that was said
      there

    3 hosts: 1 undone, 2 not started. Took SPAN.
    halted: 1 failed, and the budget allows none in the run
    exit code 5: halted before all hosts were begun
    -- standard error
    TIME apply Try: 3 hosts in 2 waves
    TIME canary: web-1
    TIME web-1: step 1/1 Break: failed after SPAN: it ended with status 1
    TIME web-1: is taken back: step `Break` failed
    TIME web-1: undone: step `Break` failed: it ended with status 1 (took SPAN)
    TIME halted: 1 failed, and the budget allows none in the run; no new hosts are begun
    -- exit code 5
    ");
}

#[test]
fn code_6_when_a_host_has_moved_since_the_plan_was_made() {
    let lab = Lab::new(1, &[]);
    lab.run(&["plan", "upgrade", "-o", "plan.json", "--quiet"]).expect(0);
    lab.run(&["apply", "plan.json", "--quiet"]).expect(0);
    assert_snapshot!(lab.run(&["apply", "plan.json"]).screen(), @"
    ╭───────┬─────────┬───────┬─────────┬───────────────────────────────────────╮
    │ host  │ result  │ steps │ version │ cause                                 │
    ├───────┼─────────┼───────┼─────────┼───────────────────────────────────────┤
    │ web-1 │ refused │ 0/6   │ 1.5.0   │ the host moved since the plan: it had │
    │       │         │       │         │ 1.4.2, now it has 1.5.0               │
    ╰───────┴─────────┴───────┴─────────┴───────────────────────────────────────╯

    error: `web-1` was refused
      cause: the host moved since the plan: it had 1.4.2, now it has 1.5.0
      nothing was begun on it

    hint: make a new plan

    1 host: 1 refused. Took SPAN.
    exit code 6: refused
    -- standard error
    TIME apply Upgrade the shop: 1 host
    TIME web-1: refused: the host moved since the plan: it had 1.4.2, now it has 1.5.0 (took SPAN)
    -- exit code 6
    ");
}

#[test]
fn code_130_when_interrupted_once_the_running_host_ends_its_step_and_no_other_begins() {
    let lab = Lab::new(2, &[]);
    let step = "[[steps]]\nname = \"Wait\"\ncommand = \"touch begun; sleep 1; touch ended\"\nno-undo = \"a test\"\n\n\
                [[steps]]\nname = \"Go on\"\ncommand = \"touch second\"\nno-undo = \"a test\"\n";
    let playbook = lab.playbook("slow", &one_by_one(step));
    let running = lab.start(&["apply", playbook, "--yes"]);
    lab.wait_for("web-1", "begun");
    running.interrupt();
    let ran = running.end();
    assert_snapshot!(ran.screen(), @r"
    ╭───────┬────────┬─────────────┬───────┬───────────────────────────╮
    │ host  │ wave   │ result      │ steps │ cause                     │
    ├───────┼────────┼─────────────┼───────┼───────────────────────────┤
    │ web-1 │ canary │ interrupted │ 1/2   │ stopped after step 1 of 2 │
    │ web-2 │ wave 1 │ not started │       │                           │
    ╰───────┴────────┴─────────────┴───────┴───────────────────────────╯

    error: `web-1` was stopped between two steps
      cause: stopped after step 1 of 2
      done: Wait

    hint: `longshore resume 0001` goes on with the hosts that are not finished
    hint: `longshore history show 0001 --host web-1` prints everything that was said
      there

    2 hosts: 1 interrupted, 1 not started. Took SPAN.
    exit code 130: interrupted
    -- standard error
    TIME apply Try: 2 hosts in 2 waves
    TIME canary: web-1
    Stopping: running hosts finish their step. Ctrl-C again leaves at once.
    TIME web-1: step 1/2 Wait: done in SPAN
    TIME web-1: interrupted: stopped after step 1 of 2 (took SPAN)
    TIME interrupted: hosts not begun were left alone
    -- exit code 130
    ");
    assert!(lab.home("web-1").join("ended").exists());
    assert!(!lab.home("web-1").join("second").exists() && !lab.home("web-2").join("begun").exists());
    lab.run(&["resume", "--quiet"]).expect(0);
    assert!(lab.home("web-1").join("second").exists() && lab.home("web-2").join("second").exists());
}

#[test]
fn code_130_when_interrupted_twice_it_leaves_at_once_and_says_what_goes_on_alone() {
    let lab = Lab::new(1, &[]);
    let step =
        "[[steps]]\nname = \"Wait\"\ncommand = \"touch begun; sleep 5; echo once >> ended\"\nno-undo = \"a test\"\n";
    let playbook = lab.playbook("slow", &one_by_one(step));
    let running = lab.start(&["apply", playbook, "--yes"]);
    lab.wait_for("web-1", "begun");
    running.interrupt();
    std::thread::sleep(Duration::from_millis(200));
    running.interrupt();
    let ran = running.end();
    assert_snapshot!(ran.screen(), @r"
    ╭───────┬─────────────┬───────┬────────────────────────────────────────────────╮
    │ host  │ result      │ steps │ cause                                          │
    ├───────┼─────────────┼───────┼────────────────────────────────────────────────┤
    │ web-1 │ interrupted │ 0/1   │ left in the middle of its steps; the host goes │
    │       │             │       │ on with them                                   │
    ╰───────┴─────────────┴───────┴────────────────────────────────────────────────╯

    error: `web-1` was left in the middle of a step
      cause: left in the middle of its steps; the host goes on with them
      may have half happened: Wait

    hint: `longshore resume 0001` goes on with the hosts that are not finished
    hint: `longshore history show 0001 --host web-1` prints everything that was said
      there

    1 host: 1 interrupted. Took SPAN.
    exit code 130: interrupted
    -- standard error
    TIME apply Try: 1 host
    Stopping: running hosts finish their step. Ctrl-C again leaves at once.
    Leaving now. Running steps go on alone; `longshore resume` takes them up.
    TIME web-1: interrupted: left in the middle of its steps; the host goes on with them (took SPAN)
    TIME detached: left in the middle: web-1 (Wait)
    -- exit code 130
    ");
    assert!(!lab.home("web-1").join("ended").exists(), "it waited for the step");
    lab.run(&["resume", "--quiet"]).expect(0);
    assert_eq!(fs::read_to_string(lab.home("web-1").join("ended")).unwrap(), "once\n");
}

#[test]
fn each_way_in_which_a_host_can_fail_has_a_cause_of_its_own() {
    let lab = Lab::new(6, &[]);
    let faults = [Fault::Refuse, Fault::RefuseConnect, Fault::Hang, Fault::WrongKey, Fault::HangExec];
    for (number, fault) in faults.into_iter().enumerate() {
        lab.fault(&format!("web-{}", number + 1), fault);
    }
    let ran = lab.run(&["exec", "all", "--connect-timeout", "1s", "--timeout", "1s", "--quiet", "--", "echo", "here"]);
    let screen = ran.screen().replace(&lab.path().display().to_string(), "PROJECT");
    let key = regex::Regex::new(r"key\s+/\S+").unwrap();
    let print = regex::Regex::new(r"SHA256:\S+").unwrap();
    assert_snapshot!(print.replace_all(&key.replace_all(&screen, "key KEY"), "SHA256:PRINT"), @r"
    ── web-6: status 0
       here

    error: `web-2` could not be reached
      cause: no connection to 127.0.0.1:PORT
      cause: Connection refused (os error 111)

    error: `web-3` could not be reached
      cause: the SSH handshake with 127.0.0.1:PORT took longer than SPAN

    error: `web-1` failed
      cause: 127.0.0.1:PORT refused user `lab`; tried: key KEY it takes:
        publickey

    error: `web-4` failed
      cause: the host key of 127.0.0.1:PORT has changed:
        SHA256:PRINT was offered,
        SHA256:PRINT is known from
        PROJECT/known_hosts:4

    error: `web-5` failed
      cause: the program did not end within SPAN
      cause: the command may still run on the host

    hint: check `address` and `port` of `web-[2,3]`, and that it is up
    hint: check `user` (now `lab`) and `identity-files` of `web-1` in the inventory,
      or `ssh-add`
    hint: if the host was reinstalled, remove the old key from
      PROJECT/known_hosts:4 and run `longshore trust web-4`; if not,
      somebody may be in between: do not go on

    6 hosts: 1 done, 2 unreachable, 3 failed. Took SPAN.
    exit code 1: a host failed
    -- exit code 1
    ");
}
