//! Shares the selected hosts out to waves: the canary first, then by size, every host in exactly one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{FailureBudget, Watch, Wave};
use crate::{
    config::documents::{Amount, CanaryHosts, RolloutDoc, Soak, WaveBudget, WaveHosts},
    model::{HostName, Span},
};

/// What of a host counts when a canary is to be representative: value by fact (`profile`, `version`, a variable).
pub type Traits = BTreeMap<String, String>;

/// Why the waves cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaveError {
    #[error("the canary names `{0}`, which is not among the selected hosts")]
    NotSelected(String),
    #[error("the canary is empty: no selected host matches")]
    EmptyCanary,
}

/// Makes the waves of `hosts`, in their order. `select` resolves a selector to hosts of the inventory.
pub fn waves(
    hosts: &[HostName],
    rollout: &RolloutDoc,
    traits: &BTreeMap<HostName, Traits>,
    select: &dyn Fn(&str) -> Option<Vec<HostName>>,
) -> Result<Vec<Wave>, WaveError> {
    let mut waves = Vec::new();
    let soak = rollout.soak.clone().unwrap_or_else(|| Soak::of(Span::seconds(0)));
    let wave = |name: String, hosts: Vec<HostName>, soak: &Soak, promote| Wave {
        name,
        budget: within(&rollout.budget.wave, hosts.len()),
        hosts,
        soak: soak.length,
        watch: watch(soak),
        promote,
    };
    let mut left: Vec<HostName> = hosts.to_vec();

    if let Some(canary) = &rollout.canary {
        let mut chosen = match &canary.hosts {
            CanaryHosts::Count(count) => {
                representative(&left, *count as usize, &represented(&canary.represent), traits)
            }
            CanaryHosts::Names(names) => names
                .iter()
                .map(|name| {
                    left.iter()
                        .find(|host| host.as_str() == name)
                        .cloned()
                        .ok_or_else(|| WaveError::NotSelected(name.clone()))
                })
                .collect::<Result<Vec<_>, _>>()?,
            CanaryHosts::Selector(selector) => {
                let wanted: BTreeSet<_> = select(selector).unwrap_or_default().into_iter().collect();
                left.iter().filter(|host| wanted.contains(*host)).cloned().collect()
            }
        };
        if chosen.is_empty() {
            return Err(WaveError::EmptyCanary);
        }
        // A list may name a host twice.
        let mut seen = BTreeSet::new();
        chosen.retain(|host| seen.insert(host.clone()));
        left.retain(|host| !chosen.contains(host));
        let soak = canary.soak.as_ref().unwrap_or(&soak);
        waves.push(wave("canary".to_owned(), chosen, soak, canary.promote.unwrap_or(rollout.promote)));
    }

    // What the sizes leave over goes last, so that no host is forgotten.
    for next in rollout.waves.iter().chain([&WaveHosts::Amount(Amount::Rest)]) {
        let chosen: Vec<_> = match next {
            WaveHosts::Amount(amount) => {
                let size = resolve(*amount, hosts.len(), Rounding::Up).unwrap_or(left.len()).min(left.len());
                left.drain(..size).collect()
            }
            WaveHosts::Selector(_) => {
                let wanted = next.selector().and_then(select).unwrap_or_default();
                left.extract_if(.., |host| wanted.contains(host)).collect()
            }
        };
        if !chosen.is_empty() {
            let name = format!("wave {}", waves.iter().filter(|wave: &&Wave| wave.name != "canary").count() + 1);
            waves.push(wave(name, chosen, &soak, rollout.promote));
        }
    }
    if let Some(last) = waves.last_mut() {
        // Nothing waits for the last wave; its soak still counts, as proof.
        last.promote = crate::config::documents::Promote::Auto;
    }
    Ok(waves)
}

/// The facts a canary represents: the profile, where it names none.
fn represented(facts: &[String]) -> Vec<String> {
    if facts.is_empty() { vec!["profile".to_owned()] } else { facts.to_vec() }
}

