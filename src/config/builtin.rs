//! The profiles compiled into the binary. They are TOML like a user's own, to be printed and copied.

use std::{path::PathBuf, sync::OnceLock};

use indexmap::IndexMap;

use super::{
    documents::{Profile, StepDoc},
    read,
    schema::DocumentKind,
    source::Source,
};
use crate::model::ProfileName;

const FILES: [(&str, &str); 7] = [
    ("host", include_str!("profiles/host.toml")),
    ("compose", include_str!("profiles/compose.toml")),
    ("compose-cpu", include_str!("profiles/compose-cpu.toml")),
    ("compose-gpu", include_str!("profiles/compose-gpu.toml")),
    ("systemd", include_str!("profiles/systemd.toml")),
    ("fly", include_str!("profiles/fly.toml")),
    ("cloud-run", include_str!("profiles/cloud-run.toml")),
];

/// The profile of a host for which nobody names another.
pub(super) const PLAIN: &str = "host";

/// Lists the built-in profiles as they are written, by name.
pub fn builtin_profiles() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.into_iter()
}

/// What is read from every host while planning, by name.
pub fn facts() -> &'static IndexMap<String, StepDoc> {
    static FACTS: OnceLock<IndexMap<String, StepDoc>> = OnceLock::new();
    FACTS.get_or_init(|| {
        let file = PathBuf::from("<built-in facts>");
        let text = include_str!("profiles/facts.toml");
        let (facts, _, wrong) = read::document::<Profile>(DocumentKind::Profile, &file, text);
        assert!(wrong.is_empty(), "the built-in facts are read without complaints: {wrong:?}");
        facts.expect("no complaints, so a document").facts
    })
}

/// Reads the built-in profiles, each with its source.
pub(super) fn read_all() -> IndexMap<ProfileName, (Profile, Source)> {
    FILES
        .into_iter()
        .map(|(name, text)| {
            let file = PathBuf::from(format!("<built-in profile {name}>"));
            let (profile, source, wrong) = read::document::<Profile>(DocumentKind::Profile, &file, text);
            assert!(wrong.is_empty(), "the built-in profile {name} is read without complaints: {wrong:?}");
            let name = ProfileName::new(name).expect("built-in names are names");
            (name, (profile.expect("no complaints, so a document"), source))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Project, Severity},
        steps::Work,
    };

    #[test]
    fn the_built_in_profiles_are_without_complaint_and_declare_what_they_use() {
        // Each as the only profile of an empty inventory: what it uses, it must declare itself.
        let folder = tempfile::tempdir().expect("a folder");
        let (project, found) = Project::load_with_home(folder.path(), None);
        let errors: Vec<_> = found.iter().filter(|found| found.severity == Severity::Error).collect();
        assert!(
            errors.is_empty(),
            "{}",
            errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("\n")
        );
        assert_eq!(project.profiles.len(), FILES.len());
        for profile in project.profiles.values() {
            assert!(profile.about.as_ref().is_some_and(|about| !about.is_empty()), "{profile:?}");
        }
    }

    #[test]
    fn what_runs_a_product_can_be_switched_checked_and_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let (project, _) = Project::load_with_home(folder.path(), None);
        for (name, flat) in project.flat_profiles.iter().filter(|(name, _)| name.as_str() != PLAIN) {
            for verb in ["version", "switch", "health", "logs"] {
                assert!(flat.verbs.contains_key(verb), "{name} has no {verb}");
            }
        }
    }

    #[test]
    fn the_built_in_facts_are_read_by_this_machine() {
        for (name, doc) in facts() {
            let action = doc.action().expect("a step");
            let Work::Host(program) = action.kind().work() else { panic!("{name} is no program") };
            let ran = std::process::Command::new("sh").arg("-c").arg(&program.act).output().expect("a shell");
            let said = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
            assert!(ran.status.success() && !said.is_empty() && !said.contains('\n'), "{name}: {said:?}");
        }
    }
}
