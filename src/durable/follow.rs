//! Reading how a segment goes on: lines of the protocol, and the steps' output between them.

use std::{collections::VecDeque, time::Duration};

use super::{
    Attempt, DurableError, Ending, Segment, SegmentEnd, StepEnd, StepNews,
    status::{refusal, state, took},
    wire::Answer,
};
use crate::{
    durable::AttemptState,
    model::Receipt,
    transport::{Capture, KEEP, Output, Stream},
};

pub(super) const FOLLOW: &str = include_str!("follow.sh");

/// Longest line that can be a receipt; longer ones are output only.
const LINE: usize = 64 * 1024;

/// Where the telling of a segment stands: kept over a lost link, so that nothing is told twice.
///
/// A controller that comes back after its own death starts with a new one and is told everything again.
pub struct Following {
    segment: String,
    tracks: Vec<Track>,
}

impl Following {
    /// Follows a segment that this process may not have started. Limits are those of the plan.
    pub fn new(segment: impl Into<String>, attempts: impl IntoIterator<Item = (Attempt, Duration, bool)>) -> Self {
        let tracks = attempts
            .into_iter()
            .map(|(attempt, limit, leaves_running)| Track::new(attempt, limit, leaves_running))
            .collect();
        Self { segment: segment.into(), tracks }
    }

    pub fn of(segment: &Segment) -> Self {
        Self::new(
            segment.id.clone(),
            segment.steps.iter().map(|step| (step.attempt.clone(), step.limit, step.leaves_running)),
        )
    }

    pub fn segment(&self) -> &str {
        &self.segment
    }

    /// The attempts that have not ended yet, as far as was told.
    pub fn open(&self) -> impl Iterator<Item = &Attempt> {
        self.tracks.iter().filter(|track| track.ending.is_none()).map(|track| &track.attempt)
    }

    pub(super) fn len(&self) -> usize {
        self.tracks.len()
    }

    /// Makes sure that it is this segment which is followed.
    pub(super) fn expect(&mut self, segment: &Segment) {
        let same = self.segment == segment.id
            && self.tracks.iter().map(|track| &track.attempt).eq(segment.steps.iter().map(|step| &step.attempt));
        if !same {
            *self = Self::of(segment);
        }
    }

    pub(super) fn limits(&self) -> Duration {
        self.tracks.iter().filter(|track| track.ending.is_none()).map(|track| track.limit).sum()
    }

    /// The attempts not ended, as `follow.sh` wants them.
    pub(super) fn offsets(&self) -> String {
        let words: Vec<String> = self
            .tracks
            .iter()
            .filter(|track| track.ending.is_none())
            .map(|track| {
                let leaves = if track.leaves_running { "yes" } else { "no" };
                format!("{}:{}:{}:{leaves}", track.attempt, track.out.first, track.err.first)
            })
            .collect();
        words.join(" ")
    }
}

/// What was told of one attempt.
struct Track {
    attempt: Attempt,
    limit: Duration,
    leaves_running: bool,
    started: bool,
    out: Told,
    err: Told,
    receipt: Receipt,
    /// The beginning of the current line of standard output; `None` while a line is too long.
    line: Option<Vec<u8>>,
    ending: Option<Ending>,
}

/// What was told of one stream.
struct Told {
    /// Bytes of the spool's first part.
    first: u64,
    /// Bytes of the spool's tail, after a gap.
    tail: u64,
    capture: Capture,
}

impl Told {
    fn new() -> Self {
        Self { first: 0, tail: 0, capture: Capture::new(KEEP) }
    }

    fn take(&mut self) -> Capture {
        std::mem::replace(&mut self.capture, Capture::new(0))
    }
}

impl Track {
    fn new(attempt: Attempt, limit: Duration, leaves_running: bool) -> Self {
        Self {
            attempt,
            limit,
            leaves_running,
            started: false,
            out: Told::new(),
            err: Told::new(),
            receipt: Receipt::default(),
            line: Some(Vec::new()),
            ending: None,
        }
    }

    fn told(&mut self, stream: Stream) -> &mut Told {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    /// Collects receipts from whole lines of standard output.
    fn scan(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, rest) = bytes.split_at(end);
            self.lengthen(head);
            if let Some(line) = self.line.replace(Vec::new()) {
                self.read_line(&line);
            }
            bytes = &rest[1..];
        }
        self.lengthen(bytes);
    }

    fn lengthen(&mut self, bytes: &[u8]) {
        if let Some(line) = &mut self.line {
            if line.len() + bytes.len() > LINE {
                self.line = None;
            } else {
                line.extend_from_slice(bytes);
            }
        }
    }

    fn read_line(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let Some(fact) = text.trim_end_matches('\r').strip_prefix("longshore-receipt ") else { return };
        let (key, value) = fact.split_once(' ').unwrap_or((fact, ""));
        if !key.is_empty() {
            self.receipt.0.insert(key.to_owned(), value.to_owned());
        }
    }
}

