//! What of a plan may be done ahead of it.

use super::*;
use std::time::Duration;

use crate::{
    model::{Receipt, RunNumber, Span},
    plan::{DoneAhead, Pace, PlannedStep},
};

const AHEAD: &str = r#"
vars = { path = "/srv/app" }
[version]
command = { run = "cat {{path}}/version" }

[[gate]]
name = "There is room"
disk = { path = "{{path}}", free = "1GiB" }
[[gate]]
name = "The release is there"
command = { run = "test -d /store/{{wanted}}" }
ahead = true
[[gate]]
name = "Nobody is logged in"
command = { run = "test -z \"$(who)\"" }
[[gate]]
name = "There is room for the cut-over"
disk = { path = "/", free = "1GiB" }
ahead = false

[[check]]
name = "It answers"
command = "probe"

[[upgrade]]
name = "Fetch"
verb = "fetch"
[[upgrade]]
name = "Cut over"
command = "cut-over {{wanted}}"
expected = "10m"
downtime = "during"
[[upgrade]]
name = "Clean up"
command = "rm -rf {{path}}/old"
"#;

const FETCH: &str = r#"
[defaults]
profile = "app"
[hosts.a-1]
[hosts.a-2]
[profiles.app]
extends = "host"
[profiles.app.verbs.fetch]
ahead = true
expected = "1m"
command = { run = "get {{release.version}}", creates = "/srv/app/{{release.version}}" }
"#;

const SLOWLY: Pace = Pace { at_once: 3, per_minute: Some(2) };

fn bench() -> Bench {
    Bench::new().file("roles/app/role.toml", AHEAD).file("inventory/fleet.toml", FETCH)
}

/// What of the plan may be done ahead, where `more` is another step of the upgrade.
fn with(more: &str) -> Result<Plan, Vec<String>> {
    let bench = bench().file("roles/app/role.toml", &format!("{AHEAD}\n[[upgrade]]\nname = \"More\"\n{more}\n"));
    bench.to("1.0.1").has("1.0.0").plan().ahead(SLOWLY)
}

#[test]
fn a_prefetch_is_the_steps_and_gates_that_say_ahead_and_nothing_else() {
    let whole = bench().to("1.2.0").has("1.0.1").plan();
    let plan = whole.clone().ahead(SLOWLY).expect("a plan");
    assert_eq!(plan.purpose, Purpose::Prefetch);
    assert!(plan.is_intact() && plan.digest != whole.digest);
    // Of each hop of the path.
    assert_eq!(steps(&plan, "a-1"), ["0 get 1.1.0", "1 get 1.2.0"]);
    let host = &plan.hosts[&name("a-1")];
    let gates: Vec<_> = host.gates.iter().map(|gate| gate.name.as_str()).collect();
    assert_eq!(gates, ["There is room", "The release is there", "The release is there (1.2.0)"]);
    assert!(host.checks.is_empty(), "whether the host is well counts when it is upgraded");
    let estimate = host.estimate.expect("an estimate");
    assert_eq!((estimate.forward, estimate.downtime), (Span::seconds(126), None));
    // Who has moved by then is refused as for the upgrade.
    assert_eq!(host.found.as_ref().map(Version::as_str), Some("1.0.1"));
    assert_eq!((host.version.len(), host.steps[1].id.as_str()), (1, "02-fetch"));

    // Everybody in one wave, at the pace asked for, and a host that fails is nobody else's affair.
    assert_eq!(plan.waves.len(), 1);
    assert_eq!(plan.waves[0].hosts, [name("a-1"), name("a-2")]);
    assert_eq!((plan.rollout.at_once, plan.rollout.per_minute), (3, Some(2)));
    assert!(plan.rollout.budget.is_unlimited() && plan.waves[0].budget.is_unlimited());
    // The second is begun after half a minute.
    assert_eq!(plan.summary.expect("a summary").whole, Span::seconds(156));
    assert!(plan.notes.is_empty(), "release notes are read with the upgrade");
}

