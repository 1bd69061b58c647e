//! Runs one step's program over the open channel, for hosts that cannot keep steps safe from faults.
//!
//! Nothing of it outlives the link, so only steps that may be repeated are run this way.

use std::{sync::Arc, time::Duration};

use crate::{
    model::{Receipt, Secret, StepId, quote},
    transport::{Captured, Ended, Exec, Output, Session, Status, TransportError},
};

/// One program to run attached.
pub(super) struct Attached<'a> {
    pub(super) run: &'a str,
    /// Whose directory it keeps its things in: an undo uses its step's.
    pub(super) step: &'a StepId,
    pub(super) look: Option<&'a str>,
    pub(super) act: &'a str,
    pub(super) limit: Duration,
    /// Longest silence.
    pub(super) idle: Option<Duration>,
    pub(super) run_as: Option<(String, Option<Secret>)>,
    pub(super) secrets: Vec<(String, Secret)>,
}

/// How an attached program ended.
pub(super) struct AttachedEnd {
    /// The look found nothing to do.
    pub(super) unchanged: bool,
    /// The look could not tell.
    pub(super) cannot_tell: bool,
    pub(super) ended: Ended,
}

/// Exit status by which the program says that looking found nothing to do; no shell makes it by itself.
const NOTHING_TO_DO: u32 = 113;
/// Exit status by which it says that looking failed.
const CANNOT_TELL: u32 = 114;

impl Attached<'_> {
    pub(super) async fn run(
        self,
        session: &Arc<dyn Session>,
        output: &mut (dyn Output + '_),
    ) -> Result<AttachedEnd, TransportError> {
        let mut exec = Exec::script(self.text()).timeout(self.limit);
        exec.idle_timeout = self.idle;
        exec.run_as = self.run_as;
        exec.secrets = self.secrets;
        let mut ended = session.run(exec, output).await?;
        let unchanged = ended.status == Status::Exited(NOTHING_TO_DO);
        let cannot_tell = ended.status == Status::Exited(CANNOT_TELL);
        if unchanged {
            ended.status = Status::Exited(0);
        }
        Ok(AttachedEnd { unchanged, cannot_tell, ended })
    }

    fn text(&self) -> String {
        // The texts are evaluated and not handed to a new shell: an argument is bounded, and seen by others.
        let mut text = format!(
            "LONGSHORE_UMASK=$(umask); umask 077\n\
             LONGSHORE_STEP_DIR=${{XDG_STATE_HOME:-${{HOME:-/root}}/.local/state}}/longshore/attached/{}/{}\n\
             mkdir -p \"$LONGSHORE_STEP_DIR\" || exit {CANNOT_TELL}\n\
             umask \"$LONGSHORE_UMASK\"\n\
             LONGSHORE_RUN={}; export LONGSHORE_STEP_DIR LONGSHORE_RUN\n",
            self.run, self.step, self.run
        );
        if let Some(look) = self.look {
            text.push_str(&format!(
                "( eval {} ) </dev/null\ncase $? in 0) exit {NOTHING_TO_DO} ;; 10) ;; *) exit {CANNOT_TELL} ;; esac\n",
                quote(look)
            ));
        }
        text.push_str(&format!("eval {}\n", quote(self.act)));
        text
    }
}

/// The path of a step's upload on the host, as a word for its shell.
pub(super) fn upload_path(run: &str, step: &StepId) -> String {
    format!("\"${{XDG_STATE_HOME:-${{HOME:-/root}}/.local/state}}/longshore/attached/{run}/{step}/upload\"")
}

/// Takes the `longshore-receipt KEY VALUE` lines out of a program's output.
pub(super) fn receipt(out: &Captured) -> Receipt {
    let mut receipt = Receipt::default();
    for line in out.text().lines() {
        if let Some((key, value)) = line.strip_prefix("longshore-receipt ").and_then(|rest| rest.split_once(' ')) {
            receipt = receipt.with(key, value.trim());
        }
    }
    receipt
}
