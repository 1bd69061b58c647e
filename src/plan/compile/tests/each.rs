//! Steps that are done for each item of a list.

use super::*;
use crate::plan::PlannedUndo;

const FLEET: &str = r#"
[hosts.a-1]
profile = "parts"
vars = { parts = ["web", "it's me"] }

[profiles.parts]
vars = { part = "", parts = [] }
[[profiles.parts.verbs.switch]]
for-each = { part = "parts" }
verb = "switch-part"
[[profiles.parts.verbs.switch-part]]
name = "Start it"
command = "start {{part}}"
undo = { command = "stop {{part}}" }
[[profiles.parts.verbs.switch-part]]
name = "It answers"
command = "ask {{part}}"
effect = "read"
"#;

const ROLE: &str = r#"
[[upgrade]]
name = "Prepare"
for-each = { part = "parts" }
command = "prepare {{part}}"
effect = "read"
[[upgrade]]
name = "Switch"
verb = "switch"
"#;

fn bench(fleet: &str, role: &str) -> Bench {
    Bench::new()
        .file("inventory/fleet.toml", fleet)
        .file("roles/app/role.toml", role)
        .file("playbooks/up.toml", PLAYBOOK)
        .to("1.2.0")
}

#[test]
fn t_16_all_steps_of_a_verb_are_done_for_one_item_before_the_next_begins_each_with_its_own_undo() {
    let plan = bench(FLEET, ROLE).plan();
    let steps = &plan.hosts[0].steps;
    let made: Vec<_> = steps.iter().map(|step| (step.name.as_str(), step.action.kind().summary())).collect();
    let made: Vec<_> = made.iter().map(|(name, does)| (*name, does.as_str())).collect();
    assert_eq!(
        made,
        [
            ("Prepare: web", "prepare web"),
            ("Prepare: it's me", "prepare 'it'\\''s me'"),
            ("Switch: web: Start it", "start web"),
            ("Switch: web: It answers", "ask web"),
            ("Switch: it's me: Start it", "start 'it'\\''s me'"),
            ("Switch: it's me: It answers", "ask 'it'\\''s me'"),
        ]
    );
    let PlannedUndo::By(undo) = &steps[4].undo else { panic!("it has an undo") };
    assert_eq!(undo[0].action.kind().summary(), "stop 'it'\\''s me'");
}

#[test]
fn a_list_that_is_empty_or_none_is_no_list_of_nothing_to_do() {
    for parts in ["[]", "\"web\"", "[\"web\", 7]", "[\"\"]"] {
        let fleet = FLEET.replace(r#"["web", "it's me"]"#, parts);
        let found = bench(&fleet, ROLE).compile().expect_err("a mistake");
        assert!(found[0].message.contains("`parts` is no list of names"), "{parts}: {found:?}");
    }
}

#[test]
fn only_declared_names_go_through_a_list_and_one_at_a_time() {
    let mistakes = |role: &str| {
        let bench = bench(FLEET, role);
        let (_, found) = Project::load_with_home(bench.folder.path(), None);
        let errors = found.iter().filter(|found| found.severity == crate::config::Severity::Error);
        errors.map(|found| found.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(mistakes(ROLE), [""; 0]);
    let two = ROLE.replace(r#"{ part = "parts" }"#, r#"{ part = "parts", other = "parts" }"#);
    assert_eq!(mistakes(&two), ["`for-each` is one variable for one list"]);
    let built_in = ROLE.replace(r#"{ part = "parts" }"#, r#"{ host = "parts" }"#);
    assert_eq!(mistakes(&built_in), ["`host` is not free to be set"]);
    let unknown = ROLE.replace(r#""parts""#, r#""partz""#);
    assert!(mistakes(&unknown)[0].contains("partz"), "{:?}", mistakes(&unknown));
}