#[test]
fn only_windows_that_say_so_bind_a_prefetch() {
    let windows = r#"
window = [
    { from = "01:00", to = "04:00", zone = "UTC" },
    { dates = "2026-12-24", zone = "UTC", kind = "deny", ahead = true, reason = "no traffic" },
]"#;
    let plan = bench().file("inventory/fleet.toml", &FETCH.replace("[hosts.a-1]", &format!("[hosts.a-1]{windows}")));
    let whole = plan.to("1.0.1").has("1.0.0").plan();
    assert_eq!(whole.hosts[&name("a-1")].windows.len(), 2);
    let ahead = whole.ahead(SLOWLY).expect("a plan");
    let reasons: Vec<_> = ahead.hosts[&name("a-1")].windows.iter().map(|window| window.reason.as_deref()).collect();
    assert_eq!(reasons, [Some("no traffic")]);
}

#[test]
fn a_host_that_is_refused_is_told_and_one_with_nothing_to_fetch_is_left_out() {
    let refused =
        bench().to("1.2.0").has("1.0.0").found("a-2", Installed::Unknown).plan().ahead(SLOWLY).expect("a plan");
    assert_eq!(refusal(&refused, "a-2"), "the installed version is unknown");
    let only = FETCH.replace("[hosts.a-2]", "[hosts.a-2]\nprofile = \"other\"")
        + "[profiles.other]\nextends = \"host\"\n[profiles.other.verbs]\nfetch = { command = \"get\" }\n";
    let plan = bench().file("inventory/fleet.toml", &only).to("1.0.1").has("1.0.0").plan();
    assert_eq!(plan.hosts.len(), 2);
    let plan = plan.ahead(SLOWLY).expect("a plan");
    assert_eq!((plan.hosts.len(), &plan.waves[0].hosts), (1, &vec![name("a-1")]));
}

#[test]
fn the_use_of_a_verb_says_whether_it_is_done_ahead_and_has_the_last_word() {
    let said = |text: &str| bench().file("roles/app/role.toml", &AHEAD.replace("verb = \"fetch\"", text));
    let no = said("verb = \"fetch\"\nahead = false").to("1.0.1").has("1.0.0").plan().ahead(SLOWLY).expect("a plan");
    assert!(no.hosts.is_empty(), "{no:?}");
    let silent = FETCH.replace("ahead = true", "");
    let yes = said("verb = \"fetch\"\nahead = true").file("inventory/fleet.toml", &silent);
    assert_eq!(yes.to("1.0.1").has("1.0.0").plan().ahead(SLOWLY).expect("a plan").hosts.len(), 2);
}

#[test]
fn a_step_that_changes_what_runs_or_cannot_tell_whether_it_is_done_is_no_prefetch() {
    // What stands with the verb itself is told by `lint`; here it is the use of the verb.
    let verb = |more: &str| {
        let role = AHEAD.replace("verb = \"fetch\"", &format!("verb = \"fetch\"\n{more}"));
        bench().file("roles/app/role.toml", &role).to("1.0.1").has("1.0.0").plan().ahead(SLOWLY)
    };
    let why = |plan: Result<Plan, Vec<String>>| plan.expect_err("a reason").join("; ");
    assert_eq!(why(verb("downtime = \"during\"")), "step `Fetch` has `ahead`, but it takes the product down or up");
    assert_eq!(
        why(verb("effect = \"data\"\nunprotected = \"a test\"")),
        "step `Fetch` has `ahead`, but its effect is `data`"
    );
    let silent = FETCH.replace("ahead = true", "").replace(", creates = \"/srv/app/{{release.version}}\"", "");
    let role = AHEAD.replace("verb = \"fetch\"", "verb = \"fetch\"\nahead = true");
    let blind = bench().file("inventory/fleet.toml", &silent).file("roles/app/role.toml", &role);
    let blind = blind.to("1.0.1").has("1.0.0").plan().ahead(SLOWLY);
    assert!(why(blind).contains("cannot tell whether it is done"));
    let receipt = with("command = \"true\"\nahead = true\nrepeat-safe = true\nrequires = [{ receipt = \"Clean up\" }]");
    assert_eq!(
        why(receipt),
        "step `More` has `ahead`, but requires the receipt of `Clean up`, which is not done ahead"
    );
    let repeated = with("command = \"true\"\nahead = true\nrepeat-safe = true").expect("a plan");
    assert_eq!(repeated.hosts[0].steps.len(), 2);
}