/// Resolves what may go wrong within one wave to numbers.
fn within(budget: &WaveBudget, hosts: usize) -> FailureBudget {
    let limit = |amount: Option<Amount>| amount.and_then(|amount| resolve(amount, hosts, Rounding::Down));
    FailureBudget {
        failed: limit(budget.failed),
        unreachable: limit(budget.unreachable),
        inconclusive: limit(budget.inconclusive),
        parked: limit(budget.parked),
        same_failure: None,
    }
}

/// Resolves how a soak watches to numbers.
fn watch(soak: &Soak) -> Watch {
    let usual = Watch::default();
    let count = |count: Option<u32>, usual: usize| count.map_or(usual, |count| count.max(1) as usize);
    let tenth = (soak.length.0 / 10).clamp(Duration::from_secs(1), usual.every.0);
    let healthy = count(soak.healthy, usual.healthy);
    Watch {
        every: soak.every.unwrap_or(Span(tenth)),
        healthy,
        // Who asks for several green rounds in a row leaves time for them: all there is, unless told otherwise.
        within: soak.within.unwrap_or(if healthy > 1 { soak.length } else { usual.within }),
        red: count(soak.red, usual.red),
        flaps: count(soak.flaps, usual.flaps),
        control: soak.control.map_or(usual.control, |count| count as usize),
    }
}

/// Which way a percentage of hosts is made whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    Up,
    Down,
}

/// Resolves an amount of `total` hosts to a number; `None` for the rest.
pub fn resolve(amount: Amount, total: usize, rounding: Rounding) -> Option<usize> {
    match amount {
        Amount::Count(count) => Some(count as usize),
        Amount::Percent(percent) => {
            let hundredths = total * percent as usize;
            Some(match rounding {
                Rounding::Up => hundredths.div_ceil(100),
                Rounding::Down => hundredths / 100,
            })
        }
        Amount::Rest => None,
    }
}

/// Chooses `count` hosts that differ most in the facts named.
///
/// Each next one brings the most values not seen yet, and then a combination of them (a stratum) not seen yet: no
/// other choice covers more strata. Among equals the largest stratum comes first, and then the inventory's order.
fn representative(
    hosts: &[HostName],
    count: usize,
    facts: &[String],
    traits: &BTreeMap<HostName, Traits>,
) -> Vec<HostName> {
    let none = Traits::new();
    let strata: Vec<Vec<Option<&str>>> = hosts
        .iter()
        .map(|host| {
            let of_host = traits.get(host).unwrap_or(&none);
            facts.iter().map(|fact| of_host.get(fact).map(String::as_str)).collect()
        })
        .collect();
    let mut sizes: BTreeMap<&[Option<&str>], usize> = BTreeMap::new();
    for stratum in &strata {
        *sizes.entry(stratum).or_default() += 1;
    }
    let mut seen: BTreeSet<(usize, Option<&str>)> = BTreeSet::new();
    let mut covered: BTreeSet<&[Option<&str>]> = BTreeSet::new();
    let mut left: Vec<usize> = (0..hosts.len()).collect();
    let mut chosen = Vec::new();
    while chosen.len() < count {
        let worth = |index: &usize| {
            let stratum = &strata[*index];
            let fresh = stratum.iter().enumerate().filter(|(fact, value)| !seen.contains(&(*fact, **value))).count();
            (fresh, !covered.contains(stratum.as_slice()), sizes[stratum.as_slice()])
        };
        // `max_by_key` keeps the last of equals; reversed, it is the first in the inventory's order.
        let Some(at) = (0..left.len()).rev().max_by_key(|at| worth(&left[*at])) else { break };
        let best = left.remove(at);
        seen.extend(strata[best].iter().copied().enumerate());
        covered.insert(&strata[best]);
        chosen.push(hosts[best].clone());
    }
    chosen
}

