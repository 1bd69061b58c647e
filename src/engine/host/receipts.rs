//! What steps left as proof, and whether it is good enough for those that rely on it.

use std::fmt::Write as _;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Turn;
use crate::{
    model::{Failure, FailureClass, Receipt, quote},
    plan::{PlannedStep, leaves, made_ahead},
    steps::HOLDS,
};

/// A step that changed the host, or may have.
pub(in crate::engine) struct DoneStep {
    pub(in crate::engine) index: usize,
    pub(in crate::engine) receipt: Receipt,
    pub(in crate::engine) ended: Ended,
    /// False for a step that found nothing to do, and stands here for its receipt alone.
    pub(in crate::engine) changed: bool,
    /// It did not come to a good end.
    pub(in crate::engine) half: bool,
}

/// When a step ended.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) enum Ended {
    /// In this turn.
    Now(Instant),
    /// Before, as the ledger has it; not later than that.
    Before(Timestamp),
}

/// What goes before the programs of a step that relies on receipts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::engine) struct Proof {
    /// Makes the values of the receipts known to all programs of the step.
    pub(in crate::engine) values: String,
    /// Looks at the files right before the step acts: one that is not what it was ends the program.
    pub(in crate::engine) files: String,
}

/// A receipt that is relied on.
struct Relied<'a> {
    of: &'a str,
    receipt: &'a Receipt,
    ended: Ended,
}

impl Turn<'_> {
    /// Puts together the proof that a step asks for, or says what it lacks.
    pub(super) fn proof(&self, step: &PlannedStep) -> Result<Proof, Failure> {
        // What was saved before one hop is no backup of what the next one changes.
        self.proof_among(step, &|done| step.hop.is_none() || self.of.steps[done.index].hop == step.hop)
    }

    /// As [`Turn::proof`], relying only on done steps for which `which` holds.
    pub(super) fn proof_among(&self, step: &PlannedStep, which: &dyn Fn(&DoneStep) -> bool) -> Result<Proof, Failure> {
        let mut proof = Proof::default();
        if let Some(failure) = self.no_copy(step) {
            return Err(failure);
        }
        for needed in &step.requires {
            let named = &needed.receipt;
            let refused = |what: String| {
                Failure::new(FailureClass::Gate, what)
                    .because(format!("step `{}` was not begun: it relies on that receipt", step.name))
            };
            let Some(found) = self.receipt_of(named, which) else {
                return Err(refused(format!("there is no receipt of `{named}`"))
                    .hint("the step prints its receipt: `echo \"longshore-receipt verified HOW\"`, `... file PATH`"));
            };
            if found.receipt.get("verified").is_none_or(|how| how.trim().is_empty()) {
                return Err(refused(format!("the receipt of `{}` does not say what verified it", found.of)).hint(
                    "verify the backup in the step that makes it, then `echo \"longshore-receipt verified HOW\"`",
                ));
            }
            if let Some(limit) = needed.younger_than
                && self.age(found.ended).is_none_or(|age| age >= limit.0)
            {
                return Err(refused(format!("the receipt of `{}` is not younger than {limit}", found.of)).hint(
                    "a retry makes a new backup where nothing else was done on the host; otherwise a new run does",
                ));
            }
            proof.rely_on(found.of, found.receipt);
        }
        Ok(proof)
    }

    /// The receipt of the step of that name, the latest of several.
    fn receipt_of(&self, named: &str, which: &dyn Fn(&DoneStep) -> bool) -> Option<Relied<'_>> {
        let own = self.done.iter().rev().filter(|done| which(done) && !done.receipt.is_empty()).find_map(|done| {
            let name = self.of.steps[done.index].name.as_str();
            leaves(name, named).then_some(Relied { of: name, receipt: &done.receipt, ended: done.ended })
        });
        let aside = || {
            let left = self.aside.iter().rev().filter(|aside| !aside.receipt.is_empty());
            left.into_iter().find(|aside| leaves(&aside.name, named)).map(|aside| Relied {
                of: &aside.name,
                receipt: &aside.receipt,
                ended: aside.ended,
            })
        };
        let kept = || {
            let kept = self.of.rollback.iter().flat_map(|rollback| &rollback.receipts);
            kept.rev().find(|kept| leaves(&kept.step, named)).map(|kept| Relied {
                of: &kept.step,
                receipt: &kept.receipt,
                ended: Ended::Before(kept.ended),
            })
        };
        own.or_else(aside).or_else(kept)
    }

    /// How long ago a step ended; `None` where nobody knows.
    pub(super) fn age(&self, ended: Ended) -> Option<std::time::Duration> {
        match ended {
            Ended::Now(at) => Some(at.elapsed()),
            // A clock that was set back makes nothing younger.
            Ended::Before(at) => (self.means.now)().duration_since(at).try_into().ok(),
        }
    }

    /// When what the receipt proves was made: where a prefetch made it, before the step that found it again.
    pub(super) fn made(receipt: &Receipt, ended: Ended) -> Ended {
        made_ahead(receipt).map_or(ended, Ended::Before)
    }

    /// When a step ended, by the controller's clock.
    pub(super) fn ended_at(&self, ended: Ended) -> Timestamp {
        match ended {
            Ended::Now(at) => {
                let now = (self.means.now)();
                now.checked_sub(at.elapsed()).unwrap_or(now)
            }
            Ended::Before(at) => at,
        }
    }
}