/// What the prefetch of a plan did there, as the ledger would have it.
fn done(plan: &Plan, at: &str, receipt: &Receipt) -> Vec<DoneAhead> {
    let hosts = plan.clone().ahead(SLOWLY).expect("a plan").hosts;
    let step = |host: &HostName, step: &PlannedStep| DoneAhead {
        host: host.clone(),
        action: step.action.clone(),
        run_as: step.run_as.clone(),
        run: RunNumber(7),
        at: at.parse().expect("a time"),
        receipt: receipt.clone(),
    };
    hosts.iter().flat_map(|(host, of)| of.steps.iter().map(move |of| step(host, of))).collect()
}

/// The names of the steps that count as done ahead, and what the host is expected to take.
fn marked(plan: &Plan, host: &str) -> (Vec<String>, Span) {
    let host = &plan.hosts[&name(host)];
    let steps = host.steps.iter().filter(|step| step.prefetched.is_some());
    (steps.map(|step| step.name.clone()).collect(), host.estimate.expect("an estimate").forward)
}

#[test]
fn what_was_done_ahead_counts_where_it_is_the_same_today_and_was_found_again() {
    let plan = bench().to("1.0.1").has("1.0.0").plan();
    let before = marked(&plan, "a-1");
    let record = done(&plan, "1969-12-30T00:00:00Z", &Receipt::default());
    let noted = plan.clone().with_prefetched(&record);
    assert!(noted.is_intact() && noted.digest != plan.digest);
    // A look instead of a minute's fetch, and nothing to take back of it.
    assert_eq!(
        marked(&noted, "a-1"),
        (vec!["Fetch".to_owned()], Span(before.1.0.saturating_sub(Duration::from_secs(59))))
    );
    let summary = |plan: &Plan| plan.summary.clone().expect("a summary").forward.most;
    assert_eq!(summary(&noted).0, summary(&plan).0.saturating_sub(Duration::from_secs(59)));
    let look = noted.to_look_at().expect("something to look at");
    assert_eq!(steps(&look, "a-1"), ["0 get 1.0.1"]);
    assert!(plan.to_look_at().is_none());

    // Removed since on one of them.
    let found = noted.with_prefetched_only(|host, _| host.as_str() == "a-2");
    assert_eq!(marked(&found, "a-1"), before);
    assert_eq!(marked(&found, "a-2").0, ["Fetch"]);
    assert_eq!(found.with_prefetched_only(|_, _| false).hosts, plan.hosts);

    // Another release is another step, whatever is recorded; so is another user.
    let other = bench().to("1.1.0").has("1.0.1").plan().with_prefetched(&record);
    assert_eq!(marked(&other, "a-1").0, Vec::<String>::new());
    let as_root: Vec<_> = record.into_iter().map(|did| DoneAhead { run_as: Some("root".into()), ..did }).collect();
    assert_eq!(marked(&plan.with_prefetched(&as_root), "a-1"), before);
}

const BACKUP: &str = r#"
version = { command = "cat version" }
[[upgrade]]
name = "Save"
ahead = true
backup = { files = { paths = ["/srv/data"] }, to = "/srv/backups", name = "data" }
[[upgrade]]
name = "Migrate"
command = "migrate {{wanted}}"
effect = "data"
requires = [{ receipt = "Save", younger-than = "24h" }]
[[upgrade]]
name = "Migrate more"
command = "migrate-more {{wanted}}"
effect = "data"
requires = [{ receipt = "Save", younger-than = "36h" }]
"#;

