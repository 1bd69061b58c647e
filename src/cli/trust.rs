//! `trust`: show host keys, and keep those a person has confirmed.

use std::path::Path;

use futures::{StreamExt as _, stream};

use super::{Global, OutputFormat, error::CliError, open, prompt, run::Workshop, screen::Screen};
use crate::{
    config::Project,
    model::{ExitCode, HostName},
    report::words,
    transport::{
        TransportError, Way,
        ssh::{
            OfferedKey,
            known_hosts::{self, KeyVerdict, KnownHosts},
        },
    },
};

/// Show the host keys of hosts, and trust them after a yes
///
/// Compare each fingerprint with the host's own: `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there.
/// Confirmed keys are written to the project's `known_hosts`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which hosts: `all`, `web-*`, `prod:&eu:!canary`, `tag=gpu`
    selector: String,

    /// Trust the key with this fingerprint (`SHA256:...`); any other is refused
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Vec<String>,

    /// Trust whatever keys the hosts show now, without looking
    #[arg(long, conflicts_with = "fingerprint")]
    yes: bool,
}

/// Jump hosts that can stand before a host and be asked about one after another.
const MAX_JUMPS: usize = 8;

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let project = open::project(global, screen)?;
    let mut left = open::select(&project, &args.selector)?;
    let workshop = Workshop::open(&project.root, global, screen)?;
    let file = project.root.join("known_hosts");
    let mut outcome = Outcome::default();
    // Each round trusts at most one jump further: behind an unknown jump host nothing can be seen.
    for _ in 0..=MAX_JUMPS {
        let seen = ask_hosts(&left, &project, &workshop, global).await;
        left = judge(args, screen, &file, seen, &mut outcome)?;
        if left.is_empty() {
            break;
        }
        workshop.ssh.forget_known_hosts();
    }
    if outcome.trusted > 0 {
        screen.say(&format!("{} written to {}", words::count(outcome.trusted, "key"), file.display()));
    }
    Ok(if outcome.refused {
        ExitCode::HostFailed
    } else if outcome.unreached {
        ExitCode::SomeUnreachable
    } else {
        ExitCode::Good
    })
}

#[derive(Default)]
struct Outcome {
    trusted: usize,
    refused: bool,
    unreached: bool,
}

type Seen = Vec<(HostName, Result<OfferedKey, TransportError>)>;

/// Asks all hosts for their keys, without logging in.
async fn ask_hosts(names: &[HostName], project: &Project, workshop: &Workshop, global: &Global) -> Seen {
    let mut seen: Seen = stream::iter(names.iter().cloned())
        .map(|name| {
            let target = crate::plan::target(project, &project.resolve_host(&name));
            let ssh = &workshop.ssh;
            async move {
                if matches!(target.way, Way::Controller) {
                    return None;
                }
                let key = ssh.probe_host_key(&target, global.connect_timeout.0).await;
                Some((name, key))
            }
        })
        .buffer_unordered(32)
        .filter_map(|seen| async { seen })
        .collect()
        .await;
    seen.sort_by_key(|(name, _)| names.iter().position(|known| known == name));
    seen
}

