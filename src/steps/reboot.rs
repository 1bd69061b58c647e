//! Restarts the host.
//!
//! The kind only gives the order. That the host has restarted is told by its boot id alone, which is the
//! durable half's business: the program's own status is lost with the host, or says nothing.

use std::{fmt::Write as _, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HostProgram, Problem, StepKind, Template, Undoing, Work, command::CommandLine, shell::run_text};
use crate::model::{Effect, quote};

/// Restarts the host as it is usual there.
const USUAL: &str = "if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then systemctl reboot
elif command -v shutdown >/dev/null 2>&1; then shutdown -r now
else reboot; fi";

/// Restarts the host, and waits until it is back. `reboot = {}` restarts it in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Reboot {
    /// A condition in `sh`: the host is restarted only where it exits with 0. `test -e /run/reboot-required` on Debian and
    /// Ubuntu, `! needs-restarting -r` on Fedora and its kin. Always when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_if: Option<String>,
    /// The command that restarts the host: text for `sh`, or a list of words. It may return at once. `systemctl reboot`
    /// where systemd runs, else `shutdown -r now`, else `reboot`, when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandLine>,
}

impl Reboot {
    /// A restart that this very step gave the order for is not asked for again, whoever saw it.
    fn look(&self) -> String {
        let mut text = "if [ -s \"${LONGSHORE_STEP_DIR:-/nonexistent}/boot-id\" ]; then\n\
                        read -r before <\"$LONGSHORE_STEP_DIR/boot-id\"\n\
                        read -r now </proc/sys/kernel/random/boot_id\n\
                        [ \"$before\" = \"$now\" ] || exit 0\n\
                        fi\n"
            .to_owned();
        if let Some(condition) = &self.only_if {
            // A condition that cannot even be asked is no reason to leave the host as it is without a word.
            let _ = writeln!(
                text,
                "(eval {}) >/dev/null 2>&1 </dev/null\nstatus=$?\n\
                 case $status in 0) ;; 126 | 127) echo '`only-if` cannot be run here' >&2; exit $status ;; *) exit 0 ;; esac",
                quote(condition)
            );
        }
        let _ = writeln!(text, "printf '%s\\n' {}\nexit 10", quote(&format!("would {}", self.summary())));
        text
    }

    fn act(&self) -> String {
        let command = self.command.as_ref().map_or_else(|| USUAL.to_owned(), CommandLine::to_shell);
        // What was written so far is on the disk before anything takes the power away.
        format!(
            "read -r boot </proc/sys/kernel/random/boot_id || exit\n\
             printf '%s\\n' \"$boot\" >\"$LONGSHORE_STEP_DIR/boot-id\" || exit\n\
             sync\n\
             printf 'longshore-receipt boot-id-before %s\\n' \"$boot\"\n\
             PATH=$PATH:/usr/sbin:/sbin\n\
             (\n{})\n\
             status=$?\n\
             [ $status = 0 ] || case $(systemctl is-system-running 2>/dev/null) in\n\
             stopping) ;; # It is on its way down, and could not say so any more.\n\
             *) exit $status ;;\n\
             esac\n",
            run_text(&command, &[])
        )
    }
}

impl StepKind for Reboot {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        if let Some(condition) = &mut self.only_if {
            visit(Template::Shell, "only-if", condition);
        }
        if let Some(command) = &mut self.command {
            command.templates("command", visit);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = self.command.iter().filter_map(|command| command.problem("command")).collect();
        if self.only_if.as_ref().is_some_and(|condition| condition.trim().is_empty()) {
            problems.push(Problem::new("only-if", "the condition is empty"));
        }
        problems
    }

    fn summary(&self) -> String {
        match &self.only_if {
            Some(condition) => format!("restart the host if `{}`", CommandLine::Shell(condition.clone()).shown()),
            None => "restart the host".to_owned(),
        }
    }

    fn effect(&self) -> Effect {
        Effect::Code
    }

    fn timeout(&self) -> Duration {
        Duration::from_mins(10)
    }

    fn expected(&self) -> Duration {
        Duration::from_mins(2)
    }