#[test]
fn f_16_a_backup_made_ahead_counts_as_long_as_all_who_rely_on_it_let_it() {
    let backup = |role: &str, to: &str| bench().file("roles/app/role.toml", role).to(to).has("1.0.0").plan();
    let proof = Receipt::default().with("verified", "read").with("file", "/srv/backups/a").with("sha256", "ab");
    let plan = backup(BACKUP, "1.0.1");
    let at = |at: &str, receipt: &Receipt| {
        let noted = plan.clone().with_prefetched(&done(&plan, at, receipt));
        let step = &noted.hosts[0].steps[0];
        let good_for = step.prefetched.as_ref().and_then(|found| found.good_for);
        (good_for, noted)
    };
    // The plans of these tests are made at the very beginning of 1970.
    let day = Some(Span::seconds(24 * 3600));
    let (good_for, noted) = at("1969-12-31T00:00:01Z", &proof);
    assert_eq!(good_for, day, "the shortest of them");
    assert_eq!(at("1969-12-31T00:00:00Z", &proof).0, None, "too old");
    assert_eq!(at("1970-01-01T01:00:00Z", &proof).0, None, "of the future");
    assert_eq!(at("1969-12-31T23:00:00Z", &Receipt::default().with("file", "/srv/backups/a")).0, None, "not proven");
    assert_eq!(at("1969-12-31T23:00:00Z", &Receipt::default().with("verified", "read")).0, None, "nothing to look at");
    // It is looked for, without summing it, and read again with its time where it is still there.
    let look = noted.to_look_at().expect("something to look at");
    let program = |plan: &Plan| match plan.hosts[0].steps[0].work() {
        crate::steps::Work::Host(program) => program.look.expect("a look"),
        crate::steps::Work::Controller(_) => panic!("it runs on the host"),
    };
    assert!(program(&noted).contains("longshore_holds Save /srv/backups/a '' ab"), "{}", program(&noted));
    assert!(program(&look).contains("longshore_holds Save /srv/backups/a '' ''"), "{}", program(&look));

    // One that would be too old by the end of the host's turn is made again.
    let host = &noted.hosts[0];
    let forward = host.estimate.expect("an estimate").forward.0;
    let end = noted.made_at.checked_add(Duration::from_secs(1)).expect("in range");
    let in_time = end.checked_sub(forward).expect("in range").checked_sub(Duration::from_secs(1)).expect("in range");
    assert!(host.without_stale(in_time).is_none());
    let fresh = host.without_stale(end.checked_sub(forward).expect("in range")).expect("a change");
    assert_eq!(fresh.steps[0].prefetched, None);

    // Of a later hop's data nothing can be saved before its time.
    let far = backup(BACKUP, "1.2.0");
    assert_eq!((far.hosts[0].path.len(), far.hosts[0].steps.len()), (2, 6));
    assert_eq!(far.clone().ahead(SLOWLY).expect("a plan").hosts[0].steps.len(), 1);
    let noted = far.clone().with_prefetched(&done(&far, "1969-12-31T23:00:00Z", &proof));
    let hops: Vec<_> = noted.hosts[0].steps.iter().map(|step| step.prefetched.is_some()).collect();
    assert_eq!(hops, [true, false, false, false, false, false]);

    // Without a limit it must be of the run itself.
    let why = |plan: Plan| plan.ahead(SLOWLY).expect_err("a reason").join("; ");
    let any_age = backup(&BACKUP.replace(", younger-than = \"36h\"", ""), "1.0.1");
    assert!(why(any_age).contains("does not say how old that may be: add `younger-than`"));
    let looks = "command = { run = \"save\", creates = \"/srv/backups/data\" }";
    let own = BACKUP.lines().map(|line| if line.starts_with("backup =") { looks } else { line }).collect::<Vec<_>>();
    assert!(why(backup(&own.join("\n"), "1.0.1")).contains("others rely on its receipt"));
}
