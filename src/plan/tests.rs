//! What a plan says of how its hosts are reached, and that nobody changes it unseen.

use std::{fs, sync::LazyLock};

use super::*;
use crate::{
    config::Project,
    transport::{SshTarget, Way},
};

fn project(inventory: &str) -> Project {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("inventory")).expect("a folder");
    fs::write(folder.path().join("inventory/fleet.toml"), inventory).expect("a file");
    Project::load_with_home(folder.path(), None).0
}

fn way(project: &Project, name: &str) -> Way {
    let host = project.resolve_host(&HostName::new(name).expect("a name"));
    let target = target(project, &host);
    assert_eq!(target.host, host.name, "the host keeps its own name");
    target.way
}

#[test]
fn commands_run_on_the_host_named_via_or_on_the_controller() {
    let project = project(
        r#"
        [hosts.bastion]
        address = "198.51.100.7"
        port = 2222
        user = "ops"
        [hosts.app-1]
        via = "bastion"
        [hosts.app-2]
        via = "app-1"
        [hosts.app-3]
        via = "controller"
        [hosts.app-4]
        via = "app-3"
        [hosts.plain]
        address = "198.51.100.8"
        [hosts.round-1]
        via = "round-2"
        [hosts.round-2]
        via = "round-1"
        "#,
    );
    let address = |name| match way(&project, name) {
        Way::Ssh(SshTarget { address, port, user, .. }) => (address, port, user),
        Way::Controller => ("the controller".to_owned(), None, None),
    };
    let bastion = ("198.51.100.7".to_owned(), Some(2222), Some("ops".to_owned()));
    assert_eq!(address("app-1"), bastion);
    assert_eq!(address("app-2"), bastion);
    assert_eq!(address("app-3").0, "the controller");
    assert_eq!(address("app-4").0, "the controller");
    assert_eq!(address("plain").0, "198.51.100.8");
    // A circle is the linter's to report; here it must only end.
    assert!(address("round-1").0.starts_with("round-"));
}

#[test]
fn the_digest_covers_every_word_of_a_plan() {
    let target = Target { host: HostName::new("web-1").expect("a name"), way: Way::Controller, run_as: None };
    let plan = Plan {
        format: FORMAT,
        digest: String::new(),
        made_at: Timestamp::UNIX_EPOCH,
        title: "test".to_owned(),
        playbook: None,
        purpose: Purpose::Apply,
        role: None,
        action: None,
        wanted: None,
        waves: Vec::new(),
        hosts: IndexMap::from([(target.host.clone(), HostPlan::bare(target, "host".to_owned()))]),
        rollout: Rollout {
            at_once: 1,
            budget: FailureBudget::default(),
            before_data: BeforeData::Undo,
            after_data: AfterData::Hold,
            scope: Scope::Host,
            outside_window: OutsideWindow::Leave,
            baseline: Baseline::Park,
            per_minute: None,
        },
        summary: None,
        direct: false,
        notes: Vec::new(),
        acknowledged: Vec::new(),
        warnings: Vec::new(),
    }
    .seal();
    assert!(plan.is_intact());
    let mut text = serde_json::to_value(&plan).expect("plain data");
    let digest = std::mem::take(&mut text["digest"]);
    let whole = Sha256::digest(serde_json::to_vec(&text).expect("plain data"));
    let whole = whole.iter().fold("sha256:".to_owned(), |digest, byte| digest + &format!("{byte:02x}"));
    assert_eq!(digest, whole, "plans that were kept stay readable");
    text["digest"] = digest;
    let mut leaves = Vec::new();
    paths(&text, String::new(), &mut leaves);
    assert!(leaves.len() > 10, "{leaves:?}");
    for path in leaves.iter().filter(|path| *path != "/digest") {
        let mut changed = text.clone();
        let leaf = changed.pointer_mut(path).expect("it is there");
        *leaf = match leaf {
            serde_json::Value::Number(_) => serde_json::json!(7),
            serde_json::Value::String(_) | serde_json::Value::Null => serde_json::json!("other"),
            serde_json::Value::Bool(is) => serde_json::json!(!*is),
            _ => serde_json::Value::Null,
        };
        // What is no plan any more is refused for that.
        if let Ok(changed) = serde_json::from_value::<Plan>(changed) {
            assert!(!changed.is_intact(), "`{path}` can be changed unseen");
        }
    }
}

/// Collects the paths of all single values.
fn paths(value: &serde_json::Value, at: String, into: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| paths(value, format!("{at}/{name}"), into));
        }
        serde_json::Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| paths(value, format!("{at}/{index}"), into));
        }
        _ => into.push(at),
    }
}

/// A plan with nearly everything that a plan can have: that of the example project.
fn example() -> Plan {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let (project, _) = Project::load_with_home(root, None);
    let (playbook, _) = project.load_playbook(&root.join("playbooks/app-upgrade.toml"));
    let now = "2026-11-21T12:00:00Z".parse().expect("a time");
    let order = Order::new("Upgrade", Purpose::Apply, root.join("playbooks"), now);
    compile(&project, &playbook.expect("a playbook"), &order).expect("a plan")
}

#[test]
fn s_12_the_summary_counts_what_the_hosts_of_the_plan_say() {
    let plan = example();
    let summary = plan.summary.clone().expect("it has one");
    assert_eq!(summary, Summary::of(&plan));
    assert_eq!(summary.hosts, plan.hosts.len());
    // Show the page, write the tag down, migrate, switch, wait, take the page away.
    assert_eq!(summary.downtime, Some(Lengths { least: Span::seconds(195), most: Span::seconds(195) }));
    assert_eq!(summary.no_return.len(), 1);
    assert_eq!((summary.no_return[0].number, summary.no_return[0].hosts.len()), (8, plan.hosts.len()));
    // Noon on a Saturday: the window of one host opens on Monday, those of the others are open.
    let opens: Vec<_> = summary.windows.iter().filter_map(|group| group.opens_local.as_deref()).collect();
    assert_eq!(opens, ["Mon 01:00 Europe/Berlin"]);
    let hours = plan.hosts.values().filter_map(|host| host.estimate).map(|estimate| estimate.forward).max();
    assert_eq!(hours, Some(summary.forward.most));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_digest_changes_when_anything_that_a_plan_does_changes(which in 0_usize..100_000, text in "[a-z0-9]{1,8}") {
        // Made once: to make it takes longer than all that is tried with it.
        static EXAMPLE: LazyLock<(Plan, serde_json::Value, Vec<String>)> = LazyLock::new(|| {
            let plan = example();
            let whole = serde_json::to_value(&plan).expect("plain data");
            let mut leaves = Vec::new();
            paths(&whole, String::new(), &mut leaves);
            leaves.retain(|path| path != "/digest");
            (plan, whole, leaves)
        });
        let (plan, whole, leaves) = &*EXAMPLE;
        let path = &leaves[which % leaves.len()];
        let mut changed = whole.clone();
        let leaf = changed.pointer_mut(path).expect("it is there");
        let new = match &*leaf {
            serde_json::Value::Number(number) => serde_json::json!(number.as_u64().unwrap_or(0) + 1 + text.len() as u64),
            serde_json::Value::Bool(is) => serde_json::json!(!is),
            _ => serde_json::json!(text),
        };
        proptest::prop_assume!(*leaf != new);
        *leaf = new;
        // What is no plan any more is refused for that.
        if let Ok(changed) = serde_json::from_value::<Plan>(changed) {
            proptest::prop_assert!(changed == *plan || !changed.is_intact(), "`{path}` can be changed unseen");
        }
    }
}
