//! TOML to documents, with positions and diagnostics. Everything a person wrote is judged here.
//!
//! Documents are plain data. A [`Source`] keeps the text and knows where each value stands, so that
//! any later check can complain about a path of keys and point at the line. A [`Project`] is all the
//! documents of a folder together; the checks that need more than one document are in `lint`.

mod builtin;
mod changelog;
mod diagnostic;
pub mod documents;
pub mod init;
mod lint;
mod literal;
mod masking;
mod project;
mod read;
mod resolve;
pub mod schema;
mod select;
mod source;
pub mod suggest;
pub mod template;
mod walk;

pub use builtin::{builtin_profiles, facts as builtin_facts};
pub use changelog::{Changelog, Entry as ChangelogEntry};
pub use diagnostic::{Diagnostic, Place, Severity};
pub use project::{Project, RoleFolder};
pub use resolve::{ResolvedHost, ResolvedJump, Variables};
pub use select::{SelectError, matches_glob, unfold};
pub use source::{KeyPath, Source};