/// Lists the values of the named facts that the canary does not cover, as `fact value`.
pub fn uncovered(
    hosts: &[HostName],
    canary: &[HostName],
    facts: &[String],
    traits: &BTreeMap<HostName, Traits>,
) -> Vec<String> {
    let values = |of: &[HostName]| -> BTreeSet<(String, String)> {
        of.iter()
            .filter_map(|host| traits.get(host))
            .flat_map(|of_host| facts.iter().filter_map(|fact| of_host.get(fact).map(|v| (fact.clone(), v.clone()))))
            .collect()
    };
    values(hosts).difference(&values(canary)).map(|(fact, value)| format!("{fact} {value}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::documents::{Canary, Promote};

    fn names(count: usize) -> Vec<HostName> {
        (1..=count).map(|n| HostName::new(format!("web-{n}")).expect("a valid name")).collect()
    }

    fn canary(hosts: CanaryHosts, represent: &[&str]) -> Canary {
        Canary { hosts, represent: represent.iter().map(|&f| f.to_owned()).collect(), soak: None, promote: None }
    }

    fn sizes(waves: &[Wave]) -> Vec<(&str, usize)> {
        waves.iter().map(|wave| (wave.name.as_str(), wave.hosts.len())).collect()
    }

    #[test]
    fn sizes_are_counts_percentages_of_all_and_the_rest() {
        let rollout = RolloutDoc {
            canary: Some(canary(CanaryHosts::Count(2), &[])),
            waves: [Amount::Percent(10), Amount::Percent(50), Amount::Rest].map(WaveHosts::Amount).into(),
            ..RolloutDoc::default()
        };
        let made = waves(&names(25), &rollout, &BTreeMap::new(), &|_| None).expect("waves");
        assert_eq!(sizes(&made), [("canary", 2), ("wave 1", 3), ("wave 2", 13), ("wave 3", 7)]);
    }

    #[test]
    fn hosts_that_the_sizes_leave_over_form_a_last_wave() {
        let rollout = RolloutDoc { waves: vec![WaveHosts::Amount(Amount::Count(1))], ..RolloutDoc::default() };
        let made = waves(&names(4), &rollout, &BTreeMap::new(), &|_| None).expect("waves");
        assert_eq!(sizes(&made), [("wave 1", 1), ("wave 2", 3)]);
    }

    #[test]
    fn a_representative_canary_covers_as_many_values_as_it_can() {
        let hosts = names(4);
        let of = |profile: &str, version: &str| {
            Traits::from([("profile".to_owned(), profile.to_owned()), ("version".to_owned(), version.to_owned())])
        };
        let traits: BTreeMap<_, _> = hosts
            .iter()
            .cloned()
            .zip([of("cpu", "1.0"), of("cpu", "1.0"), of("cpu", "1.1"), of("gpu", "1.1")])
            .collect();
        let facts = ["profile".to_owned(), "version".to_owned()];
        let rollout = RolloutDoc {
            canary: Some(canary(CanaryHosts::Count(2), &["profile", "version"])),
            ..RolloutDoc::default()
        };
        let made = waves(&hosts, &rollout, &traits, &|_| None).expect("waves");
        assert_eq!(made[0].hosts, [hosts[0].clone(), hosts[3].clone()]);
        assert_eq!(uncovered(&hosts, &made[0].hosts, &facts, &traits), Vec::<String>::new());
        assert_eq!(uncovered(&hosts, &hosts[..1], &facts, &traits), ["profile gpu", "version 1.1"]);
    }

    #[test]
    fn a_canary_is_named_or_selected_in_the_order_that_is_said_and_nobody_else_is_in_it() {
        let hosts = names(5);
        let select = |selector: &str| match selector {
            // Of the inventory, with hosts that the playbook is not for.
            "tag=trial" => Some(vec![HostName::new("db-1").expect("a name"), hosts[4].clone(), hosts[1].clone()]),
            "tag=none" => Some(vec![HostName::new("db-1").expect("a name")]),
            _ => None,
        };
        let waves_of = |canary_hosts: CanaryHosts| {
            let rollout = RolloutDoc { canary: Some(canary(canary_hosts, &[])), ..RolloutDoc::default() };
            waves(&hosts, &rollout, &BTreeMap::new(), &select).map(|made| {
                let of = |wave: &Wave| wave.hosts.iter().map(|host| host.as_str().to_owned()).collect::<Vec<_>>();
                made.iter().map(of).collect::<Vec<_>>()
            })
        };
        let named = |names: &[&str]| CanaryHosts::Names(names.iter().map(|&name| name.to_owned()).collect());
        let all =
            |made: &[&[&str]]| made.iter().map(|wave| wave.iter().map(|&name| name.to_owned()).collect()).collect();
        let selected = |text: &str| CanaryHosts::Selector(text.to_owned());
        assert_eq!(waves_of(named(&["web-4", "web-2"])), Ok(all(&[&["web-4", "web-2"], &["web-1", "web-3", "web-5"]])));
        assert_eq!(waves_of(selected("tag=trial")), Ok(all(&[&["web-2", "web-5"], &["web-1", "web-3", "web-4"]])));
        assert_eq!(waves_of(selected("tag=none")), Err(WaveError::EmptyCanary));
        assert_eq!(waves_of(named(&["web-4", "db-1"])), Err(WaveError::NotSelected("db-1".to_owned())));
        let everybody = waves_of(CanaryHosts::Count(9));
        assert_eq!(everybody, Ok(all(&[&["web-1", "web-2", "web-3", "web-4", "web-5"]])));
    }

    #[test]
    fn a_canary_that_is_not_selected_is_an_error() {
        let rollout = RolloutDoc {
            canary: Some(canary(CanaryHosts::Names(vec!["db-1".to_owned()]), &[])),
            ..RolloutDoc::default()
        };
        assert_eq!(
            waves(&names(2), &rollout, &BTreeMap::new(), &|_| None),
            Err(WaveError::NotSelected("db-1".to_owned()))
        );
    }

    #[test]
    fn a_group_is_a_wave_of_those_of_its_hosts_that_are_left() {
        let hosts = names(6);
        let eu = [hosts[0].clone(), hosts[3].clone(), hosts[5].clone()];
        let select = |selector: &str| (selector == "eu").then(|| eu.to_vec());
        let group = |text: &str| WaveHosts::Selector(text.to_owned());
        let rollout = RolloutDoc {
            canary: Some(canary(CanaryHosts::Count(1), &[])),
            waves: vec![WaveHosts::Amount(Amount::Count(1)), group("eu"), group("eu")],
            ..RolloutDoc::default()
        };
        let made = waves(&hosts, &rollout, &BTreeMap::new(), &select).expect("waves");
        // The second `eu` finds nobody left and is no wave at all; the last one takes the rest.
        let expected: [&[usize]; 4] = [&[0], &[1], &[3, 5], &[2, 4]];
        let expected = expected.map(|wave| wave.iter().map(|index| hosts[*index].clone()).collect::<Vec<_>>());
        assert_eq!(made.iter().map(|wave| wave.hosts.clone()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_percentage_is_a_whole_number_of_hosts() {
        for (percent, total, up, down) in [
            (0, 10, 0, 0),
            (1, 10, 1, 0),
            (5, 15, 1, 0),
            (5, 20, 1, 1),
            (5, 30, 2, 1),
            (10, 10, 1, 1),
            (10, 11, 2, 1),
            (33, 3, 1, 0),
            (34, 3, 2, 1),
            (50, 5, 3, 2),
            (99, 100, 99, 99),
            (99, 101, 100, 99),
            (100, 7, 7, 7),
        ] {
            let made = [Rounding::Up, Rounding::Down].map(|way| resolve(Amount::Percent(percent), total, way));
            assert_eq!(made, [Some(up), Some(down)], "{percent}% of {total}");
        }
    }

    #[test]
    fn the_budget_of_a_wave_is_of_its_own_hosts_and_rounds_down() {
        let percent = |percent| Some(Amount::Percent(percent));
        let mut rollout = RolloutDoc {
            waves: [Amount::Count(3), Amount::Rest].map(WaveHosts::Amount).into(),
            ..RolloutDoc::default()
        };
        rollout.budget.wave = WaveBudget { failed: percent(50), parked: percent(100), ..WaveBudget::default() };
        let made = waves(&names(12), &rollout, &BTreeMap::new(), &|_| None).expect("waves");
        let budgets: Vec<_> = made.iter().map(|wave| (wave.budget.failed, wave.budget.parked)).collect();
        assert_eq!(budgets, [(Some(1), Some(3)), (Some(4), Some(9))]);
    }

    #[test]
    fn a_soak_is_watched_in_the_usual_way_unless_it_says_more() {
        let read = |text: &str| serde_json::from_str::<Soak>(text).map(|soak| super::watch(&soak));
        let usual = read(r#""1m""#).expect("a length of time");
        assert_eq!((usual.every, usual.healthy, usual.within), (Span::seconds(6), 1, Span::seconds(0)));
        let table = read(r#"{"for": "10m", "every": "5s", "healthy": 3, "red": 2, "flaps": 1, "control": 0}"#);
        let expected =
            Watch { every: Span::seconds(5), healthy: 3, within: Span::seconds(600), red: 2, flaps: 1, control: 0 };
        assert_eq!(table.expect("a table"), expected);
        assert!(read(r#"{"for": "10m", "often": "5s"}"#).is_err());
    }

    proptest! {
        #[test]
        fn every_host_is_in_exactly_one_wave(
            total in 1_usize..60,
            canaries in proptest::option::of(prop_oneof![
                (1_u32..10).prop_map(CanaryHosts::Count),
                (1_usize..5).prop_map(|step| CanaryHosts::Selector(step.to_string())),
                // A name may stand there twice.
                proptest::collection::vec(0_usize..60, 1..8).prop_map(|picks| {
                    CanaryHosts::Names(picks.iter().map(ToString::to_string).collect())
                }),
            ]),
            sizes in proptest::collection::vec(prop_oneof![
                (0_u32..20).prop_map(|count| WaveHosts::Amount(Amount::Count(count))),
                (0_u32..=100).prop_map(|percent| WaveHosts::Amount(Amount::Percent(percent))),
                Just(WaveHosts::Amount(Amount::Rest)),
                (1_usize..5).prop_map(|step| WaveHosts::Selector(step.to_string())),
            ], 0..5),
        ) {
            let hosts = names(total);
            let named = |picks: Vec<String>| {
                let pick = |pick: &String| hosts[pick.parse::<usize>().expect("a number") % total].to_string();
                CanaryHosts::Names(picks.iter().map(pick).collect())
            };
            let canaries = canaries.map(|hosts| if let CanaryHosts::Names(picks) = hosts { named(picks) } else { hosts });
            let rollout = RolloutDoc {
                canary: canaries.map(|hosts| canary(hosts, &[])),
                waves: sizes,
                promote: Promote::Manual,
                ..RolloutDoc::default()
            };
            let select = |step: &str| Some(hosts.iter().step_by(step.parse().ok()?).cloned().collect());
            let made = waves(&hosts, &rollout, &BTreeMap::new(), &select).expect("waves");
            let mut all: Vec<_> = made.iter().flat_map(|wave| wave.hosts.clone()).collect();
            all.sort();
            let mut expected = hosts.clone();
            expected.sort();
            prop_assert_eq!(all, expected);
            prop_assert!(made.iter().all(|wave| !wave.hosts.is_empty()));
            prop_assert_eq!(made.last().map(|wave| wave.promote), Some(Promote::Auto));
        }

        #[test]
        fn a_representative_canary_covers_as_many_strata_as_it_has_hosts(
            traits in proptest::collection::vec((0_u8..4, 0_u8..3, proptest::option::of(0_u8..2)), 1..40),
            count in 1_usize..12,
        ) {
            let hosts = names(traits.len());
            let value = |name: &str, value: u8| (name.to_owned(), value.to_string());
            let of: BTreeMap<HostName, Traits> = hosts.iter().cloned().zip(traits.iter().map(|(a, b, c)| {
                [Some(value("a", *a)), Some(value("b", *b)), c.map(|c| value("c", c))].into_iter().flatten().collect()
            })).collect();
            let chosen = representative(&hosts, count, &["a", "b", "c"].map(str::to_owned), &of);
            prop_assert_eq!(chosen.len(), count.min(hosts.len()));
            let strata = |hosts: &[HostName]| hosts.iter().map(|host| &of[host]).collect::<BTreeSet<_>>().len();
            prop_assert_eq!(strata(&chosen), count.min(strata(&hosts)));
        }
    }
}
