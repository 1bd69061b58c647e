//! Which copies are kept: the newest of so many days, weeks and months, the union of all rules.
//!
//! The rule is that of `restic forget`: each rule keeps the newest copy of each of the last n periods
//! that have one. Days, weeks (from Monday) and months are those of UTC.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::steps::Problem;

/// How many copies are kept. Each rule keeps the newest of so many periods that have one; what any rule keeps stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Keep {
    /// The latest copies, whenever they were made.
    #[serde(skip_serializing_if = "is_zero")]
    pub latest: u32,
    /// One copy of each of so many days.
    #[serde(skip_serializing_if = "is_zero")]
    pub daily: u32,
    /// One copy of each of so many weeks, from Monday.
    #[serde(skip_serializing_if = "is_zero")]
    pub weekly: u32,
    /// One copy of each of so many months.
    #[serde(skip_serializing_if = "is_zero")]
    pub monthly: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Keep {
    pub(in crate::steps) fn problem(&self, key: &str) -> Option<Problem> {
        (*self == Self::default()).then(|| {
            Problem::new(key, "nothing would be kept but the newest copy")
                .hint("say how many: `keep = { daily = 14, weekly = 8 }`")
        })
    }

    /// The shell functions `list_copies` and `sort_out`, with the numbers they expect. `$to` and `$name` must be set.
    pub(super) fn functions(&self) -> String {
        let Self { latest, daily, weekly, monthly } = self;
        format!(
            "latest={latest} daily={daily} weekly={weekly} monthly={monthly}\nruns=${{LONGSHORE_STEP_DIR%/*/*}}\n{}",
            include_str!("keep.sh")
        )
    }

    /// Removes what may go, and says what went. Half a removal leaves a copy without a receipt, never the reverse.
    pub(in crate::steps) fn prune(&self) -> String {
        format!(
            r#"{}
list_copies | sort_out >"$LONGSHORE_STEP_DIR/sorted" || die 'cannot tell which copies may go'
removed=0
while read -r verdict copy why; do
  [ "$verdict" = go ] || continue
  rm -f -- "$to/$copy.receipt" && rm -f -- "$to/$copy" || die "cannot remove $to/$copy"
  note "removed $copy, as no rule keeps it"
  removed=$((removed + 1))
done <"$LONGSHORE_STEP_DIR/sorted"
printf 'longshore-receipt removed %s\n' "$removed"
"#,
            self.functions()
        )
    }
}
