//! What of a plan may be done ahead of it.

use super::*;
use crate::{model::Span, plan::Pace};

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
