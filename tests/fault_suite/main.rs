//! The fault suite: the real binary over real hosts, and what may go wrong in between.
//!
//! Subjects are steps that may not run twice: each appends a line when it begins and another when it ends. Whatever
//! is killed, cut, frozen or filled, after `longshore resume` each line is there exactly once, or the host waits
//! for a person. `docs/faults.md` says which test stands for which fault; `tests/faults` runs the long form.

#![expect(
    clippy::unnecessary_debug_formatting,
    clippy::match_same_arms,
    clippy::if_not_else,
    reason = "a table of faults reads best with one arm each, and paths are quoted by Debug"
)]

mod controller;
mod disks;
mod events;
mod fault;
mod field;
mod figures;
mod judge;
mod named;
mod proxy;
mod recover;
mod rollouts;
mod rounds;
mod scenes;
#[path = "../ssh/sshd.rs"]
#[expect(dead_code, reason = "the suite uses a part of what the tests of the transport need")]
mod sshd;
mod tally;
mod victims;
