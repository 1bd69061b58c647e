//! The rollout of a playbook: whether canary, waves and budget fit together and fit the hosts.

use super::Findings;
use crate::{
    config::{
        Project,
        documents::{Amount, Canary, CanaryHosts, Playbook, Soak, WaveHosts},
        source::{KeyPath, Source},
        suggest,
    },
    model::HostName,
};

pub(super) fn rollout(
    project: &Project,
    playbook: &Playbook,
    source: &Source,
    selected: &[HostName],
    found: &mut Findings<'_>,
) {
    let rollout = &playbook.rollout;
    let at = KeyPath::root().key("rollout");
    if rollout.at_once == Some(0) {
        let hint = "leave it out for 10".to_owned();
        found.error(source.place(&at.key("at-once")), "`at-once` must be 1 or more", Some(hint));
    }
    waves(&rollout.waves, source, &at.key("waves"), found);
    selected_by_waves(project, playbook, source, &at.key("waves"), selected, found);
    let (run, wave) = (&rollout.budget, &rollout.budget.wave);
    let of_run = [run.failed, run.unreachable, run.inconclusive, run.parked];
    let of_wave = [wave.failed, wave.unreachable, wave.inconclusive, wave.parked];
    for (below, amounts) in [(at.key("budget"), of_run), (at.key("budget").key("wave"), of_wave)] {
        for (key, amount) in ["failed", "unreachable", "inconclusive", "parked"].into_iter().zip(amounts) {
            if amount == Some(Amount::Rest) {
                let hint = "write a count or a percentage, or leave the key out for no limit".to_owned();
                found.error(source.place(&below.key(key)), "a budget cannot be `rest`", Some(hint));
            }
        }
    }
    if let Some(watched) = &rollout.soak {
        soak(watched, source, &at.key("soak"), found);
    }
    if let Some(watched) = rollout.canary.as_ref().and_then(|canary| canary.soak.as_ref()) {
        soak(watched, source, &at.key("canary").key("soak"), found);
    }
    if rollout.budget.same_failure == Some(0) {
        let hint = "`failed = 0` halts at the first failure".to_owned();
        let place = source.place(&at.key("budget").key("same-failure"));
        found.error(place, "`same-failure` must be 1 or more", Some(hint));
    }
    let canary = rollout.canary.as_ref().map(|canary| {
        let hosts = self::canary(project, playbook, canary, source, &at.key("canary"), selected, found);
        hosts.min(selected.len())
    });
    if !selected.is_empty() && !rollout.waves.is_empty() && !source.is_damaged(&at.key("waves")) {
        let taken: usize =
            canary.unwrap_or(0) + rollout.waves.iter().map(|wave| size(project, wave, selected)).sum::<usize>();
        // Where a group names its hosts, what is left over was left on purpose, or cannot be counted from sizes.
        let by_size = rollout.waves.iter().all(|wave| wave.selector().is_none());
        if taken < selected.len() && by_size {
            let message = format!("the waves take {taken} of {} hosts", selected.len());
            let hint = "end the list with `\"rest\"`".to_owned();
            found.warning(source.place(&at.key("waves")), message, Some(hint));
        }
    }
}

fn size(project: &Project, wave: &WaveHosts, selected: &[HostName]) -> usize {
    match wave {
        WaveHosts::Amount(Amount::Count(count)) => *count as usize,
        WaveHosts::Amount(Amount::Percent(percent)) => (selected.len() * *percent as usize).div_ceil(100),
        WaveHosts::Amount(Amount::Rest) => selected.len(),
        WaveHosts::Selector(_) => {
            let hosts = wave.selector().and_then(|selector| project.select(selector).ok()).unwrap_or_default();
            hosts.iter().filter(|host| selected.contains(host)).count()
        }
    }
}

fn waves(waves: &[WaveHosts], source: &Source, at: &KeyPath, found: &mut Findings<'_>) {
    let mut percent = 0;
    let mut told = false;
    for (index, wave) in waves.iter().enumerate() {
        let place = source.place(&at.index(index));
        match wave {
            WaveHosts::Amount(Amount::Rest) if index + 1 < waves.len() => {
                let hint = "nothing is left for the waves after it: put it last".to_owned();
                found.error(place, "`rest` is not the last wave", Some(hint));
            }
            WaveHosts::Amount(Amount::Count(0) | Amount::Percent(0)) => {
                found.error(place, "a wave of no hosts", Some("take it out".to_owned()));
            }
            WaveHosts::Amount(Amount::Percent(more)) => {
                percent += more;
                if percent > 100 && !told {
                    told = true;
                    let message = format!("with this wave the percentages come to {percent}%");
                    let hint = "percentages are of all selected hosts, not of those left".to_owned();
                    found.error(place, message, Some(hint));
                }
            }
            WaveHosts::Amount(Amount::Count(_) | Amount::Rest) | WaveHosts::Selector(_) => {}
        }
    }
}

