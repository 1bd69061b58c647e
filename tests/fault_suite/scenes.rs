//! Longer scenes of links, limits and restarts, each by the id it has in `docs/faults.md`.

use std::{fs, process::Command, time::Duration};

use longshore::{
    event::Happening,
    model::{HostOutcome, StepOutcome},
};

use crate::{
    controller::{self, Controller},
    field::{Field, Project},
    judge::{lease_left, state},
    proxy::Mode,
    sshd::{is_root, skip},
    victims,
};

const WITHIN: Duration = Duration::from_secs(90);

/// How every host and step ended, and what the hosts themselves have: what must not depend on the weather.
fn verdicts(field: &Field, project: &Project) -> Vec<String> {
    let state = state(project).expect("a run");
    let hosts = field.hosts.iter().map(|host| {
        let of = &state.hosts[&host.name];
        let steps: Vec<_> = of.steps.values().map(|step| format!("{} {:?}", step.name, step.outcome)).collect();
        let lines: Vec<_> = (1..=project.steps).map(|step| project.traced(host, step)).collect();
        format!("{}: {:?}; {}; {lines:?}", host.name, of.outcome, steps.join(", "))
    });
    hosts.collect()
}

/// Two hosts, the second of which fails at its last step.
fn mixed(field: &Field) -> Project {
    let bad = field.hosts[1].dir.join("bad");
    fs::write(&bad, "").expect("written");
    field.project(3, &|step| {
        if step == 3 {
            "if [ -e $(dirname {{trace}})/bad ]; then echo no; exit 7; fi".to_owned()
        } else {
            "sleep 0.2".to_owned()
        }
    })
}

fn apply(project: &Project) -> (i32, String) {
    controller::run(&project.path, &["apply", "work", "--yes"], WITHIN).expect("it ends")
}

#[test]
fn r8_three_hundred_milliseconds_of_delay_change_no_verdict() {
    let Some(field) = Field::sshd(2) else { return };
    let clean = mixed(&field);
    assert_eq!(apply(&clean).0, 1);
    for host in &field.hosts {
        let proxy = host.proxy.as_ref().expect("a proxy");
        proxy.next(Mode::Late(Duration::from_millis(150)));
    }
    let late = mixed(&field);
    let (code, said) = apply(&late);
    assert_eq!(code, 1, "{said}");
    assert_eq!(verdicts(&field, &late), verdicts(&field, &clean), "{said}");
}

/// In the environment of the test that runs in a network of its own.
const LOSSY: &str = "LONGSHORE_FAULT_LOSSY";

