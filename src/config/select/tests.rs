use proptest::prelude::*;

use super::*;

/// A project of eight hosts: `h0` to `h7`, with groups and tags that overlap.
fn project() -> Project {
    let text = r#"
        [defaults]
        profile = "host"
        [hosts.h0]
        tags = ["gpu"]
        [hosts.h1]
        tags = ["gpu", "eu"]
        [hosts.h2]
        [hosts.h3]
        profile = "compose"
        [hosts.h4]
        [hosts.h5]
        [hosts.h6]
        [hosts.both]
        [groups.low]
        hosts = ["h0", "h1", "h2"]
        [groups.middle]
        hosts = ["h2", "h3", "h4"]
        [groups.outer]
        groups = ["low"]
        hosts = ["h6"]
        [groups.both]
        hosts = ["h5"]
        [groups.nobody]
    "#;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("inventory")).expect("a folder");
    std::fs::write(folder.path().join("inventory/fleet.toml"), text).expect("a file");
    let (project, found) = Project::load_with_home(folder.path(), None);
    let errors: Vec<_> = found.iter().filter(|d| d.severity == crate::config::Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    project
}

fn selected(selector: &str) -> String {
    let hosts = project().select(selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
    hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn selectors_add_restrict_and_take_away() {
    let table = [
        ("all", "h0 h1 h2 h3 h4 h5 h6 both"),
        ("h4:h0", "h0 h4"),
        ("h4,h0", "h0 h4"),
        ("low:middle", "h0 h1 h2 h3 h4"),
        ("low:&middle", "h2"),
        ("low:!middle", "h0 h1"),
        ("all:!low:!h6", "h3 h4 h5 both"),
        ("!h1:low", "h0 h2"),
        ("outer", "h0 h1 h2 h6"),
        ("outer:&low", "h0 h1 h2"),
        ("tag=gpu", "h0 h1"),
        ("tag=gpu:&tag=eu", "h1"),
        ("tag=g*", "h0 h1"),
        ("profile=compose", "h3"),
        ("h?", "h0 h1 h2 h3 h4 h5 h6"),
        ("*6:b*", "h6 both"),
        ("both", "h5 both"),
        ("host=both", "both"),
        ("group=both", "h5"),
        ("h[1-3]", "h1 h2 h3"),
        ("h[0-2,6],both", "h0 h1 h2 h5 h6 both"),
        ("all:!h[2-6]", "h0 h1 both"),
        ("host=h[4,5]:&middle", "h4"),
        ("all : !low", "h3 h4 h5 h6 both"),
    ];
    for (selector, hosts) in table {
        assert_eq!(selected(selector), hosts, "{selector}");
    }
}

#[test]
fn a_selector_that_selects_nothing_usable_says_what_to_write() {
    let table = [
        ("", "the selector is empty", "`all`"),
        ("  ", "the selector is empty", "`all`"),
        ("!h1", "does not say which hosts to begin with", "`all:!h1`"),
        ("lwo", "there is no host or group `lwo`", "did you mean `low`?"),
        ("gpu", "there is no host or group `gpu`", "`tag=gpu`"),
        ("compose", "there is no host or group `compose`", "`profile=compose`"),
        ("tag=gqu", "there is no host with the tag `gqu`", "did you mean `gpu`?"),
        ("tags=gpu", "there is no selector `tags=`", "did you mean `tag`?"),
        ("low:!outer", "selects no host", "longshore hosts"),
        ("nobody", "selects no host", "longshore hosts"),
        ("x*", "selects no host", "longshore hosts"),
        ("low::middle", "not a part of a selector", "joined by"),
        ("*: :é", "not a part of a selector", "joined by"),
        ("low;rm", "not a part of a selector", "joined by"),
        ("h[1-9]", "there is no host or group `h7`", "did you mean"),
        ("h[1-", "not a part of a selector", "web-[1-3,7]"),
        ("h[3-1]", "not a part of a selector", "web-[1-3,7]"),
        ("h[a]:h1", "not a part of a selector", "web-[1-3,7]"),
        ("h[]", "not a part of a selector", "web-[1-3,7]"),
        ("h1]", "not a part of a selector", "web-[1-3,7]"),
        ("h[0-9999999999999]", "not a part of a selector", "web-[1-3,7]"),
        ("h[1-200][1-200]", "not a part of a selector", "web-[1-3,7]"),
        ("-rf", "not a part of a selector", "joined by"),
    ];
    let project = project();
    for (selector, message, hint) in table {
        let error = project.select(selector).expect_err(selector);
        assert!(error.to_string().contains(message), "{selector:?}: {error}");
        let given = error.hint().unwrap_or_default();
        assert!(given.contains(hint), "{selector:?}: {given}");
        if let Some(range) = error.range() {
            assert!(selector.get(range.clone()).is_some_and(|part| !part.is_empty()), "{selector:?}: {range:?}");
        }
    }
}

fn term() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("all".to_owned()),
        (0..7_usize).prop_map(|index| format!("h{index}")),
        prop::sample::select(vec!["low", "middle", "outer", "tag=gpu", "profile=compose", "h*", "both"])
            .prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_the_terms_does_not_matter(
        terms in prop::collection::vec((prop::sample::select(vec!["", "&", "!"]), term()), 1..6)
            .prop_flat_map(|terms| (Just(terms.clone()), Just(terms).prop_shuffle())),
    ) {
        let project = project();
        let text = |terms: &[(&str, String)]| terms.iter().map(|(join, term)| format!("{join}{term}")).collect::<Vec<_>>().join(":");
        let (one, other) = (project.select(&text(&terms.0)), project.select(&text(&terms.1)));
        prop_assert_eq!(one.ok(), other.ok());
    }

    #[test]
    fn union_intersection_and_difference_obey_the_laws_of_sets(a in term(), b in term()) {
        let project = project();
        let set = |selector: String| project.select(&selector).unwrap_or_default();
        let (of_a, of_b) = (set(a.clone()), set(b.clone()));
        let both = set(format!("{a}:&{b}"));
        let without = set(format!("{a}:!{b}"));
        prop_assert_eq!(&both, &of_a.iter().filter(|host| of_b.contains(host)).cloned().collect::<Vec<_>>());
        prop_assert_eq!(&without, &of_a.iter().filter(|host| !of_b.contains(host)).cloned().collect::<Vec<_>>());
        prop_assert_eq!(set(format!("{a}:{b}")).len(), of_b.len() + without.len());
        prop_assert_eq!(of_a.len(), both.len() + without.len());
    }

    #[test]
    fn no_text_makes_a_selector_panic(text in "[ahlo=:&!,*? é\\[\\]019-]{0,20}") {
        if let Err(error) = project().select(&text) && let Some(range) = error.range() {
            prop_assert!(text.get(range).is_some());
        }
    }

    #[test]
    fn a_glob_matches_what_it_was_made_from(text in "[a-c]{0,8}", cut in 0..8_usize) {
        let cut = cut.min(text.len());
        let glob = format!("{}*{}", &text[..cut], &text[cut..]);
        prop_assert!(matches_glob(&glob, &text));
        let long = format!("{text}x");
        prop_assert!(!matches_glob(&text, &long));
    }
}
