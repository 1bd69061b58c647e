//! The SSH transport against OpenSSH's own sshd, on loopback.
//!
//! Where sshd or root is missing, a case says `SKIPPED` on standard error and passes.

mod hostile;
mod logins;
mod people;
mod programs;
mod sshd;
mod sudo;
mod trouble;
mod trust;
mod ways;