#[test]
fn r8_five_percent_of_lost_packets_change_no_verdict() {
    if !is_root() {
        return;
    }
    // A network namespace of the test's own: loss by a rule in it harms nobody else.
    let enter = "ip link set lo up && nft add table inet loss \
                 && nft 'add chain inet loss in { type filter hook input priority 0; }' \
                 && nft add rule inet loss in numgen random mod 100 '<' 5 counter drop && exec \"$@\"";
    let tried = Command::new("unshare").args(["-n", "sh", "-c", enter, "sh", "true"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        return skip("no nft, or no network namespaces");
    }
    let ended = Command::new("unshare")
        .args(["-n", "sh", "-c", &enter.replace("exec \"$@\"", "\"$@\" && nft list ruleset"), "sh"])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--nocapture", "--exact", "scenes::r8_in_a_network_that_loses_packets"])
        .env(LOSSY, "yes")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
    let lost = said.lines().find_map(|line| line.split("counter packets ").nth(1)?.split(' ').next());
    let lost: u64 = lost.and_then(|lost| lost.parse().ok()).unwrap_or_default();
    println!("R8: {lost} packets lost");
    assert!(lost > 5, "{said}");
}

#[test]
#[ignore = "the half of another test that runs in a network of its own"]
fn r8_in_a_network_that_loses_packets() {
    if std::env::var_os(LOSSY).is_none() {
        return;
    }
    let field = Field::sshd(2).expect("an sshd");
    let project = mixed(&field);
    let (code, said) = apply(&project);
    assert_eq!(code, 1, "{said}");
    let told = verdicts(&field, &project);
    let good = "real-1: Some(Done); Append 1 Some(Changed), Append 2 Some(Changed), Append 3 Some(Changed); \
                [(1, 1), (1, 1), (1, 1)]";
    assert_eq!(told[0], good);
    assert!(told[1].starts_with("real-2: Some(Undone)") && told[1].ends_with("[(1, 1), (1, 1), (1, 0)]"), "{told:?}");
}

#[test]
fn r45_a_step_that_restarts_sshd_cuts_its_own_link_and_is_followed_to_its_end() {
    let Some(field) = Field::sshd(1) else { return };
    let host = &field.hosts[0];
    let (listener, again) = victims::listener(host.direct.port()).expect("it listens");
    let _new_one = victims::Listening(host.direct.port());
    // As a package's upgrade may: the listener and every session end, and a new one comes up.
    let restart = format!(
        "sleep 0.3; for s in /proc/[0-9]*/status; do \
         if grep -q '^PPid:[[:space:]]*{listener}$' $s 2>/dev/null; then p=${{s%/status}}; kill -9 ${{p#/proc/}}; fi; done; \
         kill {listener}; sleep 0.5; {again}; sleep 0.5"
    );
    let project = field.project(3, &|step| if step == 2 { restart.clone() } else { "true".to_owned() });
    let (code, said) = apply(&project);
    assert_eq!(code, 0, "{said}");
    for step in 1..=3 {
        assert_eq!(project.traced(host, step), (1, 1), "step {step}: {said}");
    }
    let lost = project.events().iter().filter(|event| matches!(event.what, Happening::LinkLost { .. })).count();
    assert!(lost >= 1, "the link was never lost: {said}");
    assert_eq!(lease_left(host), None);
}

#[test]
fn r16_a_controller_that_gets_no_more_memory_dies_and_its_run_is_taken_up() {
    if !Command::new("prlimit").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return skip("there is no prlimit");
    }
    let field = Field::lab(3);
    // It is to need memory once it gets none.
    let project = field.project(2, &|_| "sleep 0.4; head -c 3000000 /dev/zero | tr '\\0' x; sleep 0.2".to_owned());
    let mut controller = Controller::start(&project.path, &["apply", "work", "--yes"]);
    project.wait_for(&field.hosts[0], 1);
    let limited = Command::new("prlimit")
        .args(["--pid", &controller.id().to_string(), "--as=1048576:1048576"])
        .status()
        .expect("it starts");
    assert!(limited.success());
    let code = controller.wait(WITHIN).expect("it ends");
    println!("R16: a controller without memory ended with {code}");
    if code != 0 {
        let (code, said) = controller::run(&project.path, &["resume"], WITHIN).expect("it ends");
        assert_eq!(code, 0, "{said}");
    }
    for host in &field.hosts {
        assert_eq!([project.traced(host, 1), project.traced(host, 2)], [(1, 1), (1, 1)], "{}", host.name);
        assert_eq!(lease_left(host), None);
    }
}

/// A migration: two lines in one transaction that is not one. It looks at what it left.
fn migration(field: &Field, look: &str) -> Project {
    field.project(1, &|_| String::new()).with_playbook(
        1,
        &format!(
            "[[steps]]\nname = \"Append 1\"\nno-undo = \"a line stays\"\ncommand = {{ run = '''echo 'b 1' \
             >>{{{{trace}}}}; while [ ! -e {{{{trace}}}}.go ]; do sleep 0.05; done; echo 'e 1' >>{{{{trace}}}}'''{look} }}\n"
        ),
    )
}

