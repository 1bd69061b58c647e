//! What is seen while a run goes on, without a terminal and with one.

use std::{
    io,
    sync::{Arc, Mutex},
};

use indicatif::TermLike;
use insta::assert_snapshot;

use super::*;
use crate::event::story::{Story, host};

/// A writer that a test can read.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("a lock").clone()).expect("text")
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe that nobody reads any more.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A terminal that remembers what was written to it.
#[derive(Debug, Clone, Default)]
struct Screen(Arc<Mutex<String>>);

impl TermLike for Screen {
    fn width(&self) -> u16 {
        80
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.write_str(&format!("{s}\n"))
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.0.lock().expect("a lock").push_str(s);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

fn at(text: &str) -> Timestamp {
    format!("2026-03-01T{text}Z").parse().expect("a time")
}

/// A run with three hosts at work: one in a step, one being taken back, one connecting.
fn midway() -> Story {
    let mut story =
        Story::new("apply", "Upgrade fovea to 0.4.0", &[("canary", &["a"]), ("rest", &["web-1", "web-2", "b"])]);
    story.say("", Happening::WaveStarted { wave: 0, name: "canary".to_owned() });
    story.good("a", 0);
    story.say("", Happening::WaveStarted { wave: 1, name: "rest".to_owned() });
    story.begin("web-1", 1).start("web-1", 0);
    story.undone("web-2", 1);
    // Cut off in the middle of the first undo.
    let undo = story.events.iter().position(|event| event.what.kind() == "undo-started").expect("an undo");
    story.events.truncate(undo + 1);
    story.say("b", Happening::HostStarted { wave: 1 });
    let sequence = story.events.len() as u64;
    story.events.last_mut().expect("an event").sequence = sequence;
    story
}

fn fed(mut live: Live, story: &Story) -> Live {
    for event in &story.events {
        live.take(Feed::Event(Box::new(event.clone())));
    }
    assert_eq!(live.fault(), None);
    live
}

#[test]
fn without_a_terminal_each_thing_worth_telling_is_a_line_with_its_time() {
    let paper = Paper::default();
    let mut story = Story::new("apply", "Upgrade", &[("all", &["web-5", "eu-1"])]);
    story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
    story.undone("web-5", 0);
    story.say("", Happening::Interrupted { detached: false, by: None, reason: None });
    story.finish("eu-1", crate::model::HostOutcome::NotStarted, None, None, None);
    story.say("", Happening::RunFinished { exit: crate::model::ExitCode::Interrupted });
    let live = fed(Live::lines(Box::new(paper.clone()), Page::plain(80)), &story);
    assert_snapshot!(paper.text(), @r"
    09:00:00 apply Upgrade: 2 hosts
    09:00:08 web-5: step 1/4 Fetch images: done in 1s
    09:00:10 web-5: step 2/4 Back up Postgres: done in 1s
    09:00:12 web-5: step 3/4 Pin the version: done in 1s
    09:00:14 web-5: step 4/4 Switch: failed after 1s: `docker compose up -d` ended with status 1
    09:00:15 web-5: is taken back: step `Switch` failed
    09:00:17 web-5: took back Switch in 1s
    09:00:19 web-5: took back Pin the version in 1s
    09:00:20 web-5: check (after taking back) API answers: pass: status 200 in 9 ms
    09:00:21 web-5: check (after taking back) Disk has room: pass: 40 GiB free
    09:00:22 web-5: undone: step `Switch` failed (took 12s)
    09:00:23 interrupted: hosts not begun were left alone
    09:00:24 eu-1: not started (took 12s)
    ");
    assert_eq!(*live.state(), story.fold());
}

#[test]
fn a_long_step_is_told_again_with_what_was_heard_last() {
    let paper = Paper::default();
    let mut live = fed(Live::lines(Box::new(paper.clone()), Page::plain(80)), &midway());
    let begun = paper.text().lines().count();
    let said = |text: &str| Feed::Progress { host: host("web-1"), what: Progress::Line(text.to_owned()) };
    live.take(said("layer 3 of 9\u{1b}[2K"));
    live.take(said("  "));
    live.tick(at("09:00:30"));
    assert_eq!(paper.text().lines().count(), begun, "too early to say that it lasts");
    for now in ["09:00:50", "09:01:20", "09:01:50", "09:02:30", "09:03:00"] {
        live.tick(at(now));
    }
    let told = paper.text().lines().skip(begun).filter(|line| line.contains("web-1")).collect::<Vec<_>>().join("\n");
    assert_snapshot!(told, @r"
    09:00:50 web-1: still step 1/4 Fetch images 29s: layer 3 of 9
    09:01:50 web-1: still step 1/4 Fetch images 1m 29s: layer 3 of 9
    09:03:00 web-1: still step 1/4 Fetch images 2m 39s: layer 3 of 9
    ");
}

#[test]
fn a_terminal_has_a_line_for_each_active_host_and_no_more_than_fit() {
    let story = midway();
    let state = story.fold();
    let latest = HashMap::from([
        (host("web-1"), Progress::Bytes { done: 300 << 20, of: 1 << 30 }),
        (host("web-2"), Progress::Line(format!("Stopping{}", " and stopping".repeat(20)))),
    ]);
    let lines = |height, width| board::lines(&state, &latest, at("09:01:12"), height, &Page::plain(width));
    assert_snapshot!(lines(24, 80).join("\n"), @r"
    1/4 hosts; wave 2 of 2, rest: 0/3; 1m 12s
      web-1  step 1/4 Fetch images 51s  29% of 1 GiB
      web-2  taking back 4/4 Switch 36s  Stopping and stopping and stopping and st…
      b      connecting 29s
    ");
    assert_snapshot!(lines(4, 80).join("\n"), @r"
    1/4 hosts; wave 2 of 2, rest: 0/3; 1m 12s
      web-1  step 1/4 Fetch images 51s  29% of 1 GiB
      … and 2 more at work
    ");
    for width in 20..100 {
        assert!(lines(24, width).iter().all(|line| line.chars().count() < width), "{width}: {:?}", lines(24, width));
    }
}

#[test]
fn the_terminal_is_drawn_and_left_clean() {
    let screen = Screen::default();
    let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
    let mut live = fed(Live::terminal(target, 24, Page::plain(80)), &midway());
    live.tick(at("09:01:12"));
    live.close();
    let text = screen.0.lock().expect("a lock").clone();
    for part in ["canary: a", "a: done", "web-1  step 1/4 Fetch images", "taking back 4/4 Switch"] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn a_reader_that_went_away_does_not_stop_the_run() {
    let live = fed(Live::lines(Box::new(Closed), Page::plain(80)), &Story::upgrade());
    assert_eq!(*live.state(), Story::upgrade().fold());
}

#[test]
fn following_ends_with_the_run_or_with_its_last_sender() {
    for story in [Story::upgrade(), midway()] {
        let (feeder, receiver) = feed();
        for event in &story.events {
            feeder.event(event.clone());
        }
        let ended = story.fold().ended.is_some();
        // Kept alive, the sender proves that the end of the run is enough.
        let kept = ended.then_some(feeder);
        let live = follow(Live::quiet(Page::plain(80)), &receiver, || at("09:00:00"));
        assert_eq!(*live.state(), story.fold());
        drop(kept);
    }
}

#[test]
fn an_event_that_cannot_follow_is_kept_as_the_fault() {
    let mut live = Live::quiet(Page::plain(80));
    let story = Story::upgrade();
    live.take(Feed::Event(Box::new(story.events[3].clone())));
    live.take(Feed::Event(Box::new(story.events[5].clone())));
    assert_eq!(live.fault().map(|fault| fault.sequence), Some(4));
}

#[test]
fn a_run_that_is_taken_up_again_is_told_from_there_on() {
    let paper = Paper::default();
    let mut story = Story::new("apply", "Upgrade", &[("all", &["web-1", "web-2"])]);
    story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
    let past = story.events.clone();
    story.good("web-1", 0);
    let mut live = Live::lines(Box::new(paper.clone()), Page::plain(80));
    live.take(Feed::Past(past.clone()));
    assert_eq!(paper.text(), "");
    for event in &story.events[past.len()..] {
        live.take(Feed::Event(Box::new(event.clone())));
    }
    assert_eq!(live.fault(), None);
    assert!(paper.text().contains("web-1: done"), "{}", paper.text());
}

#[test]
fn while_a_question_stands_nothing_is_drawn_and_nothing_is_lost() {
    let screen = Screen::default();
    let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
    let mut live = fed(Live::terminal(target, 24, Page::plain(80)), &midway());
    live.tick(at("09:01:12"));
    let (made, room) = std::sync::mpsc::sync_channel(1);
    live.take(Feed::Hold(made));
    assert_eq!(room.try_recv(), Ok(()));
    let before = screen.0.lock().expect("a lock").clone();
    live.take(Feed::Note("Stopping".to_owned()));
    live.tick(at("09:01:13"));
    assert_eq!(*screen.0.lock().expect("a lock"), before);
    live.take(Feed::GoOn);
    assert!(screen.0.lock().expect("a lock")[before.len()..].contains("Stopping"));
}

#[test]
fn a_title_that_begins_with_its_command_says_it_once() {
    assert_eq!(titled("rollback", None, "Rollback of run 0002: Upgrade"), "Rollback of run 0002: Upgrade");
    assert_eq!(titled("apply", None, "Upgrade"), "apply Upgrade");
    assert_eq!(titled("look", Some("apply"), "Upgrade"), "apply --check Upgrade");
}
