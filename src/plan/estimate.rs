//! How long a host is expected to take, and how long its product is down.

use std::{ops::Range, time::Duration};

use serde::{Deserialize, Serialize};

use super::{HostPlan, PlannedStep, PlannedUndo};
use crate::model::{Downtime, Span};

/// What is expected of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Timing {
    /// How long the step usually takes.
    pub expected: Span,
    /// Where the product goes down or comes up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downtime: Option<Downtime>,
    /// Index of the step that proves that the product is up: until it is done, the downtime that ends here goes on.
    /// `None`: the checks at the end prove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<usize>,
}

impl Default for Timing {
    fn default() -> Self {
        Self { expected: Span::seconds(0), downtime: None, proven_at: None }
    }
}

/// Has what was taken down count as up again only when the checks that an action makes in its middle have passed, whose
/// steps `proofs` are. A product that was started need not answer yet.
pub(super) fn prove_uptime(steps: &mut [PlannedStep], proofs: &[Range<usize>]) {
    let mut from = 0;
    for proof in proofs.iter().filter(|proof| !proof.is_empty()) {
        for step in &mut steps[from..proof.start] {
            if step.timing.downtime.is_some_and(Downtime::ends) {
                step.timing.proven_at = Some(proof.end - 1);
            }
        }
        from = proof.end;
    }
}

/// What is expected of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Estimate {
    /// Gates, steps and checks, when all goes well.
    pub forward: Span,
    /// The longest way back that is prepared: all undos; and where data is changed so that the code of before may not run
    /// on it, what the role does then, too: incident, safety copy, restore.
    pub back: Span,
    /// How long the product is down, when all goes well. `None`: no step says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downtime: Option<Span>,
}

/// What one look is counted as.
const LOOK: Duration = Duration::from_secs(1);

/// What one check is counted as.
const CHECK: Duration = Duration::from_secs(2);

impl Estimate {
    /// Counts what a host's plan says.
    pub fn of(host: &HostPlan) -> Self {
        let after = checks(host.checks.len());
        let baseline = checks(host.checks.iter().filter(|check| !check.after_only).count() + host.gates.len());
        let forward = baseline + host.steps.iter().map(expected).sum::<Duration>() + after;
        let undo = |step: &PlannedStep| match &step.undo {
            PlannedUndo::Nothing | PlannedUndo::Impossible { .. } => Duration::ZERO,
            // What was there before is not taken back.
            _ if step.prefetched.is_some() => Duration::ZERO,
            // Nor is data, but by a restore; what a host takes back unconfirmed it takes back by the undo.
            _ if step.effect.passes_no_return() && step.confirm_within.is_none() => Duration::ZERO,
            PlannedUndo::ByProgram => expected(step),
            PlannedUndo::By(steps) => steps.iter().map(expected).sum(),
        };
        let undos: Duration = host.steps.iter().map(undo).sum();
        let back = undos + way_of_data(host, &undo);
        let back = if back.is_zero() { back } else { back + after };
        Self { forward: Span(forward), back: Span(back), downtime: downtime(host, after) }
    }

    /// The longest time the host may need: to its end, where it fails, and back.
    pub fn need(&self) -> Span {
        Span(self.forward.0 + self.back.0)
    }
}

/// What comes to the undos where a host fails after its data was changed: it is made safe, its data is copied and put
/// back, and what the incident did is taken back. How long a person takes to choose is not counted.
fn way_of_data(host: &HostPlan, undo: &dyn Fn(&PlannedStep) -> Duration) -> Duration {
    if !host.may_be_held() {
        return Duration::ZERO;
    }
    let recovery = &host.recovery;
    let steps = recovery.incident.iter().chain(&recovery.safety_copy).chain(&recovery.restore);
    steps.map(expected).chain(recovery.incident.iter().map(undo)).sum()
}

