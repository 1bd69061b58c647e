//! Shares the selected hosts out to waves: the canary first, then by size, every host in exactly one.

use std::collections::{BTreeMap, BTreeSet};

use super::Wave;
use crate::{
    config::documents::{Amount, CanaryHosts, RolloutDoc},
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
    let soak = rollout.soak.unwrap_or(Span::seconds(0));
    let mut left: Vec<HostName> = hosts.to_vec();

    if let Some(canary) = &rollout.canary {
        let chosen = match &canary.hosts {
            CanaryHosts::Count(count) => representative(&left, *count as usize, &canary.represent, traits),
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
        left.retain(|host| !chosen.contains(host));
        waves.push(Wave {
            name: "canary".to_owned(),
            hosts: chosen,
            soak: canary.soak.unwrap_or(soak),
            promote: canary.promote.unwrap_or(rollout.promote),
        });
    }

    // What the sizes leave over goes last, so that no host is forgotten.
    for amount in rollout.waves.iter().chain([&Amount::Rest]) {
        let size = resolve(*amount, hosts.len(), Rounding::Up).unwrap_or(left.len()).min(left.len());
        if size > 0 {
            let name = format!("wave {}", waves.iter().filter(|wave: &&Wave| wave.name != "canary").count() + 1);
            waves.push(Wave { name, hosts: left.drain(..size).collect(), soak, promote: rollout.promote });
        }
    }
    if let Some(last) = waves.last_mut() {
        // Nothing waits for the last wave; its soak still counts, as proof.
        last.promote = crate::config::documents::Promote::Auto;
    }
    Ok(waves)
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

/// Chooses `count` hosts that differ most in the facts named: each next one brings the most values not seen yet.
fn representative(
    hosts: &[HostName],
    count: usize,
    facts: &[String],
    traits: &BTreeMap<HostName, Traits>,
) -> Vec<HostName> {
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut chosen: Vec<HostName> = Vec::new();
    let none = Traits::new();
    let values = |host: &HostName| {
        let of_host = traits.get(host).unwrap_or(&none);
        facts
            .iter()
            .filter_map(|fact| of_host.get(fact).map(|value| (fact.as_str(), value.as_str())))
            .collect::<Vec<_>>()
    };
    while chosen.len() < count.min(hosts.len()) {
        let best = hosts
            .iter()
            .filter(|host| !chosen.contains(host))
            // `max_by_key` keeps the last of equals; reversed, it is the first in the inventory's order.
            .rev()
            .max_by_key(|host| values(host).iter().filter(|value| !seen.contains(*value)).count());
        let Some(best) = best else { break };
        seen.extend(values(best));
        chosen.push(best.clone());
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
            waves: vec![Amount::Percent(10), Amount::Percent(50), Amount::Rest],
            ..RolloutDoc::default()
        };
        let made = waves(&names(25), &rollout, &BTreeMap::new(), &|_| None).expect("waves");
        assert_eq!(sizes(&made), [("canary", 2), ("wave 1", 3), ("wave 2", 13), ("wave 3", 7)]);
    }

    #[test]
    fn hosts_that_the_sizes_leave_over_form_a_last_wave() {
        let rollout = RolloutDoc { waves: vec![Amount::Count(1)], ..RolloutDoc::default() };
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

    proptest! {
        #[test]
        fn every_host_is_in_exactly_one_wave(
            total in 1_usize..60,
            canaries in proptest::option::of(1_u32..10),
            amounts in proptest::collection::vec(prop_oneof![
                (0_u32..20).prop_map(Amount::Count),
                (0_u32..=100).prop_map(Amount::Percent),
                Just(Amount::Rest),
            ], 0..5),
        ) {
            let hosts = names(total);
            let rollout = RolloutDoc {
                canary: canaries.map(|count| canary(CanaryHosts::Count(count), &[])),
                waves: amounts,
                promote: Promote::Manual,
                ..RolloutDoc::default()
            };
            let made = waves(&hosts, &rollout, &BTreeMap::new(), &|_| None).expect("waves");
            let mut all: Vec<_> = made.iter().flat_map(|wave| wave.hosts.clone()).collect();
            all.sort();
            let mut expected = hosts.clone();
            expected.sort();
            prop_assert_eq!(all, expected);
            prop_assert!(made.iter().all(|wave| !wave.hosts.is_empty()));
            prop_assert_eq!(made.last().map(|wave| wave.promote), Some(Promote::Auto));
        }
    }
}
