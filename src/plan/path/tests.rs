//! Which way a host takes: tables of cases, and laws that hold for any list of releases.

use proptest::prelude::*;

use super::*;
use crate::config::documents::Releases;

fn version(text: &str) -> Version {
    Version::new(text)
}

fn releases(toml: &str) -> Releases {
    toml::from_str(toml).expect("releases")
}

/// Releases of which only the versions are known.
fn plain(versions: &str) -> Releases {
    Releases { release: versions.split_whitespace().map(|text| Release::named(version(text))).collect() }
}

fn atlas(releases: &Releases) -> Atlas<'_> {
    Atlas { releases: Some(releases), changelog: None, needs_notes: false, direct: false, allow_major: false }
}

/// The way as a person would write it: `1.2.3 -> 1.3.0 minor -> 1.3.1 patch`, or why there is none.
fn way(atlas: &Atlas<'_>, from: &str, to: &str) -> String {
    way_where(atlas, from, to, &|_| false)
}

fn way_where(atlas: &Atlas<'_>, from: &str, to: &str, allows: &dyn Fn(&Version) -> bool) -> String {
    match atlas.way(&version(from), &version(to), allows) {
        Ok(hops) => hops.iter().fold(from.to_owned(), |way, hop| format!("{way} -> {} {}", hop.to, hop.class.as_str())),
        Err(error) => error.to_string(),
    }
}

#[test]
fn f_01_tags_are_told_from_releases() {
    for (tag, kind) in [
        ("1.2.3", TagKind::Release),
        ("v1.2.3", TagKind::Release),
        ("0.6.0+build.7", TagKind::Release),
        ("1.3.0-rc.1", TagKind::PreRelease),
        ("pr-12", TagKind::PullRequest),
        ("PR_12", TagKind::PullRequest),
        ("pr12", TagKind::PullRequest),
        ("pull/12", TagKind::PullRequest),
        ("latest", TagKind::Floating),
        ("latest-gpu", TagKind::Floating),
        ("develop", TagKind::Floating),
        ("main-20260101", TagKind::Floating),
        ("stable", TagKind::Floating),
        ("sha256:0123", TagKind::Digest),
        ("16-alpine", TagKind::Other),
        ("proud", TagKind::Other),
        ("", TagKind::Other),
    ] {
        assert_eq!(TagKind::of(&version(tag)), kind, "{tag}");
    }
}

#[test]
fn f_01_what_is_no_release_is_refused_unless_the_host_allows_it() {
    let list = plain("1.2.0 1.3.0 1.4.0-rc.1");
    let atlas = atlas(&list);
    assert_eq!(way(&atlas, "1.2.0", "pr-12"), "`pr-12` is the build of a pull request, not a release");
    assert_eq!(way(&atlas, "1.2.0", "1.5.0-beta.2"), "1.5.0-beta.2 is a pre-release");
    let allows = |tag: &Version| tag.as_str().starts_with("pr-") || tag.as_str() == "1.5.0-beta.2";
    assert_eq!(way_where(&atlas, "1.2.0", "pr-12", &allows), "1.2.0 -> pr-12 minor");
    assert_eq!(way_where(&atlas, "1.2.0", "1.5.0-beta.2", &allows), "1.2.0 -> 1.5.0-beta.2 minor");
    assert_eq!(way_where(&atlas, "1.2.0", "pull-7", &allows), "`pull-7` is the build of a pull request, not a release");
    // One that is listed was meant to be installed.
    assert_eq!(way(&atlas, "1.3.0", "1.4.0-rc.1"), "1.3.0 -> 1.4.0-rc.1 minor");
}

#[test]
fn f_02_a_tag_that_floats_is_no_version_to_pin() {
    let list = plain("1.2.0 1.3.0");
    for tag in ["latest", "develop", "main"] {
        assert_eq!(way(&atlas(&list), "1.2.0", tag), format!("`{tag}` is a tag that floats, not a release"));
        let alone = Atlas { releases: None, ..atlas(&list) };
        assert_eq!(way(&alone, "1.2.0", tag), format!("`{tag}` is a tag that floats, not a release"));
    }
    let found = way(&atlas(&list), "latest", "1.3.0");
    assert_eq!(found, "`latest` is installed, and nobody can say which releases lie between it and 1.3.0");
}

