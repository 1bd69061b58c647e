//! What a plan says of the point of no return, of the canary and of people.

use serde_json::{Value as Json, json};

use super::*;

/// A plan of three hosts, the first of which is the canary. `change` has each host by its number, from 1.
fn shown(change: &dyn Fn(usize, &mut Json)) -> String {
    let host = |number: usize| {
        let name = format!("web-{number}");
        let mut host = json!({
            "target": { "host": name, "way": { "by": "controller" } }, "profile": "compose", "found": "1.0.0",
            "point-of-no-return": 1,
            "path": [{ "from": "1.0.0", "to": "1.1.0", "class": "minor", "migrations": ["110"] }],
            "gates": [], "checks": [],
            "steps": [
                step("1-pin", "Pin", json!({ "effect": "code", "undo": "by-program" })),
                step("2-migrate", "Migrate", json!({ "effect": "data" })),
            ],
        });
        change(number, &mut host);
        host
    };
    let plan = json!({
        "format": 1, "digest": "sha256:0", "made-at": "2026-03-01T09:00:00Z", "title": "Up", "purpose": "apply",
        "wanted": "1.1.0",
        "waves": [
            { "name": "canary", "hosts": ["web-1"], "soak": "0s", "promote": "auto" },
            { "name": "wave 1", "hosts": ["web-2", "web-3"], "soak": "0s", "promote": "auto" },
        ],
        "rollout": {
            "at-once": 2, "before-data": "undo", "after-data": "hold", "scope": "host",
            "budget": { "failed": 0, "unreachable": null, "inconclusive": 0, "same-failure": null },
        },
        "hosts": { "web-1": host(1), "web-2": host(2), "web-3": host(3) },
    });
    let plan: Plan = serde_json::from_value(plan).expect("a plan");
    super::plan(&plan, Detail::Brief, &Page::plain(400))
}

fn step(id: &str, name: &str, more: Json) -> Json {
    let mut step = json!({
        "id": id, "name": name, "timeout": "5m", "repeat-safe": true, "hop": 0, "action": { "wait": { "for": "1s" } },
        "undo": { "impossible": { "reason": "only a restore takes data back" } },
    });
    let (Json::Object(step_of), Json::Object(more)) = (&mut step, more) else { unreachable!("both are tables") };
    step_of.extend(more);
    step
}

fn line_of<'a>(text: &'a str, with: &str) -> &'a str {
    text.lines().find(|line| line.contains(with)).unwrap_or_else(|| panic!("no `{with}` in\n{text}"))
}

#[test]
fn the_point_of_no_return_is_told_with_why_the_old_release_may_not_run_on_the_data() {
    let text = shown(&|_, _| {});
    assert_eq!(
        line_of(&text, "is the point of no return"),
        "! Step 2, `Migrate`, is the point of no return: only a restore takes data back, and 1.1.0 at 110 is not marked \
         `backward-compatible`: 1.0.0 may not run on it. A failure from there on is not taken back by itself."
    );
    assert!(line_of(&text, "no return  ").contains("1.0.0 may not run on it"), "{text}");

    let reads_head = |host: &mut Json| host["migration"] = json!({ "command": "head" });
    let text = shown(&|_, host| reads_head(host));
    let told = "is taken back by itself only where the head of its migrations did not move.";
    assert!(line_of(&text, "is the point of no return").ends_with(told), "{text}");
    let text = shown(&|_, host| {
        reads_head(host);
        host["steps"].as_array_mut().expect("a list").push(step("3-drop", "Drop", json!({ "effect": "irreversible" })));
    });
    assert!(
        line_of(&text, "is the point of no return").ends_with("did not move, and never once `Drop` has run."),
        "{text}"
    );
}

#[test]
fn an_undo_that_is_never_done_is_not_shown_as_one() {
    let text = shown(&|_, host| {
        host["steps"][1]["undo"] = json!({ "by": [step("undo", "Migrate back", json!({ "effect": "data" }))] });
    });
    assert!(line_of(&text, "none by itself: it changes data").contains("Migrate"), "{text}");
}

#[test]
fn a_release_that_the_old_one_can_run_beside_is_taken_back_by_itself_and_the_plan_says_so() {
    let text = shown(&|_, host| host["steps"][1]["backward-compatible"] = json!(true));
    let told = "1.0.0 can run on the data of 1.1.0 at 110 all the same, which is marked `backward-compatible`. A host that \
                fails from there on is taken back by itself, and its data stays as it is by then.";
    assert!(line_of(&text, "is the point of no return").ends_with(told), "{text}");

    // One that cannot be taken back at all is marked in vain.
    let text = shown(&|_, host| {
        host["steps"][1]["backward-compatible"] = json!(true);
        host["steps"].as_array_mut().expect("a list").push(step("3-drop", "Drop", json!({ "effect": "irreversible" })));
    });
    assert!(line_of(&text, "is the point of no return").ends_with("is not taken back by itself."), "{text}");
}

#[test]
fn a_canary_that_may_not_go_tries_nothing_for_the_others() {
    let text = shown(&|number, host| {
        host["profile"] = json!(if number == 3 { "systemd" } else { "compose" });
        if number == 1 {
            host["refused"] =
                json!({ "reason": "the installed version is unknown", "causes": ["no such file"], "asked": "yes" });
        }
    });
    let told = "1 host of 3; 1 host of it may not go; not in it: profile compose (1 host), systemd (1 host); version 1.0.0 (2 hosts)";
    assert!(line_of(&text, "canary  ").ends_with(told), "{text}");
    assert_eq!(line_of(&text, "cause: "), "    cause: no such file");
}

#[test]
fn f_29_what_only_a_person_can_look_at_is_told_before_with_the_hosts() {
    let text = shown(&|number, host| {
        if number > 1 {
            let look = json!({ "manual": { "question": "Does the panel open?" } });
            host["checks"] = json!([{ "name": "The panel", "check": look, "timeout": "10s", "after-only": true }]);
        }
    });
    let told = "to look at `The panel` on web-[2,3], or it stays unverified; how to go on,";
    assert!(line_of(&text, "asked  ").contains(told), "{text}");
}

#[test]
fn what_only_a_soak_can_find_halts_nothing_where_none_is_held() {
    let text = shown(&|_, _| {});
    assert!(line_of(&text, "halts  ").ends_with("at the first failed host"), "nothing soaks: {text}");
}
