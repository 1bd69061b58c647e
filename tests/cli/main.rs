//! The command line as a person meets it: the real binary, its screens and its exit codes.
//!
//! Fleets are labs in this process; what differs from run to run (times, ports, folders) is masked.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod demo;
mod documents;
mod exits;
mod help;
mod lab;
mod limits;
mod output;
mod program;