/// Judges the waves that name their hosts.
fn selected_by_waves(
    project: &Project,
    playbook: &Playbook,
    source: &Source,
    at: &KeyPath,
    selected: &[HostName],
    found: &mut Findings<'_>,
) {
    for (index, wave) in playbook.rollout.waves.iter().enumerate() {
        let Some(selector) = wave.selector() else { continue };
        let place = source.place(&at.index(index));
        match project.select(selector) {
            Ok(hosts) if !selected.is_empty() && !hosts.iter().any(|host| selected.contains(host)) => {
                let message = format!("the wave `{}` selects none of the playbook's hosts", selector.escape_debug());
                found.error(place, message, None);
            }
            Ok(_) => {}
            Err(error) => {
                found.error(place, error.to_string(), error.hint());
            }
        }
    }
}

/// Judges how a soak watches.
fn soak(soak: &Soak, source: &Source, at: &KeyPath, found: &mut Findings<'_>) {
    for (key, count) in [("healthy", soak.healthy), ("red", soak.red), ("flaps", soak.flaps)] {
        if count == Some(0) {
            let hint = "leave it out for the usual".to_owned();
            found.error(source.place(&at.key(key)), format!("`{key}` must be 1 or more"), Some(hint));
        }
    }
    if soak.every.is_some_and(|every| every.0.is_zero()) {
        let hint = "leave it out for a tenth of the soak".to_owned();
        found.error(source.place(&at.key("every")), "`every` must be longer than no time", Some(hint));
    }
    if let Some(every) = soak.every.filter(|every| *every > soak.length) {
        let message = format!("the checks are made every {every}, and the soak is shorter");
        found.warning(source.place(&at.key("every")), message, Some("make it a part of `for`".to_owned()));
    }
    if soak.within.is_some_and(|within| within > soak.length) {
        let message = format!("the soak ends after {}, before `within`", soak.length);
        found.warning(source.place(&at.key("within")), message, Some("make `for` the longer one".to_owned()));
    }
}

/// Judges the canary, and returns how many hosts it takes.
fn canary(
    project: &Project,
    playbook: &Playbook,
    canary: &Canary,
    source: &Source,
    at: &KeyPath,
    selected: &[HostName],
    found: &mut Findings<'_>,
) -> usize {
    let hosts = at.key("hosts");
    for (index, fact) in canary.represent.iter().enumerate() {
        let mut known = vec!["profile", "version"];
        let role = playbook.role.as_ref().and_then(|role| project.roles.get(role));
        known.extend(
            role.iter()
                .flat_map(|folder| folder.role.vars.keys().chain(folder.role.requires.keys()))
                .map(String::as_str),
        );
        known.extend(project.inventory.defaults.vars.keys().map(String::as_str));
        known
            .extend(project.inventory.groups.values().flat_map(|group| group.settings.vars.keys()).map(String::as_str));
        known.extend(project.inventory.hosts.values().flat_map(|host| host.vars.keys()).map(String::as_str));
        if !known.contains(&fact.as_str()) {
            let message = format!("no host has a fact or variable `{}`", fact.escape_debug());
            let hint = suggest::hint(fact, known.iter().copied());
            found.error(source.place(&at.key("represent").index(index)), message, hint);
        }
    }
    if !canary.represent.is_empty() && !matches!(canary.hosts, CanaryHosts::Count(_)) {
        let message = "`represent` chooses hosts, but the canary names them";
        let hint = "take `represent` out, or write `hosts` as a count".to_owned();
        found.error(source.key_place(&at.key("represent")), message, Some(hint));
    }
    match &canary.hosts {
        CanaryHosts::Count(count) => {
            if !selected.is_empty() && *count as usize >= selected.len() && selected.len() > 1 {
                let message = format!("the canary takes all {} hosts", selected.len());
                found.warning(source.place(&hosts), message, Some("a canary is a small part of the hosts".to_owned()));
            }
            *count as usize
        }
        CanaryHosts::Names(names) => {
            if names.is_empty() {
                found.error(source.place(&hosts), "the canary has no hosts", Some("leave `canary` out".to_owned()));
            }
            for (index, name) in names.iter().enumerate().filter(|_| !selected.is_empty()) {
                if selected.iter().any(|host| host.as_str() == name) {
                    continue;
                }
                let place = source.place(&hosts.index(index));
                if project.inventory.hosts.contains_key(name.as_str()) {
                    let message = format!("`{name}` is not among the hosts of the playbook");
                    let hint = format!("`hosts = \"{}\"` does not select it", playbook.hosts.escape_debug());
                    found.error(place, message, Some(hint));
                } else {
                    let message = format!("there is no host `{}`", name.escape_debug());
                    found.error(place, message, suggest::hint(name, selected.iter().map(HostName::as_str)));
                }
            }
            names.len()
        }
        CanaryHosts::Selector(selector) => match project.select(selector) {
            Ok(canaries) => {
                let inside = canaries.iter().filter(|host| selected.contains(host)).count();
                if inside == 0 && !selected.is_empty() {
                    let message =
                        format!("the canary `{}` selects none of the playbook's hosts", selector.escape_debug());
                    found.error(source.place(&hosts), message, None);
                }
                inside
            }
            Err(error) => {
                let place = match error.range() {
                    Some(range) => source.inner_place(&hosts, &range),
                    None => source.place(&hosts),
                };
                found.error(place, error.to_string(), error.hint());
                0
            }
        },
    }
}
