//! What is seen while a run goes on: lines of a terminal that change, plain lines where there is no
//! terminal, or nothing. All three come from one fold, and lines of progress may be dropped.

mod board;
mod sentence;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::page::{Page, line};
use crate::{
    event::{Activity, Event, Happening, IllegalEvent, Phase, RunState},
    model::{FailureClass, HostName, Verdict},
};

pub(super) use sentence::{LONGEST as LONGEST_SENTENCE, sentence, titled};

/// What the live display is fed with.
#[derive(Debug, Clone)]
pub enum Feed {
    /// What happened before this process took the run up; folded, not told again.
    Past(Vec<Event>),
    Event(Box<Event>),
    /// Something the controller has to say itself, such as what Ctrl-C does.
    Note(String),
    /// A question is to be asked: the terminal is left to it, which the answer says, until [`Feed::GoOn`].
    Hold(SyncSender<()>),
    GoOn,
    /// What happens inside a step. May be dropped.
    Progress {
        host: HostName,
        what: Progress,
    },
}

/// Progress that may wait for a slow terminal; more of it is dropped. Events are never dropped.
const MOST_WAITING: usize = 1024;

/// Makes the two ends of a feed.
pub fn feed() -> (Feeder, Feeding) {
    let (to, from) = std::sync::mpsc::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Feeder { to, waiting: Arc::clone(&waiting) }, Feeding { from, waiting })
}

/// Where the display is fed. Never waits for it.
#[derive(Debug, Clone)]
pub struct Feeder {
    to: Sender<Feed>,
    waiting: Arc<AtomicUsize>,
}

impl Feeder {
    pub fn event(&self, event: Event) {
        // A display that is gone misses nothing: the ledger has it all.
        let _ = self.to.send(Feed::Event(Box::new(event)));
    }

    /// Tells the display something itself. Says whether it is still there.
    pub fn tell(&self, what: Feed) -> bool {
        self.to.send(what).is_ok()
    }

    /// Tells of progress, or drops it where the display does not keep up.
    pub fn progress(&self, host: HostName, what: Progress) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < MOST_WAITING {
            let _ = self.to.send(Feed::Progress { host, what });
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Where the display takes its feed from.
#[derive(Debug)]
pub struct Feeding {
    from: Receiver<Feed>,
    waiting: Arc<AtomicUsize>,
}

impl Feeding {
    fn next(&self, within: Duration) -> Result<Feed, RecvTimeoutError> {
        let item = self.from.recv_timeout(within)?;
        if matches!(item, Feed::Progress { .. }) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(item)
    }
}

/// What happens inside a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A line the host said.
    Line(String),
    /// Bytes moved, of how many.
    Bytes { done: u64, of: u64 },
    /// What a waiting check saw last.
    Waiting(String),
}

/// How often a terminal is drawn anew.
const FRAME: Duration = Duration::from_millis(120);

/// How long a host is silent before plain lines say what it is at.
const SOON: Duration = Duration::from_secs(10);

/// How often they say it again after that.
const STILL: Duration = Duration::from_mins(1);

/// Longest line of a host kept for the display, in characters.
const LONGEST: usize = 200;

/// The live display of one run.
pub struct Live {
    show: Show,
    page: Page,
    state: RunState,
    /// What each active host said or did last inside its step.
    latest: HashMap<HostName, Progress>,
    /// When a host was last heard of, and how long its silence may last from then.
    told: HashMap<HostName, (Timestamp, Duration)>,
    fault: Option<IllegalEvent>,
    /// Questions that have the terminal now.
    held: usize,
    /// Lines told meanwhile.
    kept: Vec<String>,
}

enum Show {
    Nothing,
    Lines(Box<dyn Write + Send>),
    Terminal { screen: MultiProgress, lines: Vec<ProgressBar>, height: usize },
}

impl Live {
    /// Shows nothing, and folds all the same.
    pub fn quiet(page: Page) -> Self {
        Self::new(Show::Nothing, page)
    }

    /// Writes a line with the time for each thing worth telling.
    pub fn lines(to: Box<dyn Write + Send>, page: Page) -> Self {
        Self::new(Show::Lines(to), page)
    }

    /// Draws on the terminal behind `target`, on at most `height` lines.
    pub fn terminal(target: ProgressDrawTarget, height: usize, page: Page) -> Self {
        let screen = MultiProgress::with_draw_target(target);
        Self::new(Show::Terminal { screen, lines: Vec::new(), height: height.max(4) }, page)
    }