    fn is_repeat_safe(&self) -> bool {
        false
    }

    fn undo(&self) -> Undoing {
        Undoing::Nothing
    }

    fn work(&self) -> Work<'_> {
        Work::Host(HostProgram { look: Some(self.look()), act: self.act(), restarts: true, ..HostProgram::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::trial::{Trial, in_every_shell};

    fn reboot(text: &str) -> Reboot {
        let reboot: Reboot = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(reboot.problems(), [], "{text}");
        reboot
    }

    /// Puts commands before all others of that name, so that nothing here ever restarts this machine.
    fn stub(trial: &mut Trial, commands: &[(&str, &str)]) {
        if !trial.path("stubs").exists() {
            std::fs::create_dir(trial.path("stubs")).expect("writable");
            let rest = if trial.path("bin").exists() { trial.at("bin") } else { "/usr/bin:/bin".to_owned() };
            trial.variable("PATH", &format!("{}:{rest}", trial.at("stubs")));
        }
        for (name, text) in commands {
            trial.write(&format!("stubs/{name}"), format!("#!/bin/sh\n{text}\n"));
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(trial.path(&format!("stubs/{name}")), mode).expect("a mode");
        }
    }

    #[test]
    fn the_host_is_restarted_as_is_usual_there() {
        in_every_shell(|trial| {
            let said = trial.at("said");
            let says = format!("echo \"${{0##*/}} $*\" >>'{said}'");
            stub(trial, &[("systemctl", &says), ("shutdown", &says), ("reboot", &says)]);
            let ran = trial.acts(&reboot(""));
            let systemd = std::path::Path::new("/run/systemd/system").exists();
            assert_eq!(trial.read("said"), if systemd { "systemctl reboot\n" } else { "shutdown -r now\n" });
            assert!(ran.out.starts_with("longshore-receipt boot-id-before "), "{ran:?}");
        });
    }

    #[test]
    fn a_command_that_fails_is_told_unless_the_host_is_on_its_way_down() {
        in_every_shell(|trial| {
            stub(trial, &[("systemctl", "echo running; exit 0"), ("init-call", "echo inhibited >&2; exit 4")]);
            let ran = trial.act(&reboot("command = ['init-call', '6']"));
            assert_eq!((ran.status, ran.err.as_str()), (4, "inhibited\n"));
            stub(trial, &[("systemctl", "echo stopping; exit 1")]);
            assert_eq!(trial.act(&reboot("command = 'init-call 6'")).status, 0);
        });
    }

    #[test]
    fn the_host_is_restarted_only_where_the_condition_says_so() {
        in_every_shell(|trial| {
            trial.write("required", "");
            for (condition, status) in [
                (format!("test -e {}", trial.at("required")), 10),
                (format!("test -e {}", trial.at("not-required")), 0),
                ("! exit 1".to_owned(), 0),
                ("exit 3".to_owned(), 0),
                ("no-such-command -r".to_owned(), 127),
            ] {
                let step = Reboot { only_if: Some(condition), ..Reboot::default() };
                assert_eq!(trial.look(&step).status, status, "{step:?}");
            }
            let step = reboot("only-if = 'test -e /'");
            assert_eq!(trial.look(&step).out, "would restart the host if `test -e /`\n");
            assert_eq!(trial.look(&reboot("")).out, "would restart the host\n");
        });
    }

    #[test]
    fn a_restart_that_happened_since_is_not_ordered_again() {
        in_every_shell(|trial| {
            trial.acts(&reboot("command = 'true'"));
            // Nothing has restarted since, so it is still to do.
            assert_eq!(trial.look(&reboot("")).status, 10);
            trial.write("step/boot-id", "00000000-0000-4000-8000-000000000000\n");
            assert_eq!(trial.look(&reboot("only-if = 'true'")).status, 0);
        });
    }

    #[test]
    fn wrong_arguments_are_named() {
        let step = Reboot { only_if: Some(" ".to_owned()), command: Some(CommandLine::Words(Vec::new())) };
        assert_eq!(step.problems().into_iter().map(|problem| problem.key).collect::<Vec<_>>(), ["command", "only-if"]);
    }
}
