//! The restarts check: a count that may not grow while a host is watched.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Probed, Problem, Reach, Template, command::CommandLine, shell};
use crate::{
    model::clean_line,
    transport::{Exec, Status},
};

/// How often the product was restarted, as a command on the host prints it: `docker inspect -f '{{raw ...}}'`,
/// `systemctl show -p NRestarts --value app`.
///
/// It passes wherever the number can be read. In a soak the number of the first look is kept: a host on which it
/// grows has failed, although each look at it was green.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RestartsCheck {
    /// The command: text for `sh`, or a list of words. Prints one number, and changes nothing.
    pub run: CommandLine,
}

impl RestartsCheck {
    pub(super) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        self.run.templates("run", visit);
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        self.run.problem("run").into_iter().collect()
    }

    pub(super) fn summary(&self) -> String {
        self.run.shown()
    }

    pub(super) async fn probe(&self, reach: &Reach<'_>, timeout: Duration) -> Probed {
        let mut exec = Exec::script(shell::run_text(&self.run.to_shell(), &[]));
        exec.timeout = Some(timeout);
        exec.run_as.clone_from(&reach.run_as);
        exec.secrets = shell::secrets_in(&exec.program, reach.redactor);
        let ended = match reach.session.run(exec, &mut ()).await {
            Ok(ended) => ended,
            Err(error) => return Probed::from_transport(&error),
        };
        if ended.status != Status::Exited(0) {
            let said = clean_line(&ended.err.bytes(), 100);
            return Probed::error(format!("the count of restarts cannot be read: {} {said}", ended.status));
        }
        let said = clean_line(&ended.out.bytes(), 100);
        match said.trim().parse::<u64>() {
            Ok(count) => Probed { count: Some(count), ..Probed::pass(format!("{count} restarts")) },
            Err(_) => Probed::error(format!("the count of restarts is no number: `{said}`")),
        }
    }
}
