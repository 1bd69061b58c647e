//! Whether a host is still what its plan was made for.

use super::Turn;
use crate::{
    model::{Failure, FailureClass, Version},
    plan::{Asked, Baseline, Installed, Reading},
};

impl Turn<'_> {
    /// Says why the plan does nothing on the host.
    pub(super) fn refused(&self) -> Option<(Asked, Failure)> {
        let refused = self.of.refused.as_ref()?;
        let mut failure = Failure::new(FailureClass::Refused, refused.reason.clone());
        failure.causes.clone_from(&refused.causes);
        failure.hint.clone_from(&refused.hint);
        Some((refused.asked, failure))
    }

    /// Says that nobody has acknowledged what releases on the way ask of a person. What was begun goes on.
    pub(super) fn unread(&self) -> Option<Failure> {
        if self.past.as_ref().is_some_and(|past| !past.steps.is_empty()) {
            return None;
        }
        let names: Vec<String> = self.plan.unacknowledged().map(|notes| notes.version.to_string()).collect();
        if names.is_empty() {
            return None;
        }
        let what = format!("the notes of {} have not been acknowledged", names.join(", "));
        Some(Failure::new(FailureClass::Refused, what).hint("read them in `longshore plan`, then say `--ack VERSION`"))
    }

    /// Says that the host is not what the plan was made for: its version, or a fact that something follows from.
    pub(super) fn moved(&self, now: &Reading) -> Option<Failure> {
        let moved =
            self.version_moved(&now.installed).or_else(|| self.image_moved(now)).or_else(|| self.fact_moved(now))?;
        let mut failure = Failure::new(FailureClass::Refused, moved).hint("make a new plan");
        if matches!(now.installed, Installed::Unknown) {
            failure.causes.clone_from(&now.silent);
        }
        Some(failure)
    }

    fn version_moved(&self, now: &Installed) -> Option<String> {
        let is =
            |wanted: &Version| now.version().and_then(|now| now.compare(wanted)) == Some(std::cmp::Ordering::Equal);
        let seen = || match now {
            Installed::Known(now) => format!("it has {now}"),
            Installed::Disagree(_) => format!("its {}", now.shown()),
            _ => "its version cannot be read".to_owned(),
        };
        if self.of.version.is_empty() {
            return None;
        }
        if self.of.rollback.is_some() && matches!(now, Installed::Unknown) {
            // A broken release may not even tell its version; another one would.
            return None;
        }
        match (&self.of.found, &self.of.stated) {
            (Some(found), _) if is(found) => None,
            (Some(found), _) if self.of.assumed => Some(format!(
                "the host could not be asked for its version when the plan was made, and was taken to have {found}; now {}",
                seen()
            )),
            (Some(found), _) => Some(format!("the host moved since the plan: it had {found}, now {}", seen())),
            (None, Some(stated)) => {
                let tells = now.version().is_some() && !is(stated);
                tells.then(|| format!("the plan was made for a host said to have {stated}, and now {}", seen()))
            }
            (None, None) => {
                let tells = !self.of.path.is_empty() || matches!(now, Installed::Disagree(_));
                tells.then(|| format!("the plan knew nothing of its version, and now {}", seen()))
            }
        }
    }

    /// Tags move: the same version of another digest is not what the plan saw.
    fn image_moved(&self, now: &Reading) -> Option<String> {
        if self.of.assumed || self.of.rollback.is_some() {
            return None;
        }
        let was = self.of.facts.get("digest")?.value.as_ref()?;
        let is = now.facts.get("digest").filter(|is| *is != was)?;
        Some(format!("the host moved since the plan: its digest was `{was}`, now it is `{is}`"))
    }

    fn fact_moved(&self, now: &Reading) -> Option<String> {
        // What could not be asked is not known to have moved, and nothing was made from it.
        if self.of.assumed {
            return None;
        }
        self.of.facts.iter().filter(|(_, fact)| fact.relied_on && fact.how.is_some()).find_map(|(name, fact)| {
            let seen = now.facts.get(name);
            if seen.is_none() && self.plan.rollout.baseline == Baseline::Tell {
                // It is down, perhaps, and what it was is from an earlier run.
                return None;
            }
            let say = |value: Option<&String>| value.map_or_else(|| "unknown".to_owned(), |value| format!("`{value}`"));
            (seen != fact.value.as_ref()).then(|| {
                format!(
                    "the host moved since the plan: its {name} was {}, now it is {}",
                    say(fact.value.as_ref()),
                    say(seen)
                )
            })
        })
    }
}
