//! The lease on an install: at most one controller changes it, and a stalled one is refused by the host.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    DurableError, HostAbility, HostSide, LeaseError,
    ability::read_ability,
    wire::{Answer, Script},
};
use crate::model::HostOutcome;

const LEASE: &str = include_str!("lease.sh");

/// Time a lease lasts without renewal, by the host's own count since it was started. A dead controller's host is to be
/// free for another two minutes after its last step: what is left of them is for asking.
pub const TERM: Duration = Duration::from_secs(100);

/// How often an owner renews: four times in a term, three of which may fail.
pub const RENEWAL: Duration = Duration::from_secs(25);

/// Proof of ownership: every start on the host is checked against its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Grows with every acquisition, also by the same run.
    pub token: u64,
    pub owner: String,
    /// The host's own identity, made with the first lease. Another one means another host.
    pub host_id: String,
}

/// Whether the host may be new to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing was ever sent to this host in this run.
    First,
    /// It gave a lease in this run: if it does not know the run, its state is lost.
    Again,
    /// As [`Beginning::Again`], and the ledger knows that the host came to its end in this run and is now taken again.
    Anew,
    /// As [`Beginning::Anew`], and its end was one at which it may have forgotten the run.
    Afresh,
}

impl HostSide {
    /// Takes the lease for this run. Succeeds beside an earlier lease of the same run and fences it.
    ///
    /// `owner` is who to name to others (`anna@laptop`); `manifest` is kept with the run for `recover`.
    pub async fn acquire(&self, owner: &str, manifest: &str, beginning: Beginning) -> Result<Lease, LeaseError> {
        let script = self.acquiring(self.script(), owner, manifest, beginning).call("acquire", &[]);
        let answers = self.ask("take the lease", script.call("say", &["end"])).await?;
        read_lease(&answers, owner)
    }

    /// Probes the host and takes the lease in one exchange. Use [`HostSide::scope`] with what it found.
    pub async fn open(
        &self,
        owner: &str,
        manifest: &str,
        beginning: Beginning,
    ) -> Result<(HostAbility, Lease), LeaseError> {
        let script = self.acquiring(self.probing(self.script()), owner, manifest, beginning);
        let script = script.add("[ $ABLE = no ] || acquire").call("say", &["end"]);
        let answers = self.ask("take the lease", script).await?;
        let ability = read_ability(&answers)?;
        Ok((ability, read_lease(&answers, owner)?))
    }

    fn acquiring(&self, script: Script, owner: &str, manifest: &str, beginning: Beginning) -> Script {
        let manifest: String = manifest.chars().filter(|c| *c != '\0').collect();
        self.leasing(script, &owner_word(owner), 0)
            .set("MANIFEST", &manifest)
            .set("MANIFEST_LENGTH", &(manifest.len() + 1).to_string())
            .set("MAY_BEGIN", if matches!(beginning, Beginning::First | Beginning::Afresh) { "yes" } else { "no" })
            .set("MAY_PASS", if matches!(beginning, Beginning::Anew | Beginning::Afresh) { "yes" } else { "no" })
    }

    /// Starts the lease's term anew.
    pub async fn renew(&self, lease: &Lease) -> Result<(), LeaseError> {
        let script = self.leasing(self.script(), &lease.owner, lease.token).call("renew", &[]).call("say", &["end"]);
        let answers = self.ask("renew the lease", script).await?;
        refusal(&answers)?;
        find(&answers, "renewed", "renew the lease").map(|_| ())
    }

    /// Gives the lease back. Refused while a step of the run still runs.
    pub async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        let script = self.leasing(self.script(), &lease.owner, lease.token).call("release", &[]).call("say", &["end"]);
        let answers = self.ask("release the lease", script).await?;
        refusal(&answers)?;
        find(&answers, "released", "release the lease").map(|_| ())
    }

    /// Takes the lease away from whoever has it, and returns that run and its owner. For a person, with a
    /// reason to be recorded; refused while a step runs.
    pub async fn unlock(&self) -> Result<Option<(String, String)>, LeaseError> {
        self.unlocking("yes").await
    }

    /// Fails as [`HostSide::unlock`] would now, and takes nothing.
    pub async fn may_unlock(&self) -> Result<(), LeaseError> {
        self.unlocking("no").await.map(|_| ())
    }

    async fn unlocking(&self, take: &str) -> Result<Option<(String, String)>, LeaseError> {
        let script = self.leasing(self.script(), "-", 0).set("TAKE", take).call("unlock", &[]).call("say", &["end"]);
        let answers = self.ask("unlock", script).await?;
        let answer = find(&answers, "unlocked", "unlock")?;
        Ok((answer.word(0) != "-").then(|| (answer.word(0).to_owned(), answer.word(1).to_owned())))
    }

    fn leasing(&self, script: Script, owner: &str, token: u64) -> Script {
        script
            .set("OWNER", owner)
            .set("TOKEN", &token.to_string())
            .set("TERM_SECONDS", &self.term.as_secs().to_string())
            .add(LEASE)
    }
}

fn read_lease(answers: &[Answer], owner: &str) -> Result<Lease, LeaseError> {
    refusal(answers)?;
    let granted = find(answers, "lease", "take the lease")?;
    let token = granted.number(0).ok_or_else(|| nonsense("take the lease", granted))?;
    Ok(Lease { token, owner: owner_word(owner), host_id: granted.word(1).to_owned() })
}

/// An owner as one word of the lease's line.
fn owner_word(owner: &str) -> String {
    let word: String =
        owner.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).filter(|c| *c != '\\').take(80).collect();
    if word.is_empty() { "nobody".to_owned() } else { word }
}

fn find<'a>(answers: &'a [Answer], verb: &str, question: &'static str) -> Result<&'a Answer, LeaseError> {
    answers.iter().find(|answer| answer.verb == verb).ok_or_else(|| {
        let reason = format!("it did not answer `{verb}`");
        DurableError::Host { question, reason }.into()
    })
}

fn nonsense(question: &'static str, answer: &Answer) -> LeaseError {
    DurableError::Host { question, reason: format!("it answered `{} {}`", answer.verb, answer.words.join(" ")) }.into()
}

fn refusal(answers: &[Answer]) -> Result<(), LeaseError> {
    for answer in answers {
        match answer.verb.as_str() {
            "held" => {
                return Err(LeaseError::HeldBy {
                    run: answer.word(0).to_owned(),
                    owner: answer.word(1).to_owned(),
                    age: answer.seconds(2),
                    free_in: answer.seconds(3).unwrap_or_default(),
                    running: answer.word(4) == "yes",
                });
            }
            "ended" => {
                // A word that only a newer version writes must not make a finished host begin again.
                let outcome = super::recover::outcome_of(answer.word(0)).unwrap_or(HostOutcome::Unknown);
                return Err(LeaseError::Ended { outcome });
            }
            "gone" => {
                return Err(LeaseError::Lost {
                    run: answer.word(0).to_owned(),
                    owner: answer.word(1).to_owned(),
                    token: answer.number(2).unwrap_or_default(),
                });
            }
            _ => {}
        }
    }
    Ok(())
}