#[test]
fn f_03_the_way_goes_one_minor_at_a_time() {
    let list = plain("1.2.3 1.3.0 1.3.1 1.4.0 1.5.0 1.5.1");
    let atlas = atlas(&list);
    assert_eq!(way(&atlas, "1.2.3", "1.5.0"), "1.2.3 -> 1.3.1 minor -> 1.4.0 minor -> 1.5.0 minor");
    assert_eq!(way(&atlas, "1.2.3", "1.3.0"), "1.2.3 -> 1.3.0 minor");
    assert_eq!(way(&atlas, "1.3.0", "1.3.1"), "1.3.0 -> 1.3.1 patch");
    // Not listed, but its place is known.
    assert_eq!(way(&atlas, "1.2.9", "1.4.0"), "1.2.9 -> 1.3.1 minor -> 1.4.0 minor");
    assert_eq!(way(&atlas, "v1.5.1", "1.5.1"), "v1.5.1");
    assert_eq!(way(&atlas, "1.5.0", "1.6.0"), "there is no release 1.6.0");
}

#[test]
fn f_05_the_class_follows_from_which_number_changed() {
    for (from, to, class) in [
        ("1.2.3", "1.2.4", ReleaseKind::Patch),
        ("1.2.3", "1.3.0", ReleaseKind::Minor),
        ("1.9.0", "2.0.0", ReleaseKind::Major),
        ("0.3.2", "0.3.3", ReleaseKind::Patch),
        ("0.3.2", "0.4.0", ReleaseKind::Minor),
        ("1.3.0-rc.1", "1.3.0", ReleaseKind::Minor),
        ("1.3.1-rc.1", "1.3.1", ReleaseKind::Patch),
        ("16-alpine", "17-alpine", ReleaseKind::Minor),
    ] {
        assert_eq!(delta(&version(from), &version(to)), class, "{from} to {to}");
    }
    let list = plain("1.2.0 1.3.0");
    assert_eq!(way(&atlas(&list), "1.3.0", "1.2.0"), "1.3.0 is installed, and 1.2.0 is older");
    let none = Atlas { releases: None, ..atlas(&list) };
    assert_eq!(way(&none, "1.3.0", "1.2.9"), "1.3.0 is installed, and 1.2.9 is older");
    assert_eq!(way(&none, "1.2.0", "1.5.0"), "1.2.0 -> 1.5.0 minor");
}

#[test]
fn f_07_a_patch_that_migrates_or_needs_something_is_a_minor() {
    let list = releases(
        r#"
        release = [
            { version = "1.0.0", migration = "100" },
            { version = "1.0.1", migration = "100" },
            { version = "1.0.2", migration = "102" },
            { version = "1.0.3", requires-env = ["KEY"], migration = "102" },
            { version = "1.0.4" },
        ]
        "#,
    );
    let changelog = Changelog::parse("## 1.0.4\n### BREAKING CHANGES\n- all is new\n");
    let atlas = Atlas { changelog: Some(&changelog), ..atlas(&list) };
    let hop = |from: &str, to: &str| {
        let hops = atlas.way(&version(from), &version(to), &|_| false).expect("a way");
        assert_eq!(hops.len(), 1, "patches are one hop: {hops:?}");
        (hops[0].class, hops[0].raised.clone())
    };
    assert_eq!(hop("1.0.0", "1.0.1"), (ReleaseKind::Patch, Vec::new()));
    assert_eq!(hop("1.0.1", "1.0.2"), (ReleaseKind::Minor, vec!["1.0.2 migrates the database".to_owned()]));
    assert_eq!(hop("1.0.2", "1.0.3"), (ReleaseKind::Minor, vec!["1.0.3 needs KEY".to_owned()]));
    assert_eq!(
        hop("1.0.3", "1.0.4"),
        (ReleaseKind::Minor, vec!["1.0.4 has breaking changes or a required action".to_owned()])
    );
    assert_eq!(hop("1.0.0", "1.0.3").1.len(), 2);
}

