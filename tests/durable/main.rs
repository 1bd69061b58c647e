//! The host-side protocol under faults, on real shells. `docs/durability.md` says what it promises.
//!
//! A name that begins with `r11_` or `s9_` claims that row of the table of faults.

mod boots;
mod closing;
mod commands;
mod crashes;
mod deadman;
mod disks;
mod endings;
mod figures;
mod host;
mod leases;
mod links;
mod outside;
mod places;
mod play;
mod restarts;
mod rounds;
mod segments;
