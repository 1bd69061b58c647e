//! How a run is steered: signals (Ctrl-C once drains, twice detaches), and requests from other terminals.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
};

use super::{prompt, voice::Voice};
use crate::{
    engine::{Control, Promoter, Stop, Word},
    event::{Happening, Recorder as _},
    ledger::{self, RunHandle},
    model::RunNumber,
};

/// How often a run looks for requests from other terminals.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Listens for signals for as long as anybody looks at what they did, and tells it.
pub(crate) fn listen(tell: impl Fn(&str) + Send + 'static) -> (Arc<watch::Sender<Stop>>, watch::Receiver<Stop>) {
    let (sender, receiver) = watch::channel(Stop::No);
    let sender = Arc::new(sender);
    let by_signal = Arc::clone(&sender);
    tokio::spawn(async move {
        let mut interrupt = signal(SignalKind::interrupt()).ok();
        let mut terminate = signal(SignalKind::terminate()).ok();
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            // Any of them twice means the same: whoever asks again does not want to wait.
            tokio::select! {
                Some(()) = next(&mut interrupt) => {}
                Some(()) = next(&mut terminate) => {}
                // The terminal is gone, and what is left should not depend on it.
                Some(()) = next(&mut hangup) => {}
                () = by_signal.closed() => return,
                else => return,
            }
            let asked = if *by_signal.borrow() == Stop::No { Stop::Drain } else { Stop::Detach };
            if raise(&by_signal, asked) {
                tell(match asked {
                    Stop::Detach => "Leaving now. Running steps go on alone; `longshore resume` takes them up.",
                    _ => "Stopping: running hosts finish their step. Ctrl-C again leaves at once.",
                });
            }
        }
    });
    (sender, receiver)
}

fn listen_aloud(voice: &Voice) -> (Arc<watch::Sender<Stop>>, watch::Receiver<Stop>) {
    let voice = voice.clone();
    listen(move |text| voice.tell(text))
}

/// Asks for at least `level`. Says whether that is more than was asked before.
fn raise(stop: &watch::Sender<Stop>, level: Stop) -> bool {
    stop.send_if_modified(|now| {
        let more = level > *now;
        *now = (*now).max(level);
        more
    })
}

async fn next(signal: &mut Option<tokio::signal::unix::Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => None,
    }
}

/// Steers a recorded run by signals and by what the ledger is asked.
pub(crate) fn of_run(voice: &Voice, run: &Arc<RunHandle>) -> Control {
    let (ledger, number) = (run.ledger().clone(), run.number());
    // The run is let go when its work is done, whoever still listens.
    let run = Arc::downgrade(run);
    let (stop_sender, stop) = listen_aloud(voice);
    let (pause, paused) = watch::channel(false);
    let waiting = Arc::new(Waiting::default());
    let aborted = Arc::new(OnceLock::new());
    let by_word = Arc::clone(&aborted);
    let promoter = RunPromoter { waiting: Arc::clone(&waiting), number, voice: voice.clone() };
    let voice = voice.clone();
    tokio::spawn(async move {
        while !stop_sender.is_closed() {
            tokio::time::sleep(LOOK_EVERY).await;
            let reader = ledger.clone();
            let taken = tokio::task::spawn_blocking(move || reader.take_requests(number)).await;
            // A ledger that cannot be read shows where it is written.
            let Ok(Ok(requests)) = taken else { continue };
            for request in requests {
                let why = request.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                let by = &request.by;
                match request.control {
                    ledger::Control::Pause => {
                        let (by, reason) = (by.clone(), request.reason.clone());
                        note(&run, Happening::Paused { by, reason }).await;
                        let _ = pause.send(true);
                        voice.tell("No new hosts until `longshore promote`.");
                    }
                    ledger::Control::Promote => {
                        let was_paused = *pause.borrow();
                        if was_paused {
                            let (by, reason) = (by.clone(), request.reason.clone());
                            note(&run, Happening::Unpaused { by, reason }).await;
                            let _ = pause.send(false);
                        }
                        let word = Word { by: Some(by.clone()), reason: request.reason.clone() };
                        // A word that came before its time would let a wave begin of which nothing was known yet.
                        let heeded = waiting.give(word, request.made) || was_paused;
                        let said = if heeded { format!("{why}.") } else { ", but nothing waits for it.".to_owned() };
                        voice.tell(&format!("Promoted by {by}{said}"));
                    }
                    ledger::Control::Abort => {
                        let _ = by_word.set(Word { by: Some(by.clone()), reason: request.reason.clone() });
                        raise(&stop_sender, Stop::Drain);
                        voice.tell(&format!("Aborted by {by}{why}: no new hosts; running ones finish their step."));
                    }
                }
            }
        }
    });
    Control { stop, paused, promoter: Arc::new(promoter), aborted }
}

