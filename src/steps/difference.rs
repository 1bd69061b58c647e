//! Differences of files: the host sends what is there, the controller compares it with what is to be.

use std::fmt::Write as _;

use similar::TextDiff;

const BEGIN: &str = "longshore-current <<";
const END: &str = "longshore-current-end";

/// Sends the content of `$to`, where it was asked for and is not too large. A file that is not there is empty.
///
/// The lines are marked and the end has a mark of its own, so that no content can be taken for the
/// end of the block, and a missing last newline shows.
pub(super) const SEND: &str = r#"if [ "${LONGSHORE_DIFF-}" = 1 ]; then
  if [ ! -f "$to" ]; then
    printf '%s\n' 'longshore-current <<' '|x' longshore-current-end
  elif [ "$(wc -c <"$to")" -le 65536 ]; then
    echo 'longshore-current <<'
    { cat "$to"; echo x; } | LC_ALL=C sed 's/^/|/'
    echo longshore-current-end
  fi
fi
"#;

/// Returns what a `look` printed with the block of current content turned into a unified difference
/// to `wanted`; without the block where there is nothing to compare it with.
pub(super) fn show(looked: &str, path: &str, wanted: Option<&str>) -> String {
    let mut shown = String::new();
    let mut lines = looked.lines();
    while let Some(line) = lines.next() {
        if line != BEGIN {
            shown.push_str(line);
            shown.push('\n');
            continue;
        }
        // Lines of the block without their mark, up to its end.
        let current = lines
            .by_ref()
            .take_while(|line| *line != END)
            .filter_map(|line| line.strip_prefix('|'))
            .collect::<Vec<_>>()
            .join("\n");
        let current = current.strip_suffix('x').unwrap_or(&current);
        if let Some(wanted) = wanted {
            shown.push_str(&unified(current, wanted, path));
        }
    }
    shown
}

fn unified(current: &str, wanted: &str, path: &str) -> String {
    if current.contains(['\0', '\u{fffd}']) {
        return "the content there is not text\n".to_owned();
    }
    let difference = TextDiff::from_lines(current, wanted);
    let mut text = String::new();
    // A file that is new or goes away has nothing on the other side.
    let name = |content: &str| if content.is_empty() { "/dev/null".to_owned() } else { path.to_owned() };
    let _ = write!(text, "{}", difference.unified_diff().context_radius(3).header(&name(current), &name(wanted)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_of_content_becomes_a_difference() {
        let looked = "content of /etc/a differs\nlongshore-current <<\n|one\n|longshore-current-end\n|two\n|x\nlongshore-current-end\nmode\n";
        let shown = show(looked, "/etc/a", Some("one\nlongshore-current-end\n2\n"));
        assert_eq!(
            shown,
            "content of /etc/a differs\n--- /etc/a\n+++ /etc/a\n@@ -1,3 +1,3 @@\n one\n longshore-current-end\n-two\n+2\nmode\n"
        );
        assert_eq!(show(looked, "/etc/a", None), "content of /etc/a differs\nmode\n");
    }

    #[test]
    fn a_missing_last_newline_is_a_difference() {
        let looked = "longshore-current <<\n|onex\nlongshore-current-end\n";
        let shown = show(looked, "/a", Some("one\n"));
        assert!(shown.contains("\\ No newline at end of file"), "{shown}");
    }
}
