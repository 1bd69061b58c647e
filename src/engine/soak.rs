//! Watches the hosts of a finished wave: they must stay green for the length of the soak.
//!
//! The hosts not yet upgraded are the control group: where they are red too, a red canary says
//! nothing about the release, and the soak is inconclusive.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::Instant;

use super::{
    Means, Stop,
    checks::{self, Patience},
    link::{Link, LinkError},
};
use crate::{
    event::{Phase, RecordError},
    model::{FailureClass, HostName, Verdict},
    plan::Plan,
};

/// What a soak saw.
pub(super) struct Seen {
    pub(super) verdict: Verdict,
    /// What was red, in words; empty when all stayed green.
    pub(super) words: String,
    /// Hosts concerned.
    pub(super) hosts: usize,
}

/// Rounds in a row in which a host must be red before it counts: one bad answer is no trend.
const RED_IN_A_ROW: usize = 3;

/// Hosts asked as the control group when a watched host is red.
const CONTROL_GROUP: usize = 3;

/// Watches `hosts` for `length`. Ends early on a host that stays red, or when a person stops the run.
pub(super) async fn watch(
    plan: &Arc<Plan>,
    hosts: &[HostName],
    length: Duration,
    means: &Means,
) -> Result<Seen, RecordError> {
    let every = (length / 10).clamp(Duration::from_secs(1), Duration::from_secs(15));
    let deadline = Instant::now() + length;
    let mut red: BTreeMap<HostName, usize> = BTreeMap::new();
    // One connection for each host and soak. A host that went away is looked for again in the next round.
    let mut watched: Vec<Watched> = hosts.iter().map(|host| Watched { host, link: None }).collect();
    let seen = loop {
        let now = Instant::now();
        let last = now >= deadline;
        let rounds =
            join_all(watched.iter_mut().map(|one| async { (one.host, one.look(plan, true, means).await) })).await;
        let mut stays_red = None;
        for (host, looked) in rounds {
            match looked? {
                None => {
                    red.remove(host);
                }
                Some(words) => {
                    let count = red.entry(host.clone()).or_default();
                    *count += 1;
                    if *count >= RED_IN_A_ROW {
                        stays_red.get_or_insert((host, words));
                    }
                }
            }
        }
        if let Some((host, words)) = stays_red {
            break judge(plan, hosts, host, words, means).await?;
        }
        // A host that turned red at the very end is watched until it is green again or counts.
        if last && red.is_empty() {
            break Seen { verdict: Verdict::Pass, words: String::new(), hosts: hosts.len() };
        }
        tokio::select! {
            () = tokio::time::sleep(every.min(deadline.saturating_duration_since(now).max(Duration::from_secs(1)))) => {}
            () = means.control.asked_for(Stop::Drain) => {
                let words = "stopped by a person before its end".to_owned();
                break Seen { verdict: Verdict::Inconclusive, words, hosts: hosts.len() };
            }
        }
    };
    join_all(watched.into_iter().map(Watched::leave)).await;
    Ok(seen)
}

/// Blames the release, unless hosts that do not have it are red as well.
async fn judge(
    plan: &Arc<Plan>,
    watched: &[HostName],
    host: &HostName,
    words: String,
    means: &Means,
) -> Result<Seen, RecordError> {
    let after = plan.waves.iter().skip_while(|wave| !wave.hosts.contains(host)).skip(1);
    let control: Vec<_> =
        after.flat_map(|wave| &wave.hosts).filter(|host| !watched.contains(host)).take(CONTROL_GROUP).collect();
    let looked = join_all(control.iter().map(|host| async {
        let mut one = Watched { host, link: None };
        let looked = one.look(plan, false, means).await;
        one.leave().await;
        looked
    }))
    .await;
    let mut red = Vec::new();
    for (host, looked) in control.iter().zip(looked) {
        if looked?.is_some() {
            red.push(host.as_str());
        }
    }
    Ok(if red.is_empty() {
        Seen { verdict: Verdict::Fail, words: format!("{host}: {words}"), hosts: 1 }
    } else {
        let words = format!("{host}: {words}; but {}, not upgraded, is red too", red.join(", "));
        Seen { verdict: Verdict::Inconclusive, words, hosts: 1 }
    })
}

/// A host under watch, and the connection to it while there is one.
struct Watched<'a> {
    host: &'a HostName,
    link: Option<Link>,
}

impl Watched<'_> {
    /// Makes the host's checks once; says what is red.
    async fn look(&mut self, plan: &Arc<Plan>, upgraded: bool, means: &Means) -> Result<Option<String>, RecordError> {
        let of = &plan.hosts[self.host];
        let looked = async {
            let mut link = match self.link.take().filter(|link| link.open_session().is_some()) {
                Some(link) => link,
                None => Link::watching(self.host, of, means).await?,
            };
            let checks = of.checks.iter().filter(|check| upgraded || !check.after_only).collect();
            let round = checks::make(self.host, &mut link, checks, Phase::Soak, Patience::Once, means).await?;
            self.link = Some(link);
            Ok(round.failure(FailureClass::Check, "check"))
        };
        match looked.await {
            Ok(failure) => Ok(failure.map(|failure| failure.to_string())),
            Err(LinkError::Failed(failure)) => Ok(Some(failure.to_string())),
            Err(LinkError::Ledger(error)) => Err(error),
        }
    }

    async fn leave(self) {
        if let Some(link) = self.link {
            link.close().await;
        }
    }
}
