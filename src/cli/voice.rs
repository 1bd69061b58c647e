//! Speaks to the person while a run goes on, without tearing up the lines that change.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use super::screen::Screen;
use crate::report::{Feed, Feeder};

/// Longest wait for the display to make room for a question. It looks many times a second.
const ROOM_WITHIN: Duration = Duration::from_secs(1);

/// Tells and asks: through the live display while there is one, else straight on standard error.
#[derive(Clone)]
pub(crate) struct Voice {
    screen: Screen,
    live: Arc<Mutex<Option<Feeder>>>,
}

impl Voice {
    pub(crate) fn new(screen: Screen) -> Self {
        Self { screen, live: Arc::new(Mutex::new(None)) }
    }

    pub(crate) fn can_ask(&self) -> bool {
        self.screen.can_ask
    }

    /// From now on the display that `feed` leads to has the terminal; `None`: nobody has.
    pub(crate) fn through(&self, feed: Option<Feeder>) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = feed.filter(|_| self.screen.live);
    }

    pub(crate) fn tell(&self, text: &str) {
        let told = self.live().is_some_and(|live| live.tell(Feed::Note(text.to_owned())));
        if !told {
            self.screen.tell(text);
        }
    }

    /// Takes the changing lines off the terminal for as long as the returned value lives. Blocks shortly.
    pub(crate) fn room(&self) -> Room {
        let live = self.live();
        if let Some(live) = &live {
            let (made, room) = mpsc::sync_channel(1);
            if live.tell(Feed::Hold(made)) {
                // A display that does not answer in time is no reason not to ask.
                let _ = room.recv_timeout(ROOM_WITHIN);
            }
        }
        Room(live)
    }

    fn live(&self) -> Option<Feeder> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Room for a question on the terminal.
pub(crate) struct Room(Option<Feeder>);

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(live) = &self.0 {
            live.tell(Feed::GoOn);
        }
    }
}
