//! Watches the hosts of a finished wave: they must stay green for the length of the soak.
//!
//! The hosts not yet upgraded are the control group: where they are red too, a red canary says
//! nothing about the release, and the soak is inconclusive.

mod trend;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::Instant;

use super::{
    Means, Stop,
    checks::{self, Patience, Round},
    link::{Link, LinkError},
};
use crate::{
    event::{Happening, Phase, RecordError},
    model::{FailureClass, HostName, Verdict},
    plan::{Plan, Watch},
};
use trend::{Seen, Trend};

/// One soak to be held.
pub(super) struct Soak<'a> {
    pub(super) plan: &'a Arc<Plan>,
    pub(super) wave: usize,
    /// The hosts of the wave that ended well.
    pub(super) hosts: &'a [HostName],
    /// Hosts of later waves that do not have the release, the control group first.
    pub(super) control: Vec<HostName>,
    pub(super) length: Duration,
    pub(super) means: &'a Means,
}

/// How a soak ended.
pub(super) enum SoakEnd {
    /// All was watched to the end, or what went wrong was enough to end it.
    Over(Vec<Soaked>),
    /// A person stopped the run before.
    Stopped,
}

/// What the soak says of one host.
pub(super) struct Soaked {
    pub(super) host: HostName,
    pub(super) verdict: Verdict,
    /// Why it is not `pass`.
    pub(super) words: String,
}

impl Soak<'_> {
    /// Watches the hosts. `enough` is told of each verdict that is not `pass`, and says whether to end early.
    pub(super) async fn watch(self, enough: &mut (dyn FnMut(&Soaked) -> bool + Send)) -> Result<SoakEnd, RecordError> {
        let control = self.means.control.clone();
        tokio::select! {
            biased;
            end = self.rounds(enough) => end,
            // A host that is slow to answer is not waited for by a person who wants to leave.
            () = control.asked_for(Stop::Detach) => Ok(SoakEnd::Stopped),
        }
    }

    async fn rounds(self, enough: &mut (dyn FnMut(&Soaked) -> bool + Send)) -> Result<SoakEnd, RecordError> {
        let begun = Instant::now();
        let rules = &self.plan.waves[self.wave].watch;
        let mut watched: Vec<Watched<'_>> = self.hosts.iter().map(|host| Watched::new(host, rules)).collect();
        let mut control: Vec<Watched<'_>> = self.control.iter().map(|host| Watched::new(host, rules)).collect();
        // Who was red from the beginning cannot turn red with the canary.
        let greens = self.look_at(&mut control, Phase::Control).await?;
        let greens: BTreeMap<HostName, bool> =
            greens.into_iter().map(|(host, seen)| (host, matches!(seen, Seen::Green))).collect();
        let mut over = Vec::new();
        let end = loop {
            let seen = self.look_at(&mut watched, Phase::Soak).await?;
            let elapsed = begun.elapsed();
            let mut bad = Vec::new();
            for (one, (_, seen)) in watched.iter_mut().zip(seen) {
                if let Some((verdict, words)) = one.trend.absorb(seen, elapsed) {
                    bad.push((one.host.clone(), verdict, words));
                }
            }
            let mut is_enough = false;
            if !bad.is_empty() {
                let red = self.red_controls(&mut control, &greens).await?;
                for (host, verdict, words) in bad {
                    let (verdict, words) = match &red {
                        Some(red) => {
                            let words = format!("red like {red}: {words}");
                            (Verdict::Inconclusive, words)
                        }
                        None => (verdict, words),
                    };
                    let soaked = Soaked { host, verdict, words };
                    is_enough |= enough(&soaked);
                    self.say(&soaked.host, verdict, &soaked.words).await?;
                    over.push(soaked);
                }
                watched.retain(|one| !over.iter().any(|soaked| soaked.host == *one.host));
            }
            // A host that turned red at the very end is watched until it is green again or counts.
            let settled = watched.iter().all(|one| one.trend.is_healthy());
            if is_enough || (elapsed >= self.length && settled) {
                if !is_enough {
                    for one in &watched {
                        self.say(one.host, Verdict::Pass, "").await?;
                        over.push(Soaked { host: one.host.clone(), verdict: Verdict::Pass, words: String::new() });
                    }
                }
                break SoakEnd::Over(over);
            }
            let left = self.length.saturating_sub(elapsed).max(Duration::from_secs(1));
            tokio::select! {
                () = tokio::time::sleep(rules.every.0.min(left)) => {}
                () = self.means.control.asked_for(Stop::Drain) => break SoakEnd::Stopped,
            }
        };
        join_all(watched.into_iter().chain(control).map(Watched::leave)).await;
        Ok(end)
    }

    async fn say(&self, host: &HostName, verdict: Verdict, words: &str) -> Result<(), RecordError> {
        let what = Happening::HostSoaked { wave: self.wave, verdict, seen: words.to_owned() };
        self.means.recorder.record(Some(host), what).await
    }

    /// Looks at all of them at once.
    async fn look_at(&self, all: &mut [Watched<'_>], phase: Phase) -> Result<Vec<(HostName, Seen)>, RecordError> {
        let looks = all.iter_mut().map(|one| one.look(self.plan, phase, self.means));
        let mut seen = Vec::new();
        for (host, looked) in join_all(looks).await {
            seen.push((host.clone(), looked?));
        }
        Ok(seen)
    }

    /// Names the hosts of the control group that are red, where they are so many that it is not the release.
    ///
    /// Those that were green when the soak began tell; where none was, all do.
    async fn red_controls(
        &self,
        control: &mut [Watched<'_>],
        greens: &BTreeMap<HostName, bool>,
    ) -> Result<Option<String>, RecordError> {
        let seen = self.look_at(control, Phase::Control).await?;
        let any_green = greens.values().any(|green| *green);
        let group: Vec<_> = seen.iter().filter(|(host, _)| !any_green || greens[host]).collect();
        let red: Vec<_> = group.iter().filter(|(_, seen)| !matches!(seen, Seen::Green)).collect();
        let shared = !group.is_empty() && red.len() * 2 >= group.len();
        let names: Vec<_> = red.iter().map(|(host, _)| host.as_str()).collect();
        let have = if names.len() == 1 { "does" } else { "do" };
        Ok(shared.then(|| format!("{}, which {have} not have the release", names.join(", "))))
    }
}

/// A host under watch, and the connection to it while there is one.
struct Watched<'a> {
    host: &'a HostName,
    trend: Trend<'a>,
    link: Option<Link>,
}