/// Records what a person asked for, while there is a run to ask it of.
async fn note(run: &Weak<RunHandle>, what: Happening) {
    if let Some(run) = run.upgrade() {
        // A ledger that cannot be written ends the run, which says so.
        let _ = run.record(None, what).await;
    }
}

/// Steers what is not recorded: by signals alone.
pub(crate) fn of_process(voice: &Voice) -> Control {
    let (_, stop) = listen_aloud(voice);
    let (_, paused) = watch::channel(false);
    Control { stop, paused, promoter: Arc::new(Nobody), aborted: Arc::default() }
}

/// Where the run waits for a word from another terminal, while it does, and since when.
#[derive(Default)]
struct Waiting(Mutex<Option<(Timestamp, oneshot::Sender<Word>)>>);

impl Waiting {
    fn begin(&self) -> oneshot::Receiver<Word> {
        let (sender, word) = oneshot::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Timestamp::now(), sender));
        word
    }

    /// Whether somebody waited for the word when it was said, and has it now. One said before is about something else,
    /// however late it is heard.
    fn give(&self, word: Word, said: Timestamp) -> bool {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner).take_if(|(since, _)| *since <= said);
        waits.is_some_and(|(_, sender)| sender.send(word).is_ok())
    }
}

/// Lets the next wave begin at a word from this terminal or from another.
struct RunPromoter {
    waiting: Arc<Waiting>,
    number: RunNumber,
    voice: Voice,
}

#[async_trait]
impl Promoter for RunPromoter {
    async fn promoted(&self, wave: &str) -> Option<Word> {
        let word = self.waiting.begin();
        let number = self.number;
        self.voice.tell(&format!("{wave} is green. `longshore promote {number}` lets the next wave begin."));
        if !self.voice.can_ask() {
            return word.await.ok();
        }
        let question = format!("Go on after {wave}? [y/N] ");
        let voice = self.voice.clone();
        // Kept here, so that a word from another terminal gives the room back as well.
        let Ok(_room) = tokio::task::spawn_blocking(move || voice.room()).await else { return None };
        let asked = tokio::task::spawn_blocking(move || prompt::confirmed(&question));
        tokio::select! {
            answer = asked => answer.unwrap_or(false).then_some(Word { by: None, reason: None }),
            Ok(word) = word => Some(word),
        }
    }
}

struct Nobody;

#[async_trait]
impl Promoter for Nobody {
    async fn promoted(&self, _: &str) -> Option<Word> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_was_said_before_anybody_waited_is_not_given() {
        let waiting = Waiting::default();
        let word = || Word { by: Some("anna".to_owned()), reason: None };
        let before = Timestamp::now();
        let _heard = waiting.begin();
        let said = before - std::time::Duration::from_millis(1);
        assert!(!waiting.give(word(), said), "it was about the pause");
        assert!(waiting.give(word(), Timestamp::now()));
        assert!(!waiting.give(word(), Timestamp::now()), "it was given");
    }
}
