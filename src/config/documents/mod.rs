//! The documents as they are written: one type for each table, the source of the JSON Schemas.

mod inventory;
mod playbook;
mod releases;
mod role;
mod rollout;
mod step;
mod window;

pub use inventory::{BecomeDoc, Group, HostEntry, Inventory, Profile, Settings, Value};
pub use playbook::{AfterData, BeforeData, OnFailure, Playbook, Scope};
pub use releases::{Release, ReleaseKind, Releases};
pub use role::{DataStore, Loss, Role, RoleCheck};
pub use rollout::{Amount, Baseline, Budget, Canary, CanaryHosts, Promote, RolloutDoc, Soak, WaveBudget, WaveHosts};
pub use step::{OneOrMany, Requirement, Retry, StepDoc};
pub use window::{Day, OutsideWindow, Window, WindowKind};
