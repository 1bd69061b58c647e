//! Runs one step's program over the open channel, for hosts that cannot keep steps safe from faults.
//!
//! Nothing of it outlives the link, so only steps that may be repeated are run this way.

use std::{sync::Arc, time::Duration};

use crate::{
    model::{KeptBy, Receipt, Secret, StepId, quote},
    transport::{Captured, Ended, Exec, Output, Session, Status, TransportError},
};

/// One program to run attached.
pub(super) struct Attached<'a> {
    pub(super) run: &'a str,
    /// Whose directory it keeps its things in: an undo uses its step's.
    pub(super) step: &'a StepId,
    /// The step of an earlier run whose directory it is, where it is another's.
    pub(super) keep_of: Option<&'a KeptBy>,
    /// The name for its work outside of its processes.
    pub(super) work: String,
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
/// Where the directories of attached steps are on the host.
const ALL: &str = "${XDG_STATE_HOME:-${HOME:-/root}/.local/state}/longshore/attached";
/// Removes the directories of runs 30 days old, when one of a new run is made. Dates that a wrong clock made are renewed.
const EXPIRE: &str = "find \"$LONGSHORE_ALL\"/* -prune -mtime +3650 -exec touch {} \\; 2>/dev/null; \
                      find \"$LONGSHORE_ALL\"/* -prune -type d -mtime +30 -exec rm -rf {} \\; 2>/dev/null";
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
        let make = match self.keep_of {
            Some(_) => "[ -d \"$LONGSHORE_STEP_DIR\" ]".to_owned(),
            None => {
                format!("[ -d \"$LONGSHORE_ALL/{}\" ] || {{ {EXPIRE}; }}; mkdir -p \"$LONGSHORE_STEP_DIR\"", self.run)
            }
        };
        let mut text = format!(
            "{}LONGSHORE_UMASK=$(umask); umask 077\n\
             {make} || exit {CANNOT_TELL}\n\
             umask \"$LONGSHORE_UMASK\"\n",
            variables(self.run, self.step, self.keep_of, &self.work)
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

/// What a step's programs go by.
fn variables(run: &str, step: &StepId, keep_of: Option<&KeptBy>, work: &str) -> String {
    let keep = keep_of.map_or_else(|| format!("{run}/{step}"), ToString::to_string);
    format!(
        "LONGSHORE_ALL={ALL}\n\
         LONGSHORE_STEP_DIR=$LONGSHORE_ALL/{keep}\n\
         LONGSHORE_RUN={run} LONGSHORE_STEP={step} LONGSHORE_WORK={work}\n\
         export LONGSHORE_STEP_DIR LONGSHORE_RUN LONGSHORE_STEP LONGSHORE_WORK\n"
    )
}

/// A program about the work that a step named `work`, with the step's variables.
pub(super) fn about_work(run: &str, step: &StepId, keep_of: Option<&KeptBy>, work: &str, program: &str) -> String {
    format!("{}{program}\n", variables(run, step, keep_of, work))
}

/// The path of a step's upload on the host, as a word for its shell.
pub(super) fn upload_path(run: &str, step: &StepId) -> String {
    format!("\"{ALL}/{run}/{step}/upload\"")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run(home: &std::path::Path, run: &str, keep_of: Option<&KeptBy>, act: &str) -> bool {
        let step = StepId::new(0, "switch");
        let limit = Duration::from_secs(9);
        let attached = Attached {
            run,
            step: &step,
            keep_of,
            work: String::new(),
            look: None,
            act,
            limit,
            idle: None,
            run_as: None,
            secrets: Vec::new(),
        };
        let mut sh = std::process::Command::new("/bin/sh");
        sh.arg("-c").arg(attached.text()).env("HOME", home).env_remove("XDG_STATE_HOME");
        sh.status().expect("sh").success()
    }

    #[test]
    fn what_steps_of_old_runs_kept_goes_when_a_new_run_begins() {
        let home = tempfile::tempdir().expect("home");
        let all = home.path().join(".local/state/longshore/attached");
        for old in ["old", "recent", "wrong-clock"] {
            assert!(run(home.path(), old, None, "echo kept >\"$LONGSHORE_STEP_DIR/before\""));
        }
        for (run, age) in [("old", "40 days ago"), ("recent", "29 days ago"), ("wrong-clock", "1970-01-02")] {
            let dated = std::process::Command::new("touch").args(["-d", age]).arg(all.join(run)).status();
            assert!(dated.expect("touch").success());
        }
        let kept =
            KeptBy { run: crate::model::RunId::from_text("recent").expect("run"), step: StepId::new(0, "switch") };
        assert!(run(home.path(), "new", Some(&kept), "grep -q kept \"$LONGSHORE_STEP_DIR/before\""));
        assert!(all.join("old").exists(), "nothing of a new run was made yet");
        assert!(run(home.path(), "new", None, "[ ! -e \"$LONGSHORE_STEP_DIR/before\" ]"));
        assert_eq!(
            ["old", "recent", "wrong-clock", "new"].map(|run| all.join(run).exists()),
            [false, true, true, true]
        );
        let asked = about_work(
            "new",
            &StepId::new(0, "switch"),
            None,
            "new.01-switch.1",
            "[ -d \"$LONGSHORE_STEP_DIR\" ] && [ $LONGSHORE_WORK = new.01-switch.1 ]",
        );
        let mut sh = std::process::Command::new("/bin/sh");
        let sh = sh.arg("-c").arg(asked).env("HOME", home.path()).env_remove("XDG_STATE_HOME");
        assert!(sh.status().expect("sh").success(), "what asks for work outside has not the step's variables");
        let gone = KeptBy { run: crate::model::RunId::from_text("old").expect("run"), ..kept };
        assert!(!run(home.path(), "new", Some(&gone), "exit 0"));
    }
}
