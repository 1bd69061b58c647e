use std::{fs, path::Path};

use serde_json::json;

use super::*;
use crate::config::Severity;

fn project(inventory: &str) -> Project {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("inventory")).expect("a folder");
    fs::write(folder.path().join("inventory/fleet.toml"), inventory).expect("a file");
    let (mut project, found) = Project::load_with_home(folder.path(), Some(Path::new("/home/me")));
    let errors: Vec<_> = found.iter().filter(|found| found.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    project.root = "/project".into();
    project
}

fn host(inventory: &str, name: &str) -> ResolvedHost {
    project(inventory).resolve_host(&HostName::new(name).expect("a name"))
}

#[test]
fn the_nearer_level_wins_tags_add_up_and_variables_merge() {
    let host = host(
        r#"
        [defaults]
        user = "default"
        port = 1
        tags = ["fleet"]
        vars = { a = 1, b = 1, c = 1, d = 1 }
        [groups.outer]
        groups = ["inner"]
        settings = { user = "outer", port = 2, tags = ["outer"], vars = { b = 2, c = 2, d = 2 } }
        # Written before its parent would be, and still nearer to the host.
        [groups.inner]
        hosts = ["web-*"]
        settings = { user = "inner", tags = ["inner", "fleet"], vars = { c = 3, d = 3 } }
        [hosts.web-1]
        tags = ["own"]
        vars = { d = 4 }
        "#,
        "web-1",
    );
    assert_eq!(host.user.as_deref(), Some("inner"));
    assert_eq!(host.port, Some(2));
    assert_eq!(host.address, "web-1");
    assert_eq!(host.groups.iter().map(GroupName::as_str).collect::<Vec<_>>(), ["outer", "inner"]);
    assert_eq!(host.tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["fleet", "outer", "inner", "own"]);
    assert_eq!(serde_json::to_value(&host.vars).expect("json"), json!({ "a": 1, "b": 2, "c": 3, "d": 4 }));
}

#[test]
fn a_parent_comes_before_its_child_however_they_are_written() {
    let host = host("[groups.inner]\nhosts = [\"a\"]\n[groups.outer]\ngroups = [\"inner\"]\n[hosts.a]", "a");
    assert_eq!(host.groups.iter().map(GroupName::as_str).collect::<Vec<_>>(), ["outer", "inner"]);
}

#[test]
fn a_profile_is_laid_over_those_it_extends() {
    let host = host(
        r#"
        [hosts.a]
        profile = "mine"
        vars = { path = "/srv", service = "web" }
        [profiles.mine]
        extends = "compose-gpu"
        vars = { tag-variable = "MINE" }
        [profiles.mine.verbs]
        stop = [{ command = "one" }, { command = "two" }]
        "#,
        "a",
    );
    assert_eq!(host.profile_vars["compose-profiles"].0, json!(["gpu"]));
    assert_eq!(host.profile_vars["tag-variable"].0, json!("MINE"));
    assert_eq!(host.verbs["stop"].len(), 2);
    assert!(host.verbs.contains_key("switch") && host.requires.contains_key("service"));
}

#[test]
fn jumps_by_name_become_addresses_with_the_way_to_them() {
    let inventory = r#"
        [defaults]
        user = "deploy"
        jump = "inner"
        [hosts.outer]
        address = "192.0.2.1"
        port = 2222
        jump = []
        [hosts.inner]
        address = "2001:db8::1"
        port = 22
        user = "admin"
        jump = "outer"
        [hosts.web]
        [hosts.direct]
        jump = []
        [hosts.other]
        jump = ["me@gate.example:2200", "outer"]
        "#;
    let jump = |name: &str| host(inventory, name).jump;
    assert_eq!(jump("web"), ["deploy@192.0.2.1:2222", "admin@[2001:db8::1]:22"]);
    assert_eq!(jump("direct"), Vec::<String>::new());
    assert_eq!(jump("other"), ["me@gate.example:2200", "deploy@192.0.2.1:2222"]);
}

#[test]
fn the_jump_host_of_the_whole_fleet_is_not_reached_through_itself() {
    let inventory = "[defaults]\njump = \"gate\"\n[hosts.gate]\n[hosts.web]";
    assert_eq!(host(inventory, "gate").jump, Vec::<String>::new());
    assert_eq!(host(inventory, "web").jump, ["gate"]);
}

