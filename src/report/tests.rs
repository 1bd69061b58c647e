//! Every table as it is printed, without colour, at 80 and at 120 columns.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use jiff::Timestamp;

use super::*;
use crate::{
    event::{
        Happening, Phase,
        story::{Story, host},
    },
    model::{ExitCode, Failure, FailureClass, HostOutcome, RunNumber, Verdict},
    plan::Plan,
};

mod plans;

const RUN: Option<RunNumber> = Some(RunNumber(42));

fn narrow() -> Page {
    Page::plain(80)
}

fn wide() -> Page {
    Page::plain(120)
}

#[test]
fn the_results_fold_what_is_alike_and_end_with_the_worst() {
    let state = Story::upgrade().fold();
    assert_snapshot!(&results(&state, RUN, &narrow()), @r"
    ╭───────────┬────────┬─────────────┬───────┬───────────────┬──────────────────╮
    │ host      │ wave   │ result      │ steps │ version       │ health           │
    ├───────────┼────────┼─────────────┼───────┼───────────────┼──────────────────┤
    │ web-[1,2] │ canary │ done        │ 4/4   │ 0.3.2 → 0.4.0 │ 1/1 green        │
    │ web-[3,4] │ wave 1 │ done        │ 4/4   │ 0.3.2 → 0.4.0 │ 2/2 green        │
    │ eu-[1,2]  │ wave 1 │ unreachable │ 0/4   │ 0.3.2         │                  │
    │           │ no connection to eu.example.org:22                              │
    │ web-5     │ wave 1 │ undone      │ 3/4   │ 0.3.2         │ 2/2 green        │
    │           │ step `Switch` failed                                            │
    │ db-1      │ wave 1 │ stuck       │ 3/4   │ 0.3.2 → ?     │ 2/2 green before │
    │           │ the undo of step `Switch` failed                                │
    ╰───────────┴────────┴─────────────┴───────┴───────────────┴──────────────────╯

    error: `eu-[1,2]` could not be reached
      cause: no connection to eu.example.org:22
      cause: connection refused
      nothing was begun on it

    error: `web-5` failed and was taken back to where it was
      cause: step `Switch` failed
      cause: `docker compose up -d` ended with status 1
      web-5 | Error response from daemon: port is already allocated
      undone: Switch, Pin the version. kept: Fetch images, Back up Postgres
        (/var/backups/fovea.sql.gz)

    error: `db-1` is stuck: it is not back where it was
      cause: step `Switch` failed
      cause: `docker compose up -d` ended with status 1
      cause: the undo of step `Switch` failed
      cause: `docker compose up -d` ended with status 1
      db-1 | Cannot connect to the Docker daemon
      done: Fetch images, Back up Postgres (/var/backups/fovea.sql.gz), Pin the
        version. may have half happened: Switch

    hint: check `address` and `port` of `eu-[1,2]`
    hint: once mended, `longshore retry 0042 --failed` takes them through the plan
      again
    hint: `longshore retry 0042 --unreached` tries the hosts again that could not be
      reached
    hint: `longshore history show 0042 --host HOST` prints everything that was said
      there

    8 hosts: 4 done, 2 unreachable, 1 undone, 1 stuck. Took 1m 56s.
    halted: 2 hosts failed, 0 were allowed
    still behind: db-1 half way from 0.3.2, for 7s; web-5, eu-[1,2] on 0.3.2, for 3s
      to 24s
    exit code 3: a person is needed
    ");
    assert_snapshot!(&results(&state, RUN, &wide()), @r"
    ╭───────────┬────────┬─────────────┬───────┬───────────────┬──────────────────┬────────────────────────────────────╮
    │ host      │ wave   │ result      │ steps │ version       │ health           │ cause                              │
    ├───────────┼────────┼─────────────┼───────┼───────────────┼──────────────────┼────────────────────────────────────┤
    │ web-[1,2] │ canary │ done        │ 4/4   │ 0.3.2 → 0.4.0 │ 1/1 green        │                                    │
    │ web-[3,4] │ wave 1 │ done        │ 4/4   │ 0.3.2 → 0.4.0 │ 2/2 green        │                                    │
    │ eu-[1,2]  │ wave 1 │ unreachable │ 0/4   │ 0.3.2         │                  │ no connection to eu.example.org:22 │
    │ web-5     │ wave 1 │ undone      │ 3/4   │ 0.3.2         │ 2/2 green        │ step `Switch` failed               │
    │ db-1      │ wave 1 │ stuck       │ 3/4   │ 0.3.2 → ?     │ 2/2 green before │ the undo of step `Switch` failed   │
    ╰───────────┴────────┴─────────────┴───────┴───────────────┴──────────────────┴────────────────────────────────────╯

    error: `eu-[1,2]` could not be reached
      cause: no connection to eu.example.org:22
      cause: connection refused
      nothing was begun on it

    error: `web-5` failed and was taken back to where it was
      cause: step `Switch` failed
      cause: `docker compose up -d` ended with status 1
      web-5 | Error response from daemon: port is already allocated
      undone: Switch, Pin the version. kept: Fetch images, Back up Postgres (/var/backups/fovea.sql.gz)

    error: `db-1` is stuck: it is not back where it was
      cause: step `Switch` failed
      cause: `docker compose up -d` ended with status 1
      cause: the undo of step `Switch` failed
      cause: `docker compose up -d` ended with status 1
      db-1 | Cannot connect to the Docker daemon
      done: Fetch images, Back up Postgres (/var/backups/fovea.sql.gz), Pin the version. may have half happened: Switch

    hint: check `address` and `port` of `eu-[1,2]`
    hint: once mended, `longshore retry 0042 --failed` takes them through the plan again
    hint: `longshore retry 0042 --unreached` tries the hosts again that could not be reached
    hint: `longshore history show 0042 --host HOST` prints everything that was said there

    8 hosts: 4 done, 2 unreachable, 1 undone, 1 stuck. Took 1m 56s.
    halted: 2 hosts failed, 0 were allowed
    still behind: db-1 half way from 0.3.2, for 7s; web-5, eu-[1,2] on 0.3.2, for 3s to 24s
    exit code 3: a person is needed
    ");
}

#[test]
fn a_good_run_is_short() {
    let mut story = Story::new("apply", "Upgrade", &[("all", &["web-1", "web-2", "web-3"])]);
    story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
    story.good("web-1", 0).good("web-2", 0).good("web-3", 0);
    story.say("", Happening::RunFinished { exit: ExitCode::Good });
    assert_snapshot!(&results(&story.fold(), RUN, &narrow()), @r"
    ╭───────────┬────────┬───────┬───────────────┬───────────╮
    │ host      │ result │ steps │ version       │ health    │
    ├───────────┼────────┼───────┼───────────────┼───────────┤
    │ web-[1-3] │ done   │ 4/4   │ 0.3.2 → 0.4.0 │ 2/2 green │
    ╰───────────┴────────┴───────┴───────────────┴───────────╯

    3 hosts: 3 done. Took 50s.
    ");
}

#[test]
fn without_unicode_every_character_is_ascii() {
    let page = Page { unicode: false, ..narrow() };
    let state = Story::upgrade().fold();
    let text = results(&state, RUN, &page);
    assert!(text.is_ascii(), "{text}");
    assert_snapshot!(text.split_once("\nerror").expect("a table").0, @r"
     host      | wave   | result      | steps | version        | health
    -----------+--------+-------------+-------+----------------+------------------
     web-[1,2] | canary | done        | 4/4   | 0.3.2 -> 0.4.0 | 1/1 green
     web-[3,4] | wave 1 | done        | 4/4   | 0.3.2 -> 0.4.0 | 2/2 green
     eu-[1,2]  | wave 1 | unreachable | 0/4   | 0.3.2          |
               | no connection to eu.example.org:22
     web-5     | wave 1 | undone      | 3/4   | 0.3.2          | 2/2 green
               | step `Switch` failed
     db-1      | wave 1 | stuck       | 3/4   | 0.3.2 -> ?     | 2/2 green before
               | the undo of step `Switch` failed
    ");
}

#[test]
fn a_sweep_shows_hosts_against_checks_and_what_drifted() {
    let state = Story::sweep().fold();
    assert_snapshot!(&sweep(&state, RUN, &narrow()), @r"
    ╭───────────┬────────┬─────────┬─────────────┬───────────────╮
    │ host      │ result │ version │ API answers │ Disk has room │
    ├───────────┼────────┼─────────┼─────────────┼───────────────┤
    │ web-[1,2] │ green  │ 0.3.2   │ pass        │ pass          │
    │ web-3     │ green  │ 0.3.1 * │ pass        │ pass          │
    │ db-1      │ red    │ 0.3.2   │ FAIL        │ pass          │
    │ eu-1      │ failed │         │ -           │ -             │
    ╰───────────┴────────┴─────────┴─────────────┴───────────────╯
      *  not 0.3.2, which 3 hosts have

    db-1: fail: API answers: expected 200, got 503

    error: `eu-1` failed
      cause: the host key of the host is not known

    hint: `longshore trust eu-1` shows the key; compare it with the host's own, then
      confirm

    5 hosts: 3 green, 1 red, 1 failed. Took 28s.
    exit code 1: a host failed
    ");
    assert_snapshot!(&sweep(&state, RUN, &wide()), @r"
    ╭───────────┬────────┬─────────┬─────────────┬───────────────╮
    │ host      │ result │ version │ API answers │ Disk has room │
    ├───────────┼────────┼─────────┼─────────────┼───────────────┤
    │ web-[1,2] │ green  │ 0.3.2   │ pass        │ pass          │
    │ web-3     │ green  │ 0.3.1 * │ pass        │ pass          │
    │ db-1      │ red    │ 0.3.2   │ FAIL        │ pass          │
    │ eu-1      │ failed │         │ -           │ -             │
    ╰───────────┴────────┴─────────┴─────────────┴───────────────╯
      *  not 0.3.2, which 3 hosts have

    db-1: fail: API answers: expected 200, got 503

    error: `eu-1` failed
      cause: the host key of the host is not known

    hint: `longshore trust eu-1` shows the key; compare it with the host's own, then confirm

    5 hosts: 3 green, 1 red, 1 failed. Took 28s.
    exit code 1: a host failed
    ");
}

#[test]
fn checks_with_long_names_are_numbered() {
    let mut story = Story::new("check", "Health", &[("all", &["a"])]);
    story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() }).begin("a", 0);
    for check in ["API answers and its schema is the expected one", "The queue is shorter than a thousand"] {
        story.check("a", Phase::Sweep, check, Verdict::Pass, "so it is");
    }
    story.finish("a", HostOutcome::Done, None, None, None);
    assert_snapshot!(&sweep(&story.fold(), RUN, &narrow()), @r"
    ╭──────┬────────┬─────────┬──────┬──────╮
    │ host │ result │ version │ 1    │ 2    │
    ├──────┼────────┼─────────┼──────┼──────┤
    │ a    │ green  │ 0.3.2   │ pass │ pass │
    ╰──────┴────────┴─────────┴──────┴──────╯
      1  API answers and its schema is the expected one
      2  The queue is shorter than a thousand

    1 host: 1 green. Took 6s.
    ");
}

#[test]
fn the_same_output_is_printed_once_for_all_hosts_that_gave_it() {
    let state = Story::exec().fold();
    assert_snapshot!(&exec(&state, &narrow()), @r"
    ── web-[1,2] (2 hosts): status 0
       6.1.0-18
    ── web-3: status 127
       err | sh: 1: uname: not found
    ── db-1: signal KILL
       6.1

    error: `eu-1` could not be reached
      cause: no connection to 198.51.100.7:22
      cause: timed out

    5 hosts: 2 done, 1 unreachable, 2 failed. Took 20s.
    exit code 1: a host failed
    ");
}

#[test]
fn the_history_lists_runs_and_tells_everything_of_one_host() {
    let at = |text: &str| text.parse::<Timestamp>().expect("a time");
    let row = |number, ended: Option<&str>, outcomes, exit, running| RunRow {
        number: RunNumber(number),
        begun: at("2026-03-01T09:00:00Z"),
        ended: ended.map(at),
        purpose: "apply".to_owned(),
        looks_at: None,
        title: "Upgrade fovea to 0.4.0".to_owned(),
        hosts: 8,
        outcomes,
        exit,
        running,
    };
    let ended = Some("2026-03-01T09:12:30Z");
    let mixed = BTreeMap::from([(HostOutcome::Done, 6), (HostOutcome::Stuck, 1), (HostOutcome::Unreachable, 1)]);
    let rows = [
        row(44, None, BTreeMap::from([(HostOutcome::Done, 2)]), None, true),
        row(43, None, BTreeMap::new(), None, false),
        row(42, ended, mixed, Some(ExitCode::PersonNeeded), false),
        row(41, ended, BTreeMap::from([(HostOutcome::Undone, 1)]), Some(ExitCode::Halted), false),
    ];
    assert_snapshot!(&history(&rows, &narrow()), @r"
    ╭──────┬────────────┬─────────┬────────────────┬───────┬─────────────────╮
    │ run  │ begun      │ took    │ what           │ hosts │ result          │
    ├──────┼────────────┼─────────┼────────────────┼───────┼─────────────────┤
    │ 0044 │ 2026-03-01 │         │ apply Upgrade  │ 8     │ 2 done, running │
    │      │ 09:00      │         │ fovea to 0.4.0 │       │                 │
    │ 0043 │ 2026-03-01 │         │ apply Upgrade  │ 8     │ cut off         │
    │      │ 09:00      │         │ fovea to 0.4.0 │       │                 │
    │ 0042 │ 2026-03-01 │ 12m 30s │ apply Upgrade  │ 8     │ 6 done, 1       │
    │      │ 09:00      │         │ fovea to 0.4.0 │       │ unreachable, 1  │
    │      │            │         │                │       │ stuck           │
    │ 0041 │ 2026-03-01 │ 12m 30s │ apply Upgrade  │ 8     │ 1 undone,       │
    │      │ 09:00      │         │ fovea to 0.4.0 │       │ halted          │
    ╰──────┴────────────┴─────────┴────────────────┴───────┴─────────────────╯
    ");
    assert_snapshot!(&history(&rows, &wide()), @r"
    ╭──────┬──────────────────┬─────────┬──────────────────────────────┬───────┬────────────────────────────────╮
    │ run  │ begun            │ took    │ what                         │ hosts │ result                         │
    ├──────┼──────────────────┼─────────┼──────────────────────────────┼───────┼────────────────────────────────┤
    │ 0044 │ 2026-03-01 09:00 │         │ apply Upgrade fovea to 0.4.0 │ 8     │ 2 done, running                │
    │ 0043 │ 2026-03-01 09:00 │         │ apply Upgrade fovea to 0.4.0 │ 8     │ cut off                        │
    │ 0042 │ 2026-03-01 09:00 │ 12m 30s │ apply Upgrade fovea to 0.4.0 │ 8     │ 6 done, 1 unreachable, 1 stuck │
    │ 0041 │ 2026-03-01 09:00 │ 12m 30s │ apply Upgrade fovea to 0.4.0 │ 8     │ 1 undone, halted               │
    ╰──────┴──────────────────┴─────────┴──────────────────────────────┴───────┴────────────────────────────────╯
    ");
    assert_eq!(history(&[], &narrow()), "no runs yet\n");

    let story = Story::upgrade();
    let text = show(&story.fold(), RunNumber(42), &story.events, Some(&host("db-1")), &narrow());
    assert_snapshot!(&text, @r"
    apply Upgrade fovea to 0.4.0
    run 0042: 8 hosts, begun 2026-03-01 09:00, id 01hqrun0000000000000000000

    09:01:34 connected to db-1.example.org:22 as deploy
    09:01:36 check (before) API answers: pass: status 200 in 9 ms
    09:01:37 check (before) Disk has room: pass: 41 GiB free
    09:01:38 step 1/4 Fetch images
    09:01:39 step 1/4 Fetch images: done in 1s
    09:01:40 step 2/4 Back up Postgres
    09:01:41 step 2/4 Back up Postgres: done in 1s
             path: /var/backups/fovea.sql.gz
             size: 1536
    09:01:42 step 3/4 Pin the version
    09:01:43 step 3/4 Pin the version: done in 1s
    09:01:44 step 4/4 Switch
    09:01:45 step 4/4 Switch: failed after 1s: `docker compose up -d` ended with status 1
             | Error response from daemon: port is already allocated
             | port is already allocated
    09:01:46 is taken back: step `Switch` failed
    09:01:48 could not take back Switch: the undo of step `Switch` failed: `docker compose up -d` ended with status 1
             | Cannot connect to the Docker daemon
    09:01:49 stuck: the undo of step `Switch` failed: `docker compose up -d` ended with status 1 (took 12s)
    ");
}

#[test]
fn hosts_are_listed_with_how_they_are_reached() {
    let row = |name: &str, jump: &[&str]| HostRow {
        name: name.to_owned(),
        reached: format!("deploy@{name}.example.org"),
        jump: jump.iter().map(|s| (*s).to_owned()).collect(),
        profile: "compose".to_owned(),
        groups: vec!["prod".to_owned(), "eu".to_owned()],
        tags: Vec::new(),
    };
    let rows = [row("web-1", &[]), row("db-1", &["bastion.example.org"])];
    assert_snapshot!(&hosts(&rows, &narrow()), @r"
    ╭───────┬──────────────────────────┬─────────────────────┬─────────┬──────────╮
    │ host  │ reached at               │ through             │ profile │ groups   │
    ├───────┼──────────────────────────┼─────────────────────┼─────────┼──────────┤
    │ web-1 │ deploy@web-1.example.org │                     │ compose │ prod, eu │
    │ db-1  │ deploy@db-1.example.org  │ bastion.example.org │ compose │ prod, eu │
    ╰───────┴──────────────────────────┴─────────────────────┴─────────┴──────────╯
    2 hosts
    ");
}

#[test]
fn what_a_host_says_can_neither_move_the_cursor_nor_forge_a_row() {
    let evil = "\u{1b}[2K\u{1b}[1A| web-9 | done |\r\nline two \u{202e}\u{9b}5m\u{7}";
    let mut story = Story::new("check", "Sweep", &[("all", &["a"])]);
    story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
    story.begin("a", 0).say("a", Happening::FactRead { fact: evil.to_owned(), value: evil.to_owned() });
    story.check("a", Phase::Sweep, evil, Verdict::Fail, evil);
    story.start("a", 0).end("a", 0, crate::model::StepOutcome::Skipped { reason: evil.to_owned() });
    let failure = Failure::new(FailureClass::Step, evil).because(evil).hint(evil).output(vec![evil.to_owned()]);
    story.say(
        "a",
        Happening::CommandFinished {
            status: None,
            signal: Some(evil.to_owned()),
            out: evil.to_owned(),
            err: evil.to_owned(),
            total: 1,
            left_out: 0,
            took: crate::model::Span::seconds(0),
        },
    );
    story.say(
        "a",
        Happening::Halted { reason: evil.to_owned(), class: crate::event::HaltClass::Budget, nothing_left: false },
    );
    story.finish("a", HostOutcome::Failed, Some(failure), Some(evil), Some(evil));
    let state = story.fold();
    let page = narrow();
    for text in [
        results(&state, RUN, &page),
        sweep(&state, RUN, &page),
        exec(&state, &page),
        show(&state, RunNumber(42), &story.events, None, &page),
    ] {
        let odd: Vec<_> = text.chars().filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}').collect();
        assert!(odd.is_empty(), "{odd:?} in\n{text}");
        assert!(!text.lines().any(|line| line.starts_with("| web-9")), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("line two")), "{text}");
    }
}

#[test]
fn colour_is_only_added_to_the_same_text() {
    let state = Story::upgrade().fold();
    let coloured = results(&state, RUN, &Page { colour: true, ..wide() });
    assert!(coloured.contains("\u{1b}["));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), results(&state, RUN, &wide()));
}

#[test]
fn every_kind_of_event_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/events.md");
    let document = std::fs::read_to_string(path).expect("docs/events.md");
    for kind in Happening::KINDS {
        assert!(document.contains(&format!("### `{kind}`")), "`{kind}` is missing");
    }
}

#[test]
fn every_exit_code_is_documented_with_its_meaning() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/exit-codes.md");
    let document = std::fs::read_to_string(path).expect("docs/exit-codes.md");
    for exit in [
        ExitCode::Good,
        ExitCode::HostFailed,
        ExitCode::BadInput,
        ExitCode::PersonNeeded,
        ExitCode::SomeUnreachable,
        ExitCode::Halted,
        ExitCode::Refused,
        ExitCode::Interrupted,
    ] {
        let row = format!("| {} | {} |", exit.number(), table::meaning(exit));
        assert!(document.contains(&row), "no row `{row}`");
    }
}

#[test]
fn the_event_stream_is_one_object_a_line_and_reads_back() {
    let story = Story::upgrade();
    let mut bytes = Vec::new();
    let mut writer = EventWriter::new(&mut bytes);
    for event in &story.events {
        writer.write(event).expect("written");
    }
    let text = String::from_utf8(bytes).expect("text");
    let read: Vec<crate::event::Event> =
        text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    assert_eq!(read, story.events);
}