#[test]
fn r50_of_a_step_killed_half_way_only_its_own_look_says_whether_it_is_done() {
    let field = Field::lab(1);
    let host = &field.hosts[0];
    let look = ", unless = \"test -e {{trace}} && grep -q 'e 1' {{trace}}\"";
    for (look, was_done, code, outcome) in [
        // Killed after the last of its work: looking finds it done, and the host goes on.
        (look, true, 0, HostOutcome::Done),
        // Half of it is there: not done is not "may be begun again".
        (look, false, 3, HostOutcome::Unknown),
        // It cannot look at all.
        ("", true, 3, HostOutcome::Unknown),
    ] {
        let project = migration(&field, look);
        let mut controller = Controller::start(&project.path, &["apply", "work", "--yes"]);
        project.wait_for(host, 1);
        controller.kill();
        if was_done {
            // What it was about to write is there, though nobody saw it end.
            let file = host.dir.join(&project.tag);
            let text = fs::read_to_string(&file).expect("its lines");
            fs::write(&file, text + "e 1\n").expect("written");
        }
        victims::kill_all(&host.mark);
        let (ended, said) = controller::run(&project.path, &["resume"], WITHIN).expect("it ends");
        assert_eq!(ended, code, "{look}, {was_done}: {said}");
        let state = state(&project).expect("a run");
        let of = &state.hosts[&host.name];
        assert_eq!(of.outcome, Some(outcome), "{look}, {was_done}: {said}");
        // However often it is asked to go on, it is not begun a second time.
        if code == 3 {
            let (again, said) = controller::run(&project.path, &["retry", "--held"], WITHIN).expect("it ends");
            assert_eq!(again, 3, "{said}");
            assert!(of.steps.values().any(|step| matches!(step.outcome, Some(StepOutcome::Unknown { .. }))), "{of:?}");
            let unlock = ["unlock", host.name.as_str(), "--reason", "the test goes on"];
            let _ = controller::run(&project.path, &unlock, WITHIN);
        }
        assert_eq!(project.traced(host, 1), (1, usize::from(was_done)), "{said}");
    }
}

#[test]
fn r59_a_backup_damaged_after_it_was_made_lets_no_step_touch_the_data() {
    let field = Field::lab(5);
    let project = field.project(1, &|_| String::new()).with_playbook(
        1,
        r#"
[rollout]
at-once = 5
[rollout.budget]
failed = "100%"

[[steps]]
name = "Back up"
effect = "code"
command = { run = '''f={{trace}}.dump; echo 'all the data' >$f; echo "longshore-receipt file $f"; echo "longshore-receipt size $(wc -c <$f)"; echo "longshore-receipt sha256 $(sha256sum <$f | cut -d' ' -f1)"; echo "longshore-receipt verified by reading it"''' }
undo = { command = { run = "rm -f {{trace}}.dump" } }

[[steps]]
name = "Meanwhile"
no-undo = "it is not ours"
command = { run = "if [ -e {{trace}}.harm ]; then . {{trace}}.harm; fi" }

[[steps]]
name = "Append 1"
effect = "data"
no-undo = "a line stays"
requires = [{ receipt = "Back up", younger-than = "1h" }]
command = { run = "echo 'b 1' >>{{trace}}; echo 'e 1' >>{{trace}}" }
"#,
    );
    let dump = |host: &crate::field::Host| host.dir.join(format!("{}.dump", project.tag));
    // Nothing, cut, emptied, swapped for another of the same size, removed.
    let harms: [&dyn Fn(&str) -> String; 5] = [
        &|_| String::new(),
        &|file| format!("printf 'all' >{file}"),
        &|file| format!(": >{file}"),
        &|file| format!("echo 'ALL the data' >{file}"),
        &|file| format!("rm {file}"),
    ];
    for (host, harm) in field.hosts.iter().zip(harms) {
        let script = harm(&dump(host).display().to_string());
        fs::write(host.dir.join(format!("{}.harm", project.tag)), script).expect("written");
    }
    let (code, said) = apply(&project);
    assert_eq!(code, 1, "{said}");
    assert_eq!(project.traced(&field.hosts[0], 1), (1, 1), "{said}");
    for host in &field.hosts[1..] {
        assert_eq!(project.traced(host, 1), (0, 0), "{}: {said}", host.name);
    }
    let begun = victims_of_data(&project);
    assert_eq!(begun, 1, "{said}");
}