#[test]
fn key_files_are_found_from_the_home_and_the_project() {
    let host = host("[hosts.a]\nidentity-files = [\"~/.ssh/id\", \"keys/id\", \"/etc/id\"]", "a");
    let expected = ["/home/me/.ssh/id", "/project/keys/id", "/etc/id"].map(PathBuf::from);
    assert_eq!(host.identity_files, expected);
}

#[test]
fn an_install_without_a_server_is_reached_from_the_controller() {
    let vars = "vars = { app = \"a\", image = \"i\", path = \"p\" }";
    let inventory = format!(
        "[profiles.mine]\nextends = \"fly\"\n[hosts.a]\nprofile = \"mine\"\n{vars}\n[hosts.b]\nprofile = \"fly\"\nvia = \"c\"\n{vars}\n[hosts.c]"
    );
    assert_eq!(host(&inventory, "a").via.as_deref(), Some("controller"));
    assert_eq!(host(&inventory, "b").via.as_deref(), Some("c"));
    assert_eq!(host(&inventory, "c").via, None);
}

#[test]
fn variables_of_the_host_win_over_the_playbook_the_profile_and_the_role() {
    let host = host(
        "[hosts.a]\nprofile = \"p\"\nvars = { d = \"host\", s = { secret = { env = \"S\" } } }\n\
         [profiles.p]\nvars = { b = \"profile\", c = \"profile\", d = \"profile\" }",
        "a",
    );
    let vars = |json: Json| -> IndexMap<String, Value> { serde_json::from_value(json).expect("variables") };
    let role = vars(json!({ "a": "role", "b": "role", "c": "role", "d": "role", "s": { "secret": { "env": "OLD" } } }));
    let playbook = vars(json!({ "c": "playbook", "d": "playbook" }));
    let mut all = Variables::of(&host, Some(&role), Some(&playbook));
    let text = |all: &Variables, name: &str| all.scope[name].as_str().expect("text").to_owned();
    assert_eq!(["a", "b", "c", "d"].map(|name| text(&all, name)), ["role", "profile", "playbook", "host"]);
    let id = SecretId::new("s");
    assert_eq!(text(&all, "s"), id.placeholder());
    assert_eq!(all.secrets.get(&id), Some(&SecretSource::Env("S".to_owned())));
    assert_eq!(all.scope["host"]["name"], "a");

    all.set_release(None);
    assert!(all.scope["release"]["version"].is_null() && all.scope["wanted"].is_null());
    all.set_wanted(&Version::new("2.0"));
    assert_eq!((&all.scope["release"]["version"], &all.scope["wanted"]), (&json!("2.0"), &json!("2.0")));
}

#[test]
fn a_circle_of_groups_jumps_or_profiles_does_not_go_on_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("inventory")).expect("a folder");
    let text = "[hosts.a]\njump = \"b\"\nprofile = \"p\"\n[hosts.b]\njump = \"a\"\n[groups.x]\ngroups = [\"y\"]\nhosts = [\"a\"]\n\
                [groups.y]\ngroups = [\"x\"]\n[profiles.p]\nextends = \"q\"\n[profiles.q]\nextends = \"p\"";
    fs::write(folder.path().join("inventory/fleet.toml"), text).expect("a file");
    let (project, found) = Project::load_with_home(folder.path(), None);
    assert!(found.len() >= 6, "{found:?}");
    let host = project.resolve_host(&HostName::new("a").expect("a name"));
    assert_eq!(host.groups.len(), 2);
    assert!(host.jump.len() <= 2);
}

#[test]
fn the_nearer_times_that_are_allowed_win_and_those_that_are_denied_add_up() {
    let inventory = r#"
        [defaults]
        window = [
            { from = "01:00", to = "02:00", zone = "UTC" },
            { dates = "2026-12-24", zone = "UTC", kind = "deny" },
        ]
        [groups.eu]
        hosts = ["berlin", "paris", "rome"]
        settings = { window = { dates = "2026-05-01", zone = "UTC", kind = "deny" } }
        [hosts.berlin]
        window = { from = "03:00", to = "04:00", zone = "UTC" }
        [hosts.paris]
        [hosts.rome]
        window = []
        "#;
    let said = |name| host(inventory, name).windows.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(said("berlin"), ["not 2026-12-24 UTC", "not 2026-05-01 UTC", "03:00-04:00 UTC"]);
    assert_eq!(said("paris"), ["01:00-02:00 UTC", "not 2026-12-24 UTC", "not 2026-05-01 UTC"]);
    assert_eq!(said("rome"), ["not 2026-12-24 UTC", "not 2026-05-01 UTC"]);
}
