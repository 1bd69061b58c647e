//! The real `longshore` against whole fleets of OpenSSH's own sshd, on loopback.
//!
//! What the product promises from the command line is shown here: tables, exit codes, files on the hosts'
//! disks, and what is not there afterwards. Where sshd or root is missing, a case says `SKIPPED` on
//! standard error and passes.

mod accounts;
mod approvals;
mod backups;
mod command;
mod confirm;
mod doubt;
mod exec;
mod fleet;
mod hostile;
mod interrupt;
mod paths;
#[path = "../ssh/people.rs"]
#[allow(dead_code, reason = "made for the transport's tests, which use all of it")]
mod people;
mod plans;
mod prefetch;
mod promote;
mod restart;
mod rollback;
mod rollout;
#[path = "../ssh/sshd.rs"]
#[allow(dead_code, reason = "made for the transport's tests, which use all of it")]
mod sshd;
mod steps;
mod sweep;
mod systemd;
mod trust;
mod upgrade;
mod windows;