/// Shows what was seen and keeps what is confirmed. Returns the hosts to ask again: those behind a jump host just trusted.
fn judge(
    args: &Args,
    screen: &Screen,
    file: &Path,
    seen: Seen,
    outcome: &mut Outcome,
) -> Result<Vec<HostName>, CliError> {
    let known = known(file)?;
    let mut new: Vec<(HostName, OfferedKey)> = Vec::new();
    for (name, key) in seen {
        let key = match key {
            Ok(key) => key,
            Err(error) => {
                outcome.unreached |= error.class().is_unreachable();
                outcome.refused |= !error.class().is_unreachable();
                screen.tell(&format!("{name}: {error}"));
                let mut cause = std::error::Error::source(&error);
                while let Some(error) = cause {
                    screen.tell(&format!("  cause: {error}"));
                    cause = error.source();
                }
                if let Some(hint) = error.hint(&name) {
                    screen.tell(&format!("  hint: {hint}"));
                }
                continue;
            }
        };
        match known.judge(&key.id, &key.key) {
            KeyVerdict::Known { .. } => show(screen, &name, &key, "known")?,
            KeyVerdict::Unknown => {
                show(screen, &name, &key, "new")?;
                new.push((name, key));
            }
            KeyVerdict::Changed { place, .. } => {
                show(screen, &name, &key, "changed")?;
                screen.tell(&format!(
                    "  the key known until now stands at {place}\n  hint: if the host was reinstalled, remove that line and run `longshore trust {name}` again"
                ));
                outcome.refused = true;
            }
            KeyVerdict::Revoked { place } => {
                show(screen, &name, &key, "revoked")?;
                screen.tell(&format!("  it is marked @revoked at {place}"));
                outcome.refused = true;
            }
        }
    }
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let chosen = choose(args, screen, new, outcome)?;
    let mut again = Vec::new();
    let mut written: Vec<&OfferedKey> = Vec::new();
    for (name, key) in &chosen {
        if !written.iter().any(|other| other.id == key.id && other.key == key.key) {
            known_hosts::add(file, &key.id, &key.key, "")
                .map_err(|source| CliError::Write { path: file.to_path_buf(), source })?;
            outcome.trusted += 1;
            written.push(key);
        }
        if key.is_jump {
            again.push(name.clone());
        }
    }
    Ok(again)
}

/// Reads what is known so far: the project's, the user's and the system's keys.
fn known(file: &Path) -> Result<KnownHosts, CliError> {
    let mut files = vec![file.to_path_buf()];
    files.extend(etcetera::home_dir().ok().map(|home| home.join(".ssh/known_hosts")));
    files.push("/etc/ssh/ssh_known_hosts".into());
    KnownHosts::load(&files).map_err(|error| CliError::usage(error.to_string()))
}

fn choose(
    args: &Args,
    screen: &Screen,
    new: Vec<(HostName, OfferedKey)>,
    outcome: &mut Outcome,
) -> Result<Vec<(HostName, OfferedKey)>, CliError> {
    if !args.fingerprint.is_empty() {
        let (chosen, other): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|(_, key)| args.fingerprint.contains(&key.fingerprint));
        for (name, key) in &other {
            outcome.refused = true;
            screen.tell(&format!("{name}: {} is none of the fingerprints named; not trusted", key.fingerprint));
        }
        return Ok(chosen);
    }
    if args.yes {
        screen.tell("Trusting these keys without anybody having compared them, as `--yes` says.");
        return Ok(new);
    }
    if !screen.can_ask {
        return Err(CliError::with_hint(
            "nobody can be asked here, so no key is trusted",
            "name the expected key with `--fingerprint SHA256:...`",
        ));
    }
    let question = match new.as_slice() {
        [(name, key)] if key.is_jump => format!("Is this the key of {}, on the way to {name}? [y/N] ", key.address),
        [(name, _)] => format!("Is this the key of {name}? [y/N] "),
        many => format!("Are these the keys of the {} hosts? [y/N] ", many.len()),
    };
    if prompt::confirmed(&question) {
        Ok(new)
    } else {
        outcome.refused = true;
        screen.tell("Nothing was trusted.");
        Ok(Vec::new())
    }
}

fn show(screen: &Screen, name: &HostName, key: &OfferedKey, state: &str) -> Result<(), CliError> {
    if screen.format == OutputFormat::Json {
        let line = serde_json::json!({
            "host": name, "address": key.address, "algorithm": key.algorithm, "fingerprint": key.fingerprint,
            "jump": key.is_jump, "state": state,
        });
        return screen.print(&line.to_string());
    }
    let way = if key.is_jump { " (on the way)" } else { "" };
    screen.print(&format!("{name:<16} {state:<8} {}{way} {} {}", key.address, key.algorithm, key.fingerprint))
}
