//! Work that a step starts outside of its own processes, and how it is found and stopped.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Problem, Template, shell};

/// Work that goes on outside of the step's processes: a container, a database session, a job of a cloud.
///
/// The step names it after itself, by `$LONGSHORE_WORK`: a label of at most 63 letters, digits, `-` and `.`,
/// the same for one attempt of one step and no other. It is good for a container's label, the name of a unit, `PGAPPNAME`.
/// Both scripts run where the step runs, with the same `$LONGSHORE_WORK`, without secrets, for at most 10 s and 30 s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Outside {
    /// Asks in `sh` whether any of it lives: exit 0 yes, 1 no. Any other status means that it cannot tell, and
    /// counts as yes. Asked when the step has ended, and whenever somebody asks for its state.
    pub alive: String,
    /// Stops it, in `sh`, at the time limit and when the step is cancelled. May run more than once.
    pub stop: String,
}

impl Outside {
    pub(super) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Shell, "outside.alive", &mut self.alive);
        visit(Template::Shell, "outside.stop", &mut self.stop);
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, text) in [("outside.alive", &self.alive), ("outside.stop", &self.stop)] {
            if text.trim().is_empty() {
                problems.push(Problem::new(key, "the script is empty"));
            } else if !shell::secret_variables(text).is_empty() {
                problems.push(
                    Problem::new(key, "no secret is at hand when this runs")
                        .hint("let it read what it needs from a file on the host"),
                );
            }
        }
        if !self.alive.trim().is_empty() && !self.alive.contains("LONGSHORE_WORK") {
            problems.push(
                Problem::new(
                    "outside.alive",
                    "it does not look for `$LONGSHORE_WORK`, so it would find the work of others",
                )
                .hint(
                    "name the work after it, as in `docker run --label longshore=$LONGSHORE_WORK`, and look for that",
                ),
            );
        }
        problems
    }

    /// The scripts for the host, in the step's folder and with its variables.
    pub(super) fn in_place(&self, place: &shell::Place<'_>) -> Self {
        let alive = format!("{}{}", place.enter_or(2), self.alive);
        Self { alive, stop: format!("{}{}", place.enter(), self.stop) }
    }
}

#[cfg(test)]
mod tests {
    use crate::steps::{Command, StepKind as _, Work};

    fn command(outside: &str) -> Command {
        toml::from_str(&format!("run = 'docker run --rm --label longshore=$LONGSHORE_WORK app migrate'\n{outside}"))
            .expect("a command")
    }

    #[test]
    fn work_outside_must_be_looked_for_by_its_label() {
        let good = "outside = { alive = 'ids=$(docker ps -q --filter label=longshore=$LONGSHORE_WORK) || exit 2; [ -n \"$ids\" ]', stop = 'docker stop x' }";
        assert_eq!(command(good).problems(), []);
        let keys = |text: &str| command(text).problems().into_iter().map(|problem| problem.key).collect::<Vec<_>>();
        assert_eq!(keys("outside = { alive = 'docker ps -q', stop = '' }"), ["outside.stop", "outside.alive"]);
        assert_eq!(
            keys("outside = { alive = 'psql $LONGSHORE_SECRET_PASSWORD $LONGSHORE_WORK', stop = 'true' }"),
            ["outside.alive"]
        );
    }

    #[test]
    fn a_folder_that_is_gone_says_nothing_about_what_lives() {
        let command = command("dir = '/srv/app'\noutside = { alive = 'test $LONGSHORE_WORK', stop = 'true' }");
        let Work::Host(program) = command.work() else { unreachable!("a command runs on the host") };
        let outside = program.outside.expect("it has some");
        assert_eq!(outside.alive, "CDPATH= cd -- /srv/app || exit 2\ntest $LONGSHORE_WORK");
        assert_eq!(outside.stop, "CDPATH= cd -- /srv/app || exit 1\ntrue");
    }
}