impl Proof {
    fn rely_on(&mut self, of: &str, receipt: &Receipt) {
        for (key, value) in &receipt.0 {
            let name = variable(key);
            // Where two receipts have the same key, that of the requirement named first counts.
            if !self.values.contains(&format!("export {name}=")) {
                let _ = writeln!(self.values, "export {name}={}", quote(value));
            }
        }
        let Some(file) = receipt.get("file") else { return };
        let word = |fact: &str| quote(receipt.get(fact).unwrap_or_default());
        let _ =
            writeln!(self.files, "longshore_holds {} {} {} {}", quote(of), quote(file), word("size"), word("sha256"));
    }

    /// The program before which the proof stands: values first, and the files right before what it does.
    pub(in crate::engine) fn before(&self, act: &str) -> String {
        if self.files.is_empty() {
            return format!("{}{act}", self.values);
        }
        format!("{}{HOLDS}{}{act}", self.values, self.files)
    }
}

/// The variable of a receipt's value.
fn variable(key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("LONGSHORE_RECEIPT_{}", key.chars().map(plain).collect::<String>())
}

/// The fact by which a step's program says that it did not begin what it is for, and why.
pub(in crate::engine) const REFUSED: &str = "refused";

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs a step's program behind the proof of a receipt; says whether it ran, and why not.
    fn run(shell: &[&str], receipt: &Receipt) -> (bool, String) {
        let mut proof = Proof::default();
        proof.rely_on("Back up", receipt);
        let text = proof.before("echo \"ran with $LONGSHORE_RECEIPT_FILE\"\n");
        let output = Command::new(shell[0]).args(&shell[1..]).arg("-c").arg(text).output().expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        (said.starts_with("ran with /"), said)
    }

    #[test]
    fn f_16_r59_a_backup_that_was_cut_emptied_or_swapped_is_relied_on_by_no_shell() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("it's a dump");
        let write = |text: &str| std::fs::write(&file, text).expect("written");
        let receipt = Receipt::default()
            .with("file", file.to_string_lossy())
            .with("size", "6")
            .with("sha256", "dc45dd9a10ac0f0a7b9c4e6cf32ba8f84e0b9c1e5e9d7f2c4b9f2a3a1f6a7f5b");
        write("saved\n");
        let digest = Command::new("sha256sum").arg(&file).output().expect("sha256sum");
        let digest = String::from_utf8_lossy(&digest.stdout).split(' ').next().unwrap_or_default().to_owned();
        let good = receipt.clone().with("sha256", digest.trim_start_matches('\\'));
        for shell in [&["dash"][..], &["bash"], &["busybox", "sh"]] {
            write("saved\n");
            assert!(run(shell, &good).0, "{shell:?}");
            for (text, why) in [("sav", "has 3 bytes, not 6"), ("", "is empty"), ("other\n", "sha256 differs")] {
                write(text);
                let (ran, said) = run(shell, &good);
                assert!(!ran && said.contains(why), "{shell:?}: {said}");
            }
            write("saved\n");
            let (ran, said) = run(shell, &receipt);
            assert!(!ran && said.contains("sha256 differs"), "{shell:?}: {said}");
            std::fs::remove_file(&file).expect("removed");
            let (ran, said) = run(shell, &good);
            assert!(!ran && said.contains("is not there any more"), "{shell:?}: {said}");
        }
    }
}