#[test]
fn f_06_f_17_the_target_and_every_minor_on_the_way_need_an_entry() {
    let list = plain("1.2.0 1.3.0 1.3.1 1.4.0 1.5.0 1.5.1");
    let changelog = Changelog::parse("## 1.2.0\n## 1.4.0\n");
    let careful = Atlas { changelog: Some(&changelog), needs_notes: true, ..atlas(&list) };
    let silent = "nobody said what these releases bring: ";
    for direct in [false, true] {
        let atlas = Atlas { direct, ..careful };
        // The hop without `--direct` ends at 1.3.1, which then has to be told, too.
        let stop = if direct { "1.3.0, 1.5.0" } else { "1.3.0, 1.3.1, 1.5.0" };
        assert_eq!(way(&atlas, "1.2.0", "1.5.0"), format!("{silent}{stop}"));
    }
    assert_eq!(way(&careful, "1.5.0", "1.5.1"), format!("{silent}1.5.1"), "a patch that is wanted");
    let told = Changelog::parse("## 1.3.0\n## 1.3.1\n## 1.4.0\n## 1.5.0\n");
    let told = Atlas { changelog: Some(&told), ..careful };
    assert_eq!(way(&told, "1.2.0", "1.5.0"), "1.2.0 -> 1.3.1 minor -> 1.4.0 minor -> 1.5.0 minor");
    // A minor that may not be installed is passed over, and what it brought comes with the next.
    let mut blocked = list.clone();
    blocked.release[3].blocked = Some("loses mail".to_owned());
    let told = Changelog::parse("## 1.3.0\n## 1.3.1\n## 1.5.0\n");
    let passing = Atlas { releases: Some(&blocked), changelog: Some(&told), ..careful };
    assert_eq!(way(&passing, "1.2.0", "1.5.0"), format!("{silent}1.4.0"));
    let mut noted = list.clone();
    noted.release.iter_mut().for_each(|release| release.notes = Some("read me".to_owned()));
    let noted = Atlas { releases: Some(&noted), changelog: None, ..careful };
    let hops = noted.way(&version("1.2.0"), &version("1.4.0"), &|_| false).expect("a way");
    assert_eq!(hops[0].notes, [version("1.3.0"), version("1.3.1")], "what is passed over is to be read, too");
}

#[test]
fn f_18_a_direct_hop_accumulates_what_it_passes_over() {
    let list = releases(
        r#"
        release = [
            { version = "1.0.0", migration = "100" },
            { version = "1.1.0", migration = "110", requires-env = ["A", "B"], backward-compatible = true },
            { version = "1.2.0", migration = "120", requires-env = ["B", "C"], notes = "see" },
        ]
        "#,
    );
    let atlas = Atlas { direct: true, ..atlas(&list) };
    let hops = atlas.way(&version("1.0.0"), &version("1.2.0"), &|_| false).expect("a way");
    assert_eq!(
        hops,
        [Hop {
            from: version("1.0.0"),
            to: version("1.2.0"),
            class: ReleaseKind::Minor,
            raised: Vec::new(),
            skips: vec![version("1.1.0")],
            requires_env: ["A", "B", "C"].map(str::to_owned).to_vec(),
            migrations: ["110", "120"].map(str::to_owned).to_vec(),
            required_stop: false,
            notes: vec![version("1.2.0")],
            backward_compatible: false,
        }]
    );
}

