//! Windows as a person meets them at the command line: hosts that are left, waited for, or started on somebody's word.

use std::time::{Duration, Instant};

use jiff::{Span, Timestamp, tz::TimeZone};
use nix::sys::signal::Signal;

use crate::fleet::Fleet;

const PLAYBOOK: &str = r#"
hosts = "all"
to = "2.0.0"
rollout = { budget = { failed = 0 } }

[[steps]]
name = "Switch"
command = { run = "echo switch >>trace", dir = "{{path}}" }
"#;

/// A time of the day so many hours from now, as windows have them.
fn hours_from_now(hours: i64) -> String {
    let then = Timestamp::now().checked_add(Span::new().hours(hours)).expect("in range");
    then.to_zoned(TimeZone::UTC).strftime("%H:%M").to_string()
}

/// `web-1` may be worked on at any time; `web-2` not before two hours from now; `web-3` not while a freeze lasts.
fn fleet() -> Option<Fleet> {
    let mut fleet = Fleet::new()?;
    let day = |days: i64| {
        let then = Timestamp::now().to_zoned(TimeZone::UTC).checked_add(Span::new().days(days)).expect("in range");
        then.strftime("%Y-%m-%d").to_string()
    };
    let later =
        format!("window = {{ from = \"{}\", to = \"{}\", zone = \"UTC\" }}", hours_from_now(2), hours_from_now(4));
    let frozen = format!(
        "window = {{ dates = \"{}..{}\", zone = \"UTC\", kind = \"deny\", reason = \"year-end freeze\" }}",
        day(-1),
        day(2)
    );
    for (name, lines) in [("web-1", String::new()), ("web-2", later), ("web-3", frozen)] {
        fleet.add(name, |sshd| sshd).lines = lines;
    }
    fleet.write_inventory("");
    fleet.trust_all();
    fleet.write("playbooks/switch.toml", PLAYBOOK);
    Some(fleet)
}

fn traces(fleet: &Fleet) -> [String; 3] {
    ["web-1", "web-2", "web-3"].map(|host| fleet.read(host, "trace").trim_end().replace('\n', " "))
}

#[test]
fn s_11_a_host_outside_its_window_is_left_and_taken_later_or_on_somebody_s_word() {
    let Some(fleet) = fleet() else { return };
    let ran = fleet.longshore(["apply", "switch", "--yes"]).run().expect_code(6);
    let ran = ran.says("outside its window (opens").says("year-end freeze").says("retry 0001 --not-started");
    assert_eq!(
        [&ran.row("web-1")[1], &ran.row("web-2")[1], &ran.row("web-3")[1]],
        ["done", "not started", "not started"]
    );
    assert_eq!(traces(&fleet), ["switch", "", ""], "{ran}");

    // Later is not yet: the same plan, the same windows.
    let ran = fleet.longshore(["retry", "--not-started"]).run().expect_code(6);
    assert_eq!(traces(&fleet), ["switch", "", ""], "{ran}");

    // The glass has a name and a reason on it, and nothing else opens it.
    for wrong in [
        &["--break-glass", "anna"][..],
        &["--reason", "CVE-2026-1234"],
        &["--break-glass", "anna", "--reason", " "],
        &["--break-glass", " ", "--reason", "CVE-2026-1234"],
        &["--break-glass", "anna", "--reason", "CVE-2026-1234", "--wait"],
    ] {
        for command in [&["retry", "--not-started"][..], &["apply", "switch", "--yes"]] {
            let ran = fleet.longshore(command.iter().chain(wrong).copied()).run().expect_code(2);
            assert_eq!(traces(&fleet), ["switch", "", ""], "{ran}");
        }
    }
    let word = ["--break-glass", "anna", "--reason", "CVE-2026-1234"];
    let ran = fleet.longshore(["retry", "--not-started"].into_iter().chain(word)).run().expect_code(0);
    let ran = ran.says("anna").says("CVE-2026-1234");
    assert_eq!(traces(&fleet), ["switch", "switch", "switch"], "who was done is left alone: {ran}");
    fleet.longshore(["history", "show", "1"]).run().expect_code(0).says("anna").says("CVE-2026-1234");
    let ran = fleet.longshore(["apply", "switch", "--yes", "--limit", "web-3"].into_iter().chain(word)).run();
    assert_eq!(traces(&fleet)[2], "switch switch", "{}", ran.expect_code(0));
    fleet.assert_nothing_runs();
}

#[test]
fn s_11_a_run_that_waits_holds_up_nobody_else_and_can_be_stopped() {
    let Some(fleet) = fleet() else { return };
    let running = fleet.longshore(["apply", "switch", "--yes", "--wait"]).start();
    let until = Instant::now() + Duration::from_secs(30);
    while traces(&fleet)[0] != "switch" {
        assert!(Instant::now() < until, "web-1 waits for the others");
        std::thread::sleep(Duration::from_millis(20));
    }
    let waiting = loop {
        let status = fleet.longshore(["status"]).run();
        if status.out.contains("1 done, 2 waiting") || Instant::now() > until {
            break status;
        }
    };
    let waiting = waiting.says("1 done, 2 waiting").says("outside its");
    assert_eq!(traces(&fleet), ["switch", "", ""], "{waiting}");
    running.signal(Signal::SIGINT);
    let ran = running.finish().expect_code(130);
    assert_eq!(ran.row("web-1")[1], "done", "{ran}");
    assert_eq!(traces(&fleet), ["switch", "", ""], "{ran}");
    let word = ["--break-glass", "anna", "--reason", "CVE-2026-1234"];
    let ran = fleet.longshore(["resume"].into_iter().chain(word)).run().expect_code(0);
    assert_eq!(traces(&fleet), ["switch", "switch", "switch"], "{ran}");
}
