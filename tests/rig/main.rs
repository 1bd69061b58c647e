//! Fovea's runbook on real parts: hosts with their own sshd and Docker Engine, a registry, `PostgreSQL`, Redis.
//!
//! The hosts are those of `tests/rig/up`, which needs root and takes a minute or two; `tests/run` does it. Where no rig
//! is up, each test says `SKIPPED` on standard error and passes. The tests take turns: there is one rig.

mod backups;
mod bad_releases;
#[path = "../fleet/command.rs"]
#[allow(dead_code, reason = "made for the fleets, which use all of it")]
mod command;
mod controller;
mod environment;
mod flavours;
mod foglet;
mod old_compose;
mod rig;
mod svrunner;
mod tessallite;
mod upgrade;