#[test]
fn no_required_stop_is_passed_over_and_no_blocked_release_installed() {
    let list = releases(
        r#"
        release = [
            { version = "1.0.0" },
            { version = "1.1.0" },
            { version = "1.1.1", required-stop = true },
            { version = "1.1.2" },
            { version = "1.2.0", blocked = "loses mail" },
            { version = "1.3.0" },
            { version = "1.3.1", blocked = "does not start" },
            { version = "1.4.0" },
        ]
        "#,
    );
    let careful = atlas(&list);
    let direct = Atlas { direct: true, ..careful };
    assert_eq!(way(&careful, "1.0.0", "1.4.0"), "1.0.0 -> 1.1.1 minor -> 1.3.0 minor -> 1.4.0 minor");
    assert_eq!(way(&direct, "1.0.0", "1.4.0"), "1.0.0 -> 1.1.1 minor -> 1.4.0 minor");
    assert_eq!(way(&direct, "1.0.0", "1.2.0"), "release 1.2.0 is blocked: loses mail");
    // One may leave it.
    assert_eq!(way(&direct, "1.2.0", "1.4.0"), "1.2.0 -> 1.4.0 minor");

    let mut list = list;
    list.release[2].blocked = Some("gone".to_owned());
    let blocked = "the way to 1.4.0 must stop at 1.1.1, and that is blocked: gone";
    assert_eq!(way(&Atlas { direct: true, ..atlas(&list) }, "1.0.0", "1.4.0"), blocked);
    assert_eq!(way(&atlas(&list), "1.1.2", "1.3.0"), "1.1.2 -> 1.3.0 minor");
}

#[test]
fn f_33_f_34_a_major_is_refused_where_no_playbook_is_made_for_it() {
    let list = plain("0.8.0 0.9.0 1.0.0 1.1.0");
    assert_eq!(delta(&version("0.9.0"), &version("1.0.0")), ReleaseKind::Major);
    for direct in [false, true] {
        let atlas = Atlas { direct, ..atlas(&list) };
        assert_eq!(way(&atlas, "0.8.0", "1.1.0"), "1.0.0 is a major release after 0.8.0");
    }
    let refusal = atlas(&list).way(&version("0.9.0"), &version("1.0.0"), &|_| false).expect_err("a major");
    assert!(refusal.hint().is_some_and(|hint| hint.contains("allow-major = true")), "{refusal:?}");
    let allowed = Atlas { allow_major: true, ..atlas(&list) };
    assert_eq!(way(&allowed, "0.8.0", "1.1.0"), "0.8.0 -> 0.9.0 minor -> 1.0.0 major -> 1.1.0 minor");
}

#[test]
fn a_release_may_say_itself_how_big_it_is() {
    let list = releases(
        r#"
        release = [
            { version = "2025.11", kind = "minor" },
            { version = "2026.01", kind = "minor" },
            { version = "2026.02", kind = "patch" },
        ]
        "#,
    );
    // Such numbers are no versions to semver (`01`), so the order of the list is theirs.
    assert_eq!(way(&atlas(&list), "2025.11", "2026.02"), "2025.11 -> 2026.02 minor");
    assert_eq!(way(&atlas(&list), "2026.02", "2025.11"), "2026.02 is installed, and 2025.11 is older");
    let unlisted = way(&atlas(&list), "2025.01", "2026.02");
    assert_eq!(unlisted, "`2025.01` is installed, and nobody can say which releases lie between it and 2026.02");
}

/// A release list in order: versions with gaps, some of them stops, blocked, with migrations or variables.
fn any_releases() -> impl Strategy<Value = Releases> {
    let one = (0_u8..4, any::<u8>());
    proptest::collection::vec(one, 2..14).prop_map(|steps| {
        let (mut major, mut minor, mut patch) = (0_u64, 1_u64, 0_u64);
        let mut list = Vec::new();
        for (index, (step, flags)) in steps.into_iter().enumerate() {
            match step {
                0 | 1 => patch += 1,
                2 => (minor, patch) = (minor + 1, 0),
                _ if flags % 8 == 0 => (major, minor, patch) = (major + 1, 0, 0),
                _ => (minor, patch) = (minor + 1, 0),
            }
            list.push(Release {
                required_stop: flags & 0x10 != 0,
                blocked: (flags & 0x60 == 0x60).then(|| "broken".to_owned()),
                migration: (flags & 0x80 != 0).then(|| format!("{index:03}")),
                requires_env: if flags & 0x06 == 0x06 { vec![format!("VAR_{index}")] } else { Vec::new() },
                ..Release::named(version(&format!("{major}.{minor}.{patch}")))
            });
        }
        Releases { release: list }
    })
}

