use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::config::documents::{Inventory, Playbook, Role};

fn messages<T: DeserializeOwned>(kind: DocumentKind, text: &str) -> (Option<T>, Vec<String>) {
    let (document, _, found) = document::<T>(kind, Path::new("x.toml"), text);
    let said = found.into_iter().map(|found| {
        let place = found.place.map(|place| place.text[place.range].to_owned()).unwrap_or_default();
        format!("{place}: {}", found.message)
    });
    (document, said.collect())
}

#[test]
fn what_is_wrong_is_left_out_and_the_rest_is_kept() {
    let (inventory, found) = messages::<Inventory>(
        DocumentKind::Inventory,
        "[hosts.a]\nport = \"x\"\ntags = [\"good\", \"b d\", \"fine\"]\n[hosts.b]\nconnect-timeout = \"soon\"\nuser = \"me\"\n",
    );
    assert_eq!(
        found,
        [
            "\"x\": `port` must be a whole number",
            "\"b d\": `b d` cannot be a name: a name consists of letters, digits, `.`, `_` and `-`, not ` `",
            "\"soon\": `soon` is not a length of time such as `90s`, `5m` or `1h 30m`",
        ]
    );
    let inventory = inventory.expect("an inventory");
    assert_eq!(inventory.hosts["a"].port, None);
    assert_eq!(inventory.hosts["a"].tags.len(), 2);
    assert_eq!(inventory.hosts["b"].user.as_deref(), Some("me"));
}

#[test]
fn a_mistake_inside_one_or_many_is_found_where_it_is() {
    for text in [
        "[[upgrade]]\ncommand = \"x\"\nundo = { command = \"y\", efect = \"code\" }",
        "[[upgrade]]\ncommand = \"x\"\nundo = [{ command = \"y\", efect = \"code\" }]",
    ] {
        let (role, found) = messages::<Role>(DocumentKind::Role, text);
        assert_eq!(found, ["efect: unknown key `efect`"]);
        assert_eq!(role.expect("a role").upgrade[0].undo.as_ref().expect("an undo").0.len(), 1);
    }
}

#[test]
fn a_mistyped_key_is_not_told_a_second_time_as_missing() {
    let (playbook, found) = messages::<Playbook>(DocumentKind::Playbook, "host = \"all\"\n");
    assert!(playbook.is_none());
    assert_eq!(found, ["host: unknown key `host`"]);
}

#[test]
fn a_document_without_mistakes_reads_the_same_as_without_the_checks() {
    let text = include_str!("../../../inventory/fleet.toml");
    let (inventory, found) = messages::<Inventory>(DocumentKind::Inventory, text);
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(inventory, toml::from_str(text).ok());
}

#[test]
fn a_fleet_of_thousands_is_read_at_once() {
    let mut text = "[defaults]\nprofile = \"host\"\n".to_owned();
    for index in 0..3000 {
        let _ = writeln!(text, "[hosts.web-{index}]\naddress = \"10.0.0.1\"\ntags = [\"t{}\"]", index % 7);
    }
    text.push_str("[groups.all-web]\nhosts = [\"web-*\"]\n");
    let (inventory, found) = messages::<Inventory>(DocumentKind::Inventory, &text);
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(inventory.expect("an inventory").hosts.len(), 3000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_makes_the_reading_panic(text in "[a-z\\[\\]{}=.,\"'\n #0-9\\\\é-]{0,120}") {
        let _ = messages::<Inventory>(DocumentKind::Inventory, &text);
    }

    /// A good document with one part cut out, doubled or replaced.
    #[test]
    fn no_slip_in_a_good_document_makes_the_reading_panic_or_pass_in_silence_as_another(
        at in 0..4000_usize, length in 0..12_usize, put in "[a-z\"\\[=\n{}]{0,3}",
    ) {
        let good = include_str!("../../../roles/webapp/role.toml");
        let floor = |mut at: usize| { at = at.min(good.len()); while !good.is_char_boundary(at) { at -= 1; } at };
        let (start, end) = (floor(at), floor(at + length));
        let text = format!("{}{put}{}", &good[..start], &good[end..]);
        let (role, found) = messages::<Role>(DocumentKind::Role, &text);
        // What the plain reading refuses must not pass without a word.
        if toml::from_str::<Role>(&text).is_err() {
            prop_assert!(!found.is_empty(), "{}", text);
        } else {
            prop_assert_eq!(role, toml::from_str(&text).ok(), "{:?}", found);
        }
    }
}