/// How many hosts' data step counts as done.
fn victims_of_data(project: &Project) -> usize {
    let state = state(project).expect("a run");
    let done = |step: &longshore::event::StepState| {
        step.name == "Append 1" && matches!(step.outcome, Some(StepOutcome::Changed))
    };
    state.hosts.values().filter(|host| host.steps.values().any(done)).count()
}

#[test]
#[ignore = "a figure: takes four minutes"]
fn r7_in_a_partition_longer_than_the_lease_nothing_begins_twice_and_who_came_meanwhile_is_not_disturbed() {
    const PARTITION: Duration = Duration::from_secs(180);
    let Some(field) = Field::sshd(2) else { return };
    let (taken, free) = (&field.hosts[0], &field.hosts[1]);
    // Between its two steps the controller has something to do itself: the second cannot go ahead without it.
    let append = |step: usize, between: &str| {
        format!(
            "[[steps]]\nname = \"Append {step}\"\nno-undo = \"a line stays\"\ncommand = {{ run = '''echo 'b {step}' \
             >>{{{{trace}}}}; {between}; echo 'e {step}' >>{{{{trace}}}}''' }}\n"
        )
    };
    let steps = [
        append(1, "sleep 5"),
        "[[steps]]\nname = \"Tell\"\nnotify = { message = \"half\", command = [\"true\"] }\n".to_owned(),
        append(2, "sleep 1"),
    ];
    let project = field
        .project(2, &|_| String::new())
        .with_playbook(2, &format!("[rollout.budget]\nfailed = \"100%\"\nunreachable = \"100%\"\n{}", steps.concat()));
    let rival = field.project(1, &|_| "true".to_owned()).past_proxies(&field);
    let mut controller = Controller::start(&project.path, &["apply", "work", "--yes"]);
    for host in &field.hosts {
        project.wait_for(host, 1);
        let proxy = host.proxy.as_ref().expect("a proxy");
        proxy.next(Mode::Swallow);
        proxy.now(Mode::Swallow);
    }
    let since = std::time::Instant::now();
    // The lease is not his while the step runs, nor before it ran out.
    let mut arguments = vec!["apply", "work", "--yes", "--limit", taken.name.as_str()];
    let took = loop {
        let (code, said) = controller::run(&rival.path, &arguments, WITHIN).expect("it ends");
        if code == 0 {
            break since.elapsed();
        }
        assert!(code == 6 && since.elapsed() < PARTITION, "{code}: {said}");
        arguments = vec!["retry", "--host", taken.name.as_str()];
        std::thread::sleep(Duration::from_secs(2));
    };
    std::thread::sleep(PARTITION.saturating_sub(since.elapsed()));
    for host in &field.hosts {
        host.proxy.as_ref().expect("a proxy").calm();
    }
    let code = controller.wait(WITHIN * 2).expect("it ends");
    let said = controller.said();
    println!("R7: {PARTITION:?} of silence; another controller had the first host after {took:.0?}; exit code {code}");
    let state = state(&project).expect("a run");
    let outcome = |host: &crate::field::Host| state.hosts[&host.name].outcome;
    // Nobody came to this one: it goes on where it was.
    assert_eq!(outcome(free), Some(HostOutcome::Done), "{said}");
    assert_eq!([project.traced(free, 1), project.traced(free, 2)], [(1, 1), (1, 1)], "{said}");
    // Here the step that ran has ended once, and nothing was begun beside or after the other controller.
    assert_eq!([project.traced(taken, 1), project.traced(taken, 2)], [(1, 1), (0, 0)], "{said}");
    assert_eq!(rival.traced(taken, 1), (1, 1));
    assert!(matches!(outcome(taken), Some(HostOutcome::Held | HostOutcome::Refused)), "{:?}: {said}", outcome(taken));
    assert!(matches!(code, 3 | 6), "{code}: {said}");
}