proptest! {
    #[test]
    fn every_way_leads_from_the_one_to_the_other_and_breaks_no_rule(
        list in any_releases(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        direct: bool,
        allow_major: bool,
    ) {
        let (from, to) = (from.index(list.release.len()), to.index(list.release.len()));
        let atlas = Atlas { direct, allow_major, ..atlas(&list) };
        let (first, last) = (&list.release[from].version, &list.release[to].version);
        let found = atlas.way(first, last, &|_| false);
        let Ok(hops) = found else {
            let between = &list.release[(from + 1).min(to + 1)..=to];
            let reason = to < from
                || list.release[to].blocked.is_some()
                || between.iter().any(|release| release.required_stop && release.blocked.is_some())
                || !allow_major;
            prop_assert!(reason, "refused without a reason: {found:?}");
            return Ok(());
        };
        prop_assert!(to >= from);
        if from == to {
            prop_assert_eq!(hops.len(), 0);
            return Ok(());
        }
        prop_assert_eq!(&hops[0].from, first);
        prop_assert_eq!(&hops.last().expect("a hop").to, last);
        for pair in hops.windows(2) {
            prop_assert_eq!(&pair[0].to, &pair[1].from);
        }
        let on_the_way = &list.release[from + 1..=to];
        for release in on_the_way {
            let stops = hops.iter().any(|hop| hop.to == release.version);
            let skipped = hops.iter().filter(|hop| hop.skips.contains(&release.version)).count();
            prop_assert_eq!(usize::from(stops) + skipped, 1, "each release is on exactly one hop");
            prop_assert!(!(stops && release.blocked.is_some()), "a blocked release is installed");
            prop_assert!(stops || !release.required_stop, "a required stop is passed over");
        }
        let wanted_env: Vec<_> = on_the_way.iter().flat_map(|release| release.requires_env.clone()).collect();
        let asked: Vec<_> = hops.iter().flat_map(|hop| hop.requires_env.clone()).collect();
        prop_assert_eq!(wanted_env, asked, "what is passed over is asked for all the same");
        let heads: Vec<_> = on_the_way.iter().filter_map(|release| release.migration.clone()).collect();
        let moved: Vec<_> = hops.iter().flat_map(|hop| hop.migrations.clone()).collect();
        prop_assert_eq!(heads, moved);
        for hop in &hops {
            prop_assert!(hop.class < ReleaseKind::Major || allow_major);
            prop_assert!(hop.class >= delta(&hop.from, &hop.to));
            if hop.class == ReleaseKind::Patch {
                prop_assert!(hop.migrations.is_empty() && hop.requires_env.is_empty(), "{:?} is more than a patch", hop);
            }
            // One minor at a time: whatever lies between two minors of one hop could not be installed.
            let minors: Vec<_> = on_the_way
                .iter()
                .filter(|release| (hop.skips.contains(&release.version) || hop.to == release.version) && release.blocked.is_none())
                .map(|release| release.version.semver().expect("a version"))
                .map(|version| (version.major, version.minor))
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .filter(|line| {
                    let from = hop.from.semver().expect("a version");
                    *line != (from.major, from.minor)
                })
                .collect();
            prop_assert!(direct || minors.len() <= 1, "{:?} passes {:?}", hop, minors);
        }
        // A direct way is never the longer one.
        let other = Atlas { direct: true, ..atlas }.way(first, last, &|_| false).expect("a way");
        prop_assert!(other.len() <= hops.len());
    }

    #[test]
    fn f_05_a_way_back_is_always_refused(list in any_releases(), from in 1_usize..13, to in 0_usize..13) {
        let from = from.min(list.release.len() - 1);
        let to = to.min(from - 1);
        let (from, to) = (&list.release[from].version, &list.release[to].version);
        let refused = Atlas { allow_major: true, direct: true, ..atlas(&list) }.way(from, to, &|_| true);
        prop_assert!(matches!(refused, Err(NoWay::Downgrade { .. } | NoWay::Blocked { .. })), "{refused:?}");
    }
}