impl<'a> Watched<'a> {
    fn new(host: &'a HostName, rules: &'a Watch) -> Self {
        Self { host, trend: Trend::new(rules), link: None }
    }

    /// Makes the host's checks once. A host that went away is looked for again in the next round.
    async fn look(
        &mut self,
        plan: &Arc<Plan>,
        phase: Phase,
        means: &Means,
    ) -> (&'a HostName, Result<Seen, RecordError>) {
        let of = &plan.hosts[self.host];
        let looked = async {
            let mut link = match self.link.take().filter(|link| link.open_session().is_some()) {
                Some(link) => link,
                None => Link::watching(self.host, of, means).await?,
            };
            // A person was asked once.
            let asked = of.checks.iter().filter(|check| check.check.manual.is_none());
            let checks = asked.filter(|check| phase == Phase::Soak || !check.after_only).collect();
            let round = checks::make(self.host, &mut link, checks, phase, Patience::Once, means).await?;
            self.link = Some(link);
            Ok(self.read(&round))
        };
        let seen = match looked.await {
            Ok(seen) => Ok(seen),
            Err(LinkError::Failed(failure)) => Ok(Seen::Error(failure.to_string())),
            Err(LinkError::Ledger(error)) => Err(error),
        };
        (self.host, seen)
    }

    fn read(&mut self, round: &Round) -> Seen {
        if let Some(words) = self.trend.grown(round.counts()) {
            return Seen::Restarted(words);
        }
        match (round.failure(FailureClass::Check, "check"), round.verdict()) {
            (None, _) => Seen::Green,
            (Some(failure), Verdict::Fail) => Seen::Red(failure.to_string()),
            (Some(failure), _) => Seen::Error(failure.to_string()),
        }
    }

    async fn leave(self) {
        if let Some(link) = self.link {
            link.close().await;
        }
    }
}