/// What is being read now.
enum Mode {
    /// Lines of the protocol; anything else is noise.
    Lines,
    /// A step's bytes, until the line that says how many they were.
    Bytes { track: usize, stream: Stream, tail: bool, from: u64, taken: u64 },
    /// The bytes of a step that nobody asked about.
    Skip,
}

/// Takes the output of `follow.sh` apart and tells it on.
pub(super) struct Reader<'a> {
    question: &'static str,
    /// `\n` and the nonce: what ends a step's bytes.
    border: Vec<u8>,
    nonce: String,
    following: &'a mut Following,
    on: &'a mut (dyn FnMut(&Attempt, StepNews<'_>) + Send),
    buffer: VecDeque<u8>,
    mode: Mode,
    fence: Option<(String, u64)>,
    /// Attempts that have not started, with the host's word for why: told at the end.
    refused: Vec<(usize, String)>,
    failure: Option<DurableError>,
    complete: bool,
}

impl<'a> Reader<'a> {
    pub fn new(
        question: &'static str,
        nonce: String,
        following: &'a mut Following,
        on: &'a mut (dyn FnMut(&Attempt, StepNews<'_>) + Send),
    ) -> Self {
        Self {
            question,
            border: format!("\n{nonce} > ").into_bytes(),
            nonce,
            following,
            on,
            buffer: VecDeque::new(),
            mode: Mode::Lines,
            fence: None,
            refused: Vec::new(),
            failure: None,
            complete: false,
        }
    }

    /// Ends the telling: everything must have been said by now.
    pub fn finish(mut self, garbled: impl FnOnce() -> DurableError) -> Result<SegmentEnd, DurableError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        // Of every attempt something must have been said, and what started cannot have been refused: were either
        // believed, a step that ran could be called "not started" and be sent again.
        let refused = |index| self.refused.iter().any(|(track, _)| *track == index);
        let is_told = |(index, track): (usize, &Track)| track.ending.is_some() || refused(index) && !track.started;
        if !self.complete || !self.following.tracks.iter().enumerate().all(is_told) {
            return Err(garbled());
        }
        for (track, word) in std::mem::take(&mut self.refused) {
            let refusal = refusal(&word, self.fence.clone());
            self.end(track, Ending::NotStarted { refusal }, None);
        }
        let endings = self
            .following
            .tracks
            .iter()
            .filter_map(|track| Some((track.attempt.clone(), track.ending.clone()?)))
            .collect();
        Ok(SegmentEnd { endings })
    }

    /// Works off what the buffer allows; returns whether there may be more.
    fn advance(&mut self) -> bool {
        match self.mode {
            Mode::Lines => self.advance_line(),
            Mode::Bytes { .. } | Mode::Skip => self.advance_bytes(),
        }
    }

    fn advance_line(&mut self) -> bool {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            // Noise without line breaks must not grow: no line of the protocol is that long.
            if self.buffer.len() > LINE {
                self.buffer.clear();
            }
            return false;
        };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        if let Some(answer) =
            std::str::from_utf8(&line).ok().and_then(|line| Answer::parse(line.trim_end(), &self.nonce))
        {
            self.absorb_answer(&answer);
        }
        true
    }

    fn advance_bytes(&mut self) -> bool {
        let bytes = self.buffer.make_contiguous();
        let found = find(bytes, &self.border);
        // What could be the beginning of the border waits for its rest; a line break is in it only once.
        let ready = found.unwrap_or_else(|| match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(at) if self.border.starts_with(&bytes[at..]) => at,
            _ => bytes.len(),
        });
        let chunk: Vec<u8> = self.buffer.drain(..ready).collect();
        self.tell(&chunk);
        if found.is_none() {
            return false;
        }
        // The line after the border is read as an answer: its first byte is the line break before it.
        let Some(end) = self.buffer.iter().skip(1).position(|byte| *byte == b'\n') else { return false };
        let line: Vec<u8> = self.buffer.drain(..=end + 1).collect();
        let said = String::from_utf8_lossy(&line);
        let to = said.trim().rsplit(' ').next().and_then(|word| word.parse::<u64>().ok());
        if let Mode::Bytes { from, taken, .. } = self.mode
            && to.is_some_and(|to| to != from + taken)
        {
            self.fail(DurableError::Host {
                question: self.question,
                reason: format!("it sent {taken} bytes of output from {from} and says it ended at {}", to.unwrap_or(0)),
            });
        }
        self.mode = Mode::Lines;
        true
    }

    /// Tells bytes of a step on, those that were told before left out.
    fn tell(&mut self, bytes: &[u8]) {
        let Mode::Bytes { track, stream, tail, from, taken } = &mut self.mode else { return };
        let begin = *from + *taken;
        *taken += bytes.len() as u64;
        let track = &mut self.following.tracks[*track];
        let told = track.told(*stream);
        let known = if *tail { told.tail } else { told.first };
        let repeated = usize::try_from(known.saturating_sub(begin)).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = &bytes[repeated..];
        if bytes.is_empty() {
            return;
        }
        let offset = told.first + told.tail;
        if *tail {
            told.tail += bytes.len() as u64;
        } else {
            told.first += bytes.len() as u64;
        }
        told.capture.push(bytes);
        if *stream == Stream::Out {
            track.scan(bytes);
        }
        (self.on)(&track.attempt, StepNews::Output { stream: *stream, offset, bytes });
    }

    fn absorb_answer(&mut self, answer: &Answer) {
        if let Some(failure) = answer.failure(self.question) {
            self.fail(failure);
            return;
        }
        match answer.verb.as_str() {
            "started" => {
                if let Some(index) = self.index(answer.word(0)) {
                    let track = &mut self.following.tracks[index];
                    if !std::mem::replace(&mut track.started, true) {
                        (self.on)(&track.attempt, StepNews::Started);
                    }
                }
            }
            "<" => self.mode = self.begin_bytes(answer),
            "ended" => {
                if let Some(index) = self.index(answer.word(0)) {
                    self.absorb_end(index, answer);
                }
            }
            "fence" => self.fence = Some((answer.word(0).to_owned(), answer.number(1).unwrap_or_default())),
            "end" => self.complete = true,
            _ => {}
        }
    }

    fn begin_bytes(&mut self, answer: &Answer) -> Mode {
        let (name, tail) = match answer.word(1).strip_suffix(".tail") {
            Some(name) => (name, true),
            None => (answer.word(1), false),
        };
        let stream = if name == "err" { Stream::Err } else { Stream::Out };
        let Some(track) = self.index(answer.word(0)) else { return Mode::Skip };
        if tail && self.following.tracks[track].told(stream).tail == 0 {
            // The line that the gap cut has no end.
            if stream == Stream::Out {
                self.following.tracks[track].line = None;
            }
            (self.on)(&self.following.tracks[track].attempt, StepNews::Gap { stream });
        }
        Mode::Bytes { track, stream, tail, from: answer.number(2).unwrap_or_default(), taken: 0 }
    }

    fn absorb_end(&mut self, index: usize, answer: &Answer) {
        if answer.word(1) == "none" {
            self.refused.push((index, answer.word(2).to_owned()));
            return;
        }
        match state(answer.word(1), answer.word(2)) {
            Some(AttemptState::Ended(ending)) => self.end(index, ending, took(answer.word(3), answer.word(4))),
            _ => self.fail(DurableError::Host {
                question: self.question,
                reason: format!("it said `{} {}` of {}", answer.word(1), answer.word(2), answer.word(0)),
            }),
        }
    }

    fn end(&mut self, index: usize, ending: Ending, took: Option<Duration>) {
        let track = &mut self.following.tracks[index];
        if track.ending.is_some() {
            return;
        }
        track.ending = Some(ending.clone());
        let end = StepEnd {
            ending,
            out: track.out.take().finish(),
            err: track.err.take().finish(),
            receipt: std::mem::take(&mut track.receipt),
            took,
        };
        (self.on)(&track.attempt, StepNews::Ended(end));
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.following.tracks.iter().position(|track| track.attempt.to_string() == name)
    }

    fn fail(&mut self, failure: DurableError) {
        self.failure.get_or_insert(failure);
    }
}

impl Output for Reader<'_> {
    fn absorb(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Out {
            self.buffer.extend(bytes);
            while self.advance() {}
        }
    }
}

fn find(bytes: &[u8], border: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == border[0]) {
        let at = from + at;
        if bytes[at..].starts_with(border) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}
