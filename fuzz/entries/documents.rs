//! Documents that a person wrote: TOML files, the selectors and templates in them.

use std::{fs, path::Path, sync::LazyLock};

use longshore::{
    config::{
        Project, init,
        template::{Scope, TemplateKind, check, render},
    },
    model::Version,
    plan::{Order, Purpose, compile},
    report::diagnostics,
};
use serde_json::json;
use tempfile::TempDir;

/// One document of the example project is replaced: the first byte says which.
///
/// Reading, judging, resolving and planning end in diagnostics or in a plan, whatever the document says.
pub fn diagnostics(data: &[u8]) {
    let Some((which, document)) = data.split_first() else { return };
    // All but the last of the example's files is a document: `0` is the first.
    let files = init::files();
    let replaced = usize::from(which.wrapping_sub(b'0')) % (files.len() - 1);
    let folder = TempDir::new().expect("a folder");
    for (index, (file, text)) in files.iter().enumerate() {
        let file = folder.path().join(file);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, if index == replaced { document } else { text.as_bytes() }).expect("a file");
    }
    let (project, mut found) = Project::load_with_home(folder.path(), None);
    for host in project.inventory.hosts.keys() {
        let _ = project.resolve_host(host);
    }
    for file in ["playbooks/hello.toml", "playbooks/upgrade.toml"] {
        let (playbook, wrong) = project.load_playbook(&folder.path().join(file));
        found.extend(wrong);
        let Some(playbook) = playbook.filter(|_| found.is_empty()) else { continue };
        match compile(&project, &playbook, &order(folder.path())) {
            Ok(plan) => {
                assert!(plan.is_intact());
                assert!(!plan.hosts.is_empty(), "a plan has hosts");
                let planned: usize = plan.waves.iter().map(|wave| wave.hosts.len()).sum();
                assert_eq!(planned, plan.hosts.len(), "the waves share out the hosts");
            }
            Err(wrong) => assert!(!wrong.is_empty(), "no plan, and nothing wrong"),
        }
    }
    super::assert_is_tame(&diagnostics::render(&found, false));
    super::assert_is_tame(&diagnostics::summary(&found));
}

fn order(base: &Path) -> Order {
    let now = "2026-03-01T09:00:00Z".parse().expect("a time");
    let order = Order::new("fuzz", Purpose::Apply, base.join("playbooks"), now);
    Order { to: Some(Version::new("1.1.0")), ..order }
}

/// A selector means some hosts, or it is told which part of it is wrong.
pub fn selectors(data: &[u8]) {
    static PROJECT: LazyLock<(TempDir, Project)> = LazyLock::new(|| {
        let folder = TempDir::new().expect("a folder");
        fs::create_dir(folder.path().join("inventory")).expect("a folder");
        fs::write(
            folder.path().join("inventory/fleet.toml"),
            "[hosts.web-1]\ntags = [\"eu\"]\n[hosts.web-2]\n[hosts.db]\ntags = [\"eu\", \"gpu\"]\n\
             [groups.prod]\nhosts = [\"web-1\", \"db\"]\n[groups.all-of-it]\ngroups = [\"prod\"]\n",
        )
        .expect("a file");
        let project = Project::load_with_home(folder.path(), None).0;
        (folder, project)
    });
    let selector = String::from_utf8_lossy(data);
    match PROJECT.1.select(&selector) {
        Ok(hosts) => assert!(!hosts.is_empty()),
        Err(error) => {
            let _ = (error.to_string(), error.hint());
            if let Some(range) = error.range() {
                assert!(selector.get(range.clone()).is_some(), "{range:?} of {selector:?}");
            }
        }
    }
}

/// Checking a template underlines a part of it; what is rendered for a shell keeps its values in quotes.
pub fn templates(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let known = json!({
        "name": "two words; rm -rf '$HOME' `id`", "empty": "", "number": 7, "yes": true, "list": ["a", "b"],
        "release": { "version": "1.2.0" }, "host": "web-1",
    });
    let serde_json::Value::Object(scope) = known else { unreachable!("an object was written") };
    for kind in [TemplateKind::Shell, TemplateKind::Text] {
        let problems = check(kind, &text, &scope);
        for problem in &problems {
            assert!(text.get(problem.range.clone()).is_some(), "{:?} of {text:?}", problem.range);
        }
        let rendered = render(kind, &text, &scope);
        assert!(rendered.is_err() || problems.is_empty() || !text.contains("{{"), "{problems:?} was rendered");
        let _ = rendered.map_err(|error| (error.to_string(), error.hint().map(str::to_owned)));
        let _ = render(kind, &text, &Scope::new());
    }
}
