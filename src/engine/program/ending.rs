//! What the ending of a program means for the run: outcome, failure, and whether anything had begun.

use super::Start;
use crate::{
    durable::{Doubt, Ending, Refusal},
    engine::{
        host::{REFUSED, Stopped},
        link::LinkError,
    },
    model::{Failure, FailureClass, HostOutcome, Receipt, StepOutcome},
    plan::PlannedStep,
};

/// What an ending means for the run, and whether the step had begun. `None`: it was not its turn.
pub(in crate::engine) fn outcome(ending: &Ending, output: &[String]) -> Option<(StepOutcome, Start)> {
    let failed = |class, what: String| {
        Some((StepOutcome::Failed { failure: Failure::new(class, what).output(output.to_vec()) }, Start::Begun))
    };
    match ending {
        Ending::Unchanged => Some((StepOutcome::Unchanged, Start::Begun)),
        Ending::Changed | Ending::FoundDone => Some((StepOutcome::Changed, Start::Begun)),
        Ending::Failed { status } => failed(FailureClass::Step, format!("it ended with status {status}")),
        // The look changes nothing, and the act did not run.
        Ending::CannotTell { status } => {
            failed(FailureClass::Step, format!("looking before acting ended with status {status}"))
                .map(|(outcome, _)| (outcome, Start::Never))
        }
        Ending::KilledByLimit => failed(FailureClass::TimedOut, "it was stopped at its time limit".to_owned()),
        Ending::Cancelled => failed(FailureClass::Step, "it was cancelled".to_owned()),
        Ending::NotRestarted => {
            let failure = Failure::new(FailureClass::TimedOut, "the host did not restart in time")
                .because("it still has the boot id that it had before the step")
                .hint("look on the host at what holds the restart up (`systemctl list-jobs`); should it restart later, `longshore retry --failed` does not restart it again")
                .output(output.to_vec());
            Some((StepOutcome::Failed { failure }, Start::Begun))
        }
        Ending::FoundNotDone => failed(FailureClass::Step, "it was found not done".to_owned()),
        Ending::Lingering { result } => {
            let how = match result.split_once('.') {
                Some(("rc", status)) => format!(" with status {status}"),
                Some(("killed", "limit")) => " at its time limit".to_owned(),
                Some(("killed", _)) => " when it was stopped".to_owned(),
                _ => String::new(),
            };
            let failure = Failure::new(FailureClass::Unknown, format!("it ended{how}, but something it started still runs"))
                .hint("look at the host's processes; once that has ended, `longshore retry --held` goes on with the step's result. A step that \
                       means to leave something running says `nohup` and redirects its output")
                .output(output.to_vec());
            Some((StepOutcome::Unknown { failure }, Start::Begun))
        }
        Ending::Unknown { why } => {
            let what = match why {
                Doubt::Lost => "what ran it was killed before it could record the result",
                Doubt::Rebooted => "the host was restarted in the middle of it",
                Doubt::StateLost => "the host does not know the run any more",
            };
            let failure = Failure::new(FailureClass::Unknown, what).output(output.to_vec());
            Some((StepOutcome::Unknown { failure }, Start::Begun))
        }
        Ending::Void => Some((
            StepOutcome::Failed { failure: Failure::new(FailureClass::Refused, "it was fenced off before it started") },
            Start::Fenced,
        )),
        Ending::NotStarted { refusal } => {
            match refusal {
                None | Some(Refusal::EarlierStep | Refusal::Stopped) => None,
                // Something of the step runs, or may have: that is no failure to take back beside.
                Some(refusal @ (Refusal::Claimed | Refusal::EarlierOpen | Refusal::StillRuns)) => {
                    let failure =
                        Failure::new(FailureClass::Unknown, format!("the host did not start it again: {refusal}"))
                            .hint("look at the host; `longshore resume` asks again what became of it");
                    Some((StepOutcome::Unknown { failure }, Start::Begun))
                }
                Some(refusal) => {
                    let failure = Failure::new(FailureClass::Refused, format!("the host did not start it: {refusal}"));
                    let fenced = matches!(refusal, Refusal::Fenced { .. });
                    let failure = if fenced {
                        failure.hint("see who works on the host; then `longshore retry --refused` goes on where it was")
                    } else {
                        failure
                    };
                    Some((StepOutcome::Failed { failure }, if fenced { Start::Fenced } else { Start::Never }))
                }
            }
        }
    }
}

/// The outcome of a program, unless it refused to begin because what it relies on does not hold.
pub(super) fn unless_refused(receipt: &Receipt, (outcome, start): (StepOutcome, Start)) -> (StepOutcome, Start) {
    match (receipt.get(REFUSED), &outcome) {
        (Some(why), StepOutcome::Failed { .. }) => {
            let failure = Failure::new(FailureClass::Gate, why)
                .because("nothing was begun: what the step relies on does not hold")
                .hint("look at that file; a new run makes a new backup");
            (StepOutcome::Failed { failure }, Start::Never)
        }
        _ => (outcome, start),
    }
}

pub(super) fn not_durable(reason: &str) -> Failure {
    Failure::new(FailureClass::Refused, "the host cannot keep a step from running twice").because(reason).hint(
        "mend that on the host, then `longshore retry --refused`; or, for a new plan, name a better place as `state-dir` in \
         the inventory, or say `repeat-safe = true` on the step if running it twice does no harm",
    )
}

/// A host that was told to restart was not found again within the step's time.
pub(super) fn did_not_come_back(error: LinkError, step: &PlannedStep) -> Stopped {
    match error {
        LinkError::Ledger(error) => Stopped::Ledger(error),
        LinkError::Failed(failure) => {
            let what = format!("it was told to restart and could not be reached again within {}", step.timeout);
            let mut away = Failure::new(FailureClass::Unreachable, what).because(failure.message);
            away.causes.extend(failure.causes);
            let away = away.hint("look at its console; once it can be reached, `longshore retry --unreached` goes on behind the restart, which is not repeated");
            Stopped::Ended(HostOutcome::Unreachable, Some(away))
        }
    }
}

/// The host was not found again in the middle of a step, which goes on without us.
pub(super) fn left_under_way(error: LinkError, step: &PlannedStep) -> Stopped {
    match error {
        LinkError::Ledger(error) => Stopped::Ledger(error),
        LinkError::Failed(failure) => {
            // One that does not let us in any more is caught up like one that cannot be reached: what was begun is known.
            let away = failure.class.is_unreachable() || failure.class == FailureClass::Authentication;
            let outcome = if away { HostOutcome::Unreachable } else { HostOutcome::Unknown };
            let failure = failure
                .because(format!("steps from `{}` on were under way; what runs on the host goes on", step.name))
                .hint("`longshore resume` takes it up again once the host can be reached");
            Stopped::Ended(outcome, Some(failure))
        }
    }
}