    fn new(show: Show, page: Page) -> Self {
        Self {
            show,
            page,
            state: RunState::new(),
            latest: HashMap::new(),
            told: HashMap::new(),
            fault: None,
            held: 0,
            kept: Vec::new(),
        }
    }

    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// Returns the first event that could not be folded: a mistake of the engine.
    pub fn fault(&self) -> Option<&IllegalEvent> {
        self.fault.as_ref()
    }

    /// Takes what happened.
    pub fn take(&mut self, feed: Feed) {
        match feed {
            Feed::Past(events) => {
                for event in &events {
                    self.fold(event);
                }
            }
            Feed::Event(event) => self.take_event(&event),
            Feed::Note(text) => self.tell(&text),
            Feed::Hold(made) => {
                self.held += 1;
                self.draw(&[]);
                // Who asked may have gone on without room.
                let _ = made.send(());
            }
            Feed::GoOn => {
                self.held = self.held.saturating_sub(1);
                if self.held == 0 {
                    for text in std::mem::take(&mut self.kept) {
                        self.tell(&text);
                    }
                }
            }
            Feed::Progress { host, what } => {
                let what = match what {
                    Progress::Line(said) => Progress::Line(line(&said, LONGEST)),
                    Progress::Waiting(seen) => Progress::Waiting(line(&seen, LONGEST)),
                    bytes @ Progress::Bytes { .. } => bytes,
                };
                // An empty line tells nothing; the one before it stays.
                if what != Progress::Line(String::new()) {
                    self.latest.insert(host, what);
                }
            }
        }
    }

    fn fold(&mut self, event: &Event) -> bool {
        let folded = self.state.apply(event);
        if let Err(fault) = folded {
            self.fault.get_or_insert(fault);
            return false;
        }
        true
    }

    fn take_event(&mut self, event: &Event) {
        if !self.fold(event) {
            return;
        }
        if let Some(host) = &event.host {
            // What was said belonged to what has just ended, or to what ended before this began.
            self.latest.remove(host);
            self.told.insert(host.clone(), (event.at, SOON));
        }
        if !self.is_worth_a_line(event) {
            return;
        }
        let Some(said) = sentence(event, &self.state, &self.page) else { return };
        let host = event.host.as_ref().map(|host| format!("{host}: ")).unwrap_or_default();
        let text = format!("{} {host}{said}", self.page.clock(event.at));
        self.tell(&text);
    }

    /// Puts a line where it stays.
    fn tell(&mut self, text: &str) {
        if self.held > 0 && matches!(self.show, Show::Terminal { .. }) {
            self.kept.push(text.to_owned());
            return;
        }
        match &mut self.show {
            Show::Nothing => {}
            Show::Lines(_) => self.write(text),
            Show::Terminal { screen, .. } => {
                // A line that the terminal wraps by itself leaves pieces behind when the display is drawn anew.
                let _ = screen.println(self.page.wrap(text, 2).trim_end());
            }
        }
    }

    /// Whether an event stays on the screen. `history show` has every one.
    ///
    /// What went well is told once, when it ended; of hosts that were only looked at, not even that, for
    /// the table says it. What went wrong is always told.
    fn is_worth_a_line(&self, event: &Event) -> bool {
        let changes = !matches!(self.state.purpose.as_str(), "look" | "check" | "exec");
        let several_waves = self.state.waves.len() > 1;
        // The lines of active hosts on a terminal show the rest while it lasts.
        let lines = matches!(self.show, Show::Lines(_));
        match &event.what {
            Happening::Connected { .. }
            | Happening::LeaseTaken { .. }
            | Happening::SegmentSent { .. }
            | Happening::CommandFinished { .. }
            | Happening::HostSoaked { verdict: Verdict::Pass, .. }
            | Happening::WaveFinished { .. }
            | Happening::RunFinished { .. } => false,
            Happening::RunStarted { .. } | Happening::LinkLost { .. } | Happening::LinkRestored { .. } => lines,
            Happening::WaveStarted { .. } => several_waves,
            Happening::StepStarted { attempt, .. } => lines && *attempt > 1,
            Happening::StepFinished { .. } => lines && changes,
            Happening::CheckFinished { phase, verdict, .. } => {
                let proves = matches!(phase, Phase::After | Phase::Unwound);
                lines && (*verdict != Verdict::Pass || proves && changes)
            }
            Happening::UndoFinished { failure, .. } => lines || failure.is_some(),
            Happening::HostFinished { outcome, .. } => {
                let host = event.host.as_ref().and_then(|host| self.state.hosts.get(host));
                // How a command ended stands with what it printed, and a red check had a line of its own.
                let told = host.is_some_and(|host| {
                    let red = host.failure.as_ref().is_some_and(|failure| failure.class == FailureClass::Check);
                    host.command.is_some() || red
                });
                changes || !(outcome.is_good() || told)
            }
            Happening::RunResumed { .. }
            | Happening::WavePromoted { .. }
            | Happening::Paused { .. }
            | Happening::Unpaused { .. }
            | Happening::WindowsOverridden { .. }
            | Happening::HostDeferred { .. }
            | Happening::RunRecovered { .. }
            | Happening::StepFound { .. }
            | Happening::HostStarted { .. }
            | Happening::FactRead { .. }
            | Happening::IncidentStarted { .. }
            | Happening::WayChosen { .. }
            | Happening::Approved { .. }
            | Happening::UnwindStarted { .. }
            | Happening::UndoStarted { .. }
            | Happening::SoakStarted { .. }
            | Happening::SoakFinished { .. }
            | Happening::HostSoaked { .. }
            | Happening::Halted { .. }
            | Happening::Interrupted { .. }
            | Happening::Unknown => true,
        }
    }

