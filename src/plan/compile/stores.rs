//! What data each host keeps, and which copies of it there must be.

use indexmap::IndexMap;

use super::{Compiler, Order, host::Play, journey::Journey, steps::holds, target};
use crate::{
    config::{
        Diagnostic, Project,
        documents::{Loss, Playbook, StepDoc},
    },
    model::HostName,
    plan::HostPlan,
    steps::{Action, CopyCheck},
};

/// A host with the data that it keeps.
#[derive(Debug, Clone)]
pub struct Keeper {
    /// How the host is reached; it has no steps.
    pub host: HostPlan,
    pub stores: Vec<Store>,
}

/// A piece of a host's data.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    pub name: String,
    pub loss: Loss,
    /// Where its copies lie, and how old the newest may be. `None`: none are made.
    pub copy: Option<CopyCheck>,
    pub point_in_time: bool,
}

/// Resolves what data the role's hosts keep.
pub fn stores(
    project: &Project,
    playbook: &Playbook,
    order: &Order,
) -> Result<IndexMap<HostName, Keeper>, Vec<Diagnostic>> {
    let mut compiler = Compiler::new(project, order);
    let hosts = compiler.hosts(playbook).unwrap_or_default();
    let folder = compiler.role(playbook);
    let play = Play { playbook, folder, wanted: None };
    let mut keepers = IndexMap::new();
    for name in hosts {
        let host = project.resolve_host(&name);
        let scope = compiler.scope(&host, play, &Journey::default());
        let (docs, base) = folder.map_or((&[][..], &order.base), |folder| (&folder.role.data[..], &folder.dir));
        let mut stores = Vec::new();
        for doc in docs.iter().filter(|doc| doc.when.as_ref().is_none_or(|when| holds(&scope.vars.scope, when))) {
            let step = doc.to_check().map(|check| StepDoc { check: Some(check), ..StepDoc::default() });
            let step = step.and_then(|step| compiler.action(&scope, &step, base));
            let copy = step.and_then(|step| match step.action {
                Action::Check(check) => check.copy,
                _ => None,
            });
            stores.push(Store { name: doc.name.clone(), loss: doc.loss, copy, point_in_time: doc.point_in_time });
        }
        let mut of = HostPlan::bare(target::target(project, &host), host.profile.to_string());
        of.secrets = scope.vars.secrets;
        keepers.insert(name, Keeper { host: of, stores });
    }
    if compiler.problems.is_empty() { Ok(keepers) } else { Err(compiler.problems) }
}