/// What a step is counted as: one that a prefetch did only looks.
fn expected(step: &PlannedStep) -> Duration {
    let expected = step.timing.expected.0;
    if step.prefetched.is_some() { expected.min(LOOK) } else { expected }
}

fn checks(count: usize) -> Duration {
    CHECK * u32::try_from(count).unwrap_or(u32::MAX)
}

/// From each step with which the product goes down to the checks that prove that it is up again; where there are none,
/// to the step with which it comes up.
fn downtime(host: &HostPlan, after: Duration) -> Option<Span> {
    let marks = || host.steps.iter().filter_map(|step| step.timing.downtime);
    if !marks().any(Downtime::begins) {
        return None;
    }
    let mut total = Duration::ZERO;
    // A maintenance page that is shown while the product is stopped keeps it down twice.
    let mut depth = 0_usize;
    let mut unproven = Vec::new();
    let at_end = host.is_proven_at_end().then_some(host.steps.len());
    for (index, step) in host.steps.iter().enumerate() {
        depth += usize::from(step.timing.downtime.is_some_and(Downtime::begins));
        if depth > 0 {
            total += expected(step);
        }
        if step.timing.downtime.is_some_and(Downtime::ends) {
            unproven.push(step.timing.proven_at.or(at_end).unwrap_or(index));
        }
        let proven = unproven.extract_if(.., |at| *at <= index).count();
        depth = depth.saturating_sub(proven);
    }
    Some(Span(if depth > 0 { total + after } else { total }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        model::{Effect, HostName},
        plan::Recovery,
        transport::{Target, Way},
    };

    fn step(seconds: u64, downtime: Option<Downtime>, undo: PlannedUndo) -> PlannedStep {
        let plain = json!({
            "id": "01-step",
            "name": "step",
            "effect": "code",
            "timeout": "10m",
            "action": { "command": "true" },
            "undo": "nothing",
            "repeat-safe": true,
        });
        let plain: PlannedStep = serde_json::from_value(plain).expect("a step");
        let timing = Timing { expected: Span::seconds(seconds), downtime, ..Timing::default() };
        PlannedStep { undo, timing, ..plain }
    }

    fn host(steps: Vec<PlannedStep>) -> HostPlan {
        let target = Target { host: HostName::new("web-1").expect("a name"), way: Way::Controller, run_as: None };
        HostPlan { steps, ..HostPlan::bare(target, "host".to_owned()) }
    }

    #[test]
    fn s_11_the_need_of_a_host_is_its_way_there_and_its_way_back() {
        let by = PlannedUndo::By(vec![step(7, None, PlannedUndo::Nothing)]);
        let never = PlannedUndo::Impossible { reason: "data".to_owned(), waived: true };
        let steps = vec![step(60, None, PlannedUndo::ByProgram), step(30, None, by), step(600, None, never)];
        let estimate = Estimate::of(&host(steps));
        assert_eq!(estimate.forward, Span::seconds(690));
        assert_eq!(estimate.back, Span::seconds(67));
        assert_eq!(estimate.need(), Span::seconds(757));
    }

    #[test]
    fn s_11_the_way_back_from_changed_data_is_the_longest_that_is_prepared() {
        let by = |seconds| PlannedUndo::By(vec![step(seconds, None, PlannedUndo::Nothing)]);
        let data = |undo| PlannedStep { effect: Effect::Data, ..step(30, None, undo) };
        let recovery = || Recovery {
            incident: vec![step(3, None, by(2)), step(4, None, PlannedUndo::Nothing)],
            safety_copy: vec![step(100, None, PlannedUndo::Nothing)],
            restore: vec![step(1000, None, PlannedUndo::Nothing)],
            ..Recovery::default()
        };
        let back = |steps: Vec<PlannedStep>, recovery| Estimate::of(&HostPlan { recovery, ..host(steps) }).back;
        // The undo of what changes data never runs, unless the host itself takes the step back.
        assert_eq!(back(vec![step(60, None, by(7)), data(by(50))], Recovery::default()), Span::seconds(7));
        let confirmed = PlannedStep { confirm_within: Some(Span::seconds(60)), ..data(by(50)) };
        assert_eq!(back(vec![step(60, None, by(7)), confirmed], Recovery::default()), Span::seconds(57));
        let never = || PlannedUndo::Impossible { reason: "data".to_owned(), waived: true };
        assert_eq!(back(vec![step(60, None, by(7)), data(never())], recovery()), Span::seconds(7 + 9 + 100 + 1000));
        // Without a restore a person can only point the code back, once the host was made safe.
        let held = Recovery { safety_copy: Vec::new(), restore: Vec::new(), ..recovery() };
        assert_eq!(back(vec![step(60, None, by(7)), data(never())], held), Span::seconds(7 + 9));
        // What never gets there, or fits the code of before, goes back by its undos alone.
        assert_eq!(back(vec![step(60, None, by(7))], recovery()), Span::seconds(7));
        let fits = PlannedStep { backward_compatible: true, ..data(never()) };
        assert_eq!(back(vec![step(60, None, by(7)), fits], recovery()), Span::seconds(7));
    }

    #[test]
    fn s_12_the_downtime_is_counted_from_the_step_it_begins_with_to_the_step_that_ends_it() {
        let downtime = |marks: &[Option<Downtime>]| {
            let steps = marks.iter().map(|mark| step(10, *mark, PlannedUndo::Nothing)).collect();
            Estimate::of(&host(steps)).downtime
        };
        let (begins, ends, during) = (Some(Downtime::Begins), Some(Downtime::Ends), Some(Downtime::During));
        assert_eq!(downtime(&[None, None]), None);
        assert_eq!(downtime(&[None, begins, None, ends, None]), Some(Span::seconds(30)));
        assert_eq!(downtime(&[begins, during, None, ends, None]), Some(Span::seconds(40)));
        assert_eq!(downtime(&[during, None, during]), Some(Span::seconds(20)));
        // Where checks prove it, it lasts until they have; a page for maintenance is taken away only then.
        let proven = |marks: &[Option<Downtime>], proof: Range<usize>| {
            let mut steps: Vec<_> = marks.iter().map(|mark| step(10, *mark, PlannedUndo::Nothing)).collect();
            prove_uptime(&mut steps, &[proof]);
            Estimate::of(&host(steps)).downtime
        };
        assert_eq!(proven(&[begins, ends, None, None, None], 2..4), Some(Span::seconds(40)));
        assert_eq!(proven(&[during, None, None, None], 1..3), Some(Span::seconds(30)));
        assert_eq!(proven(&[begins, begins, ends, None, ends, None], 3..4), Some(Span::seconds(50)));
        assert_eq!(proven(&[begins, ends, None], 2..2), Some(Span::seconds(20)));
        // So do the checks at the end, where no step does: four of them, here.
        let checked = |marks: &[Option<Downtime>], proof: Option<Range<usize>>| {
            let mut steps: Vec<_> = marks.iter().map(|mark| step(10, *mark, PlannedUndo::Nothing)).collect();
            prove_uptime(&mut steps, proof.as_slice());
            let mut host = host(steps);
            let check = json!({ "name": "up", "timeout": "10s", "check": { "command": { "run": "true" } } });
            host.checks = vec![serde_json::from_value(check).expect("a check"); 4];
            Estimate::of(&host).downtime
        };
        assert_eq!(checked(&[begins, ends, None], None), Some(Span::seconds(38)));
        assert_eq!(checked(&[None, during], None), Some(Span::seconds(18)));
        assert_eq!(checked(&[begins, ends, None, None, None], Some(2..4)), Some(Span::seconds(40)));
        assert_eq!(checked(&[None, None], None), None);
        // Without an end it lasts to the last step.
        assert_eq!(downtime(&[begins, None, None]), Some(Span::seconds(30)));
        assert_eq!(downtime(&[ends, None]), None);
    }
}
