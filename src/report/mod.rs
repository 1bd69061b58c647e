//! Everything that a person or a program sees, folded from the plan and the events.
//!
//! Reports are pure: they are handed a state, a plan or events, and a [`Page`] to fit on, and give
//! text back. Only [`Live`] and [`EventWriter`] write, to what they are handed.

mod backups;
mod behind;
mod checklist;
pub mod diagnostics;
mod differences;
mod exec;
mod facts;
mod grid;
mod history;
mod hosts;
mod json;
mod live;
mod page;
mod paths;
mod plan;
mod risk;
mod since;
mod sweep;
mod table;
#[cfg(test)]
mod tests;
mod trouble;
pub mod words;

pub use backups::{CopyRow, CopyState, DRILL_EVERY, DataRow, DrillRow, RebuildRow, backups, restore_points};
pub use checklist::{checklist, done_checklist};
pub use differences::differences;
pub use exec::exec;
pub use facts::facts;
pub use history::{RunRow, heading, history, people, show};
pub use hosts::{HostRow, hosts};
pub use json::EventWriter;
pub use live::{Feed, Feeder, Feeding, Live, Progress, feed, follow};
pub use page::Page;
pub use paths::release_notes;
pub use plan::{Detail, plan};
pub use since::since;
pub use sweep::sweep;
pub use table::{results, standing_of};
