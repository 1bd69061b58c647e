//! TOML to documents, with positions and diagnostics. Everything a person wrote is judged here.
//!
//! Documents are plain data. A [`Source`] keeps the text and knows where each value stands, so that
//! any later check can complain about a path of keys and point at the line.

mod diagnostic;
pub mod documents;

pub use diagnostic::{Diagnostic, Place, Severity};
