//! The disk check: free space below a path.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Probed, Problem, Reach, Size, Template, shell};
use crate::{
    model::{Redactor, clean_line},
    transport::Exec,
};

/// Free space that must be there, for an ordinary user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DiskCheck {
    /// A path on the file system in question: absolute, or below `~/`. The nearest folder above it
    /// counts where it does not exist yet.
    pub path: String,
    /// Free space: `2GiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<String>,
    /// Free share of the file system in percent, 1 to 99.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_percent: Option<u8>,
}

impl DiskCheck {
    pub(super) fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "path", &mut self.path);
        if let Some(free) = &mut self.free {
            visit(Template::Text, "free", free);
        }
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = shell::path_problem("path", Some(&self.path)).into_iter().collect();
        if self.free.is_none() && self.free_percent.is_none() {
            problems.push(Problem::new("", "a disk check needs `free` or `free-percent`"));
        }
        if let Some(free) = self.free.as_deref().filter(|free| !free.contains("{{"))
            && let Err(message) = free.parse::<Size>()
        {
            problems.push(Problem::new("free", message));
        }
        if self.free_percent.is_some_and(|percent| !(1..=99).contains(&percent)) {
            problems.push(Problem::new("free-percent", "a share lies between 1 and 99 percent"));
        }
        problems
    }

    pub(super) fn summary(&self) -> String {
        let wanted: Vec<_> =
            self.free.iter().cloned().chain(self.free_percent.map(|percent| format!("{percent}%"))).collect();
        shell::one_line(&format!("disk {} has {} free", Redactor::mask(&self.path), wanted.join(" and ")))
    }

    pub(super) async fn probe(&self, reach: &Reach<'_>, timeout: Duration) -> Probed {
        let wanted = match self.free.as_deref().map(str::parse::<Size>).transpose() {
            Ok(wanted) => wanted,
            Err(reason) => return Probed::error(reason),
        };
        let mut exec = Exec::script(self.program()).timeout(timeout);
        exec.run_as.clone_from(&reach.run_as);
        exec.secrets = shell::secrets_in(&exec.program, reach.redactor);
        let ended = match reach.session.run(exec, &mut ()).await {
            Ok(ended) => ended,
            // That `df` does not answer says nothing about space.
            Err(error) => return Probed::error(Probed::from_transport(&error).seen),
        };
        let numbers: Vec<u64> = ended.out.text().split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let (true, [size, free]) = (ended.is_success(), numbers.as_slice()) else {
            let said = clean_line(&ended.err.bytes(), 100);
            return Probed::error(format!("`df` did not say how much is free: {said}"));
        };
        let (size, free) = (size.saturating_mul(1024), free.saturating_mul(1024));
        let percent = u128::from(free) * 100 / u128::from(size.max(1));
        let seen = format!("{} of {} free ({percent}%)", Size(free), Size(size));
        let lacks_space = wanted.filter(|Size(wanted)| free < *wanted).map(|size| size.to_string());
        let lacks_share =
            self.free_percent.filter(|share| percent < u128::from(*share)).map(|share| format!("{share}%"));
        match lacks_space.or(lacks_share) {
            Some(expected) => Probed::fail(format!("{seen}, expected {expected}")),
            None => Probed::pass(seen),
        }
    }

    /// Prints size and free space of the file system, in KiB.
    fn program(&self) -> String {
        let path = shell::path_word(&self.path);
        // The columns are found by the share in percent: names of file systems may contain spaces.
        format!(
            r#"path={path}
while [ ! -e "$path" ]; do
  up=${{path%/*}}
  [ "$up" != "$path" ] || up=/
  path=${{up:-/}}
done
LC_ALL=C df -Pk "$path" | LC_ALL=C awk 'NR > 1 {{
  for (i = NF; i > 3; i--) if ($i ~ /^[0-9]+%$/) {{ print $(i - 3), $(i - 1); exit }}
}}'
"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::trial::in_every_shell;

    #[test]
    fn free_space_is_read_in_every_shell_also_above_what_is_not_there() {
        in_every_shell(|trial| {
            for path in [trial.at("step"), trial.at("not/there"), "/".to_owned(), "~/x".to_owned()] {
                let check = DiskCheck { path, free: None, free_percent: Some(1) };
                let ran = trial.run(&check.program());
                let numbers: Vec<u64> = ran.out.split_whitespace().filter_map(|word| word.parse().ok()).collect();
                assert!(matches!(numbers.as_slice(), [size, free] if size >= free && *size > 0), "{ran:?}");
            }
        });
    }
}
