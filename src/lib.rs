//! Longshore upgrades fleets of self-hosted installs over plain SSH, with no agent on the hosts.
//!
//! An inventory and a playbook ([`config`]) are compiled into a [`plan`]: immutable, complete, plain
//! data. The [`engine`] runs the plan wave by wave over a [`transport`] and decides nothing the plan
//! has not decided; [`steps`] are what it can do on a host, [`durable`] is how a step survives a lost
//! link or a dead controller. What happens is told as typed [`event`]s, and an event is in the
//! [`ledger`] before the next thing is done. Everything a person sees is a [`report`] folded from those
//! events. [`lab`] is a fleet of embedded SSH servers to try all of it on; [`cli`] wires the parts.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::exit, clippy::print_stdout, clippy::print_stderr))]

pub mod cli;
pub mod config;
pub mod durable;
pub mod engine;
pub mod event;
pub mod lab;
pub mod ledger;
pub mod model;
pub mod plan;
pub mod report;
pub mod steps;
pub mod transport;
