//! The runbooks of Foglet, Tessallite and `SVRunner`, on real parts, and on strict stand-ins where the real thing cannot be had.

#[path = "../fleet/command.rs"]
#[allow(dead_code, reason = "made for the fleets, which use all of it")]
mod command;
#[path = "../fleet/fleet.rs"]
#[allow(dead_code, reason = "made for the fleets, which use all of it")]
mod fleet;
mod google;
mod mixed;
mod new_platform;
#[path = "../ssh/people.rs"]
#[allow(dead_code, reason = "made for the transport's tests, which use all of it")]
mod people;
#[path = "../ssh/sshd.rs"]
#[allow(dead_code, reason = "made for the transport's tests, which use all of it")]
mod sshd;

mod compose;
mod control_group;
mod edge;
mod fly;
mod foglet;
mod foglet_back;
mod notices;
mod postgres;
mod svrunner;
mod svrunner_fly;
mod svrunner_lab;
mod svrunner_system;
mod tessallite;