    /// Shows how time goes on. Called a few times a second.
    pub fn tick(&mut self, now: Timestamp) {
        match &self.show {
            Show::Nothing => {}
            Show::Lines(_) => self.tell_patience(now),
            Show::Terminal { height, .. } => {
                if self.held == 0 {
                    let wanted = board::lines(&self.state, &self.latest, now, *height, &self.page);
                    self.draw(&wanted);
                }
            }
        }
    }

    /// Takes the changing lines off the terminal, so that the tables can follow.
    pub fn close(&mut self) {
        self.held = 0;
        for text in std::mem::take(&mut self.kept) {
            self.tell(&text);
        }
        self.draw(&[]);
        if let Show::Terminal { screen, .. } = &self.show {
            let _ = screen.clear();
        }
    }

    fn draw(&mut self, wanted: &[String]) {
        let Show::Terminal { screen, lines, .. } = &mut self.show else { return };
        while lines.len() > wanted.len() {
            if let Some(line) = lines.pop() {
                line.finish_and_clear();
                screen.remove(&line);
            }
        }
        for (index, text) in wanted.iter().enumerate() {
            if index == lines.len() {
                let style = ProgressStyle::with_template("{msg}").expect("a valid template");
                lines.push(screen.add(ProgressBar::new_spinner().with_style(style)));
            }
            lines[index].set_message(text.clone());
            lines[index].tick();
        }
    }

    /// Says of each step that takes long that it still runs, and what was heard last.
    fn tell_patience(&mut self, now: Timestamp) {
        let mut lines = Vec::new();
        for (name, host) in self.state.active() {
            let (since, patience) = self.told.get(name).copied().unwrap_or((now, SOON));
            let waits = Duration::try_from(now.duration_since(since)).unwrap_or_default();
            if waits < patience || matches!(host.activity, Activity::Waiting | Activity::Finished) {
                continue;
            }
            let doing = board::doing(host, now, &self.page);
            let heard = self.latest.get(name).map(board::heard).filter(|heard| !heard.is_empty());
            let heard = heard.map(|heard| format!(": {heard}")).unwrap_or_default();
            lines.push((name.clone(), format!("{} {name}: still {doing}{heard}", self.page.clock(now))));
        }
        for (name, text) in lines {
            self.told.insert(name, (now, STILL));
            self.write(&text);
        }
    }

    fn write(&mut self, text: &str) {
        let Show::Lines(to) = &mut self.show else { return };
        let written = writeln!(to, "{text}").and_then(|()| to.flush());
        if written.is_err() {
            // Nobody reads any more. The run goes on; its ledger has everything.
            self.show = Show::Nothing;
        }
    }
}

/// Feeds a display until the run ends or its senders are gone. Blocks: it belongs on a thread of its own.
pub fn follow(mut live: Live, feed: &Feeding, now: impl Fn() -> Timestamp) -> Live {
    let frame = if matches!(live.show, Show::Terminal { .. }) { FRAME } else { Duration::from_secs(1) };
    let mut drawn = now();
    loop {
        // The past may have ended as well, and was taken up again.
        let mut ends = false;
        match feed.next(frame) {
            Ok(item) => {
                ends = matches!(&item, Feed::Event(event) if matches!(event.what, Happening::RunFinished { .. }));
                live.take(item);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // A flood of output must not keep the clock from moving, nor be drawn line by line.
        let at = now();
        if at.duration_since(drawn).unsigned_abs() >= frame {
            live.tick(at);
            drawn = at;
        }
        if ends {
            break;
        }
    }
    live.close();
    live
}
