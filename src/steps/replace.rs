//! Replaces a file on the host in one step, so that no reader ever sees half of it, and puts it back.
//!
//! What is here is shell text that the kinds `file` and `env` build their programs from. It expects
//! the path in `$to`, and keeps in `$LONGSHORE_STEP_DIR` what the way back needs: `had` (whether there
//! was a file), `before` (a copy of it), `made` (how many folders were made).

use sha2::{Digest as _, Sha256};

use super::{local_file::hex, shell};
use crate::model::quote;

pub(super) fn is_mode(mode: &str) -> bool {
    (3..=4).contains(&mode.len()) && mode.bytes().all(|byte| (b'0'..=b'7').contains(&byte))
}

pub(super) fn is_owner(owner: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with('-')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.@$\\".contains(&byte))
    };
    match owner.split_once(':') {
        Some((user, group)) => is_name(user) && is_name(group),
        None => is_name(owner),
    }
}

/// Returns the lines every program on a file begins with: where the file is, and how to end early.
pub(super) fn begin(path: &str) -> String {
    // The temporary name is the same for every attempt, so that one cut half way leaves nothing that
    // the next, or the undo, does not find.
    let name = &hex(&Sha256::digest(path.as_bytes()))[..12];
    let word = shell::path_word(path);
    format!(
        r#"longshore_die() {{ printf '%s\n' "$*" >&2; exit 1; }}
to={word}
case $to in /*[!/]) ;; *) longshore_die "\`$to\` is not the absolute path of a file" ;; esac
longshore_where() {{
  dir=${{to%/*}}
  [ -n "$dir" ] || dir=/
  new=$dir/.longshore-{name}.new
}}
longshore_where
"#
    )
}

/// Makes `$to` the file that a symbolic link there names, however many links away.
///
/// As the kernel does for those who open it: in a folder that is open to all, a link is followed only where it is ours
/// or that of the folder's owner. Anybody else's would have us write wherever that somebody likes.
pub(super) const FOLLOW: &str = r#"if [ -L "$to" ]; then
  link=$to
  set -- $(LC_ALL=C ls -ldn "$dir/." | awk 'NR == 1 { print $1, $3 }') $(LC_ALL=C ls -ldn "$to" | awk 'NR == 1 { print $3 }')
  case $1 in
    d???????w[tT]*)
      [ "$3" = "$2" ] || [ "$3" = "$(id -u)" ] ||
        longshore_die "$to is a symbolic link of another user in a folder open to all" ;;
  esac
  # The mark keeps a newline at the end of the name.
  to=$(readlink -f "$link" && echo x) || longshore_die "cannot follow the symbolic link $link"
  to=${to%?x}
  longshore_where
fi
"#;

/// Refuses what is neither a file nor nothing.
pub(super) const REFUSE: &str = r#"if [ -d "$to" ]; then longshore_die "$to is a directory"; fi
if [ -e "$to" ] && [ ! -f "$to" ]; then longshore_die "$to is not a regular file"; fi
"#;

/// `longshore_attributes PATH` prints mode, user and group as numbers: `0644 0 0`.
///
/// `stat` differs between systems, `ls` does not.
pub(super) const ATTRIBUTES: &str = r#"longshore_attributes() {
  LC_ALL=C ls -ldn "$1" | LC_ALL=C awk 'NR == 1 {
    special = 0; mode = ""
    for (i = 0; i < 3; i++) {
      part = substr($1, 2 + 3 * i, 3); digit = 0
      if (part ~ /^r/) digit += 4
      if (part ~ /^.w/) digit += 2
      if (part ~ /[xst]$/) digit += 1
      if (part ~ /[sS]$/) special += (i == 0 ? 4 : 2)
      if (part ~ /[tT]$/) special += 1
      mode = mode digit
    }
    print special mode, $3, $4
    exit
  }'
}
"#;

/// `longshore_owned PATH USER GROUP` says whether the file is theirs; an empty group is any.
pub(super) const OWNED: &str = r#"longshore_owned() {
  set -- "$1" "$2" "$3" $(LC_ALL=C ls -ldn "$1" | awk 'NR == 1 { print $3, $4 }') \
    $(LC_ALL=C ls -ld "$1" | awk 'NR == 1 { print $3, $4 }')
  { [ "$2" = "$4" ] || [ "$2" = "$6" ]; } && { [ -z "$3" ] || [ "$3" = "$5" ] || [ "$3" = "$7" ]; }
}
"#;

/// `longshore_sha256 PATH` prints the digest, or nothing where no program can make it.
pub(super) const SHA256: &str = r#"longshore_sha256() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum <"$1"
  elif command -v shasum >/dev/null 2>&1; then shasum -a 256 <"$1"
  elif command -v openssl >/dev/null 2>&1; then openssl dgst -sha256 -r <"$1"
  fi | awk '{ print $1; exit }'
}
"#;

/// `longshore_same PATH` says whether the file holds exactly what `longshore_content` prints.
///
/// `cmp` is missing from some small images. What stands in for it must fail when it is missing too, as two
/// empty outputs are equal: busybox often has no `cksum`.
pub(super) const SAME: &str = r#"longshore_same() {
  if command -v cmp >/dev/null 2>&1; then longshore_content 2>/dev/null | cmp -s - "$1"
  else command -v od >/dev/null 2>&1 && [ "$(longshore_content | od -v -An -tx1)" = "$(od -v -An -tx1 <"$1")" ]
  fi
}
"#;

/// Keeps what is there for the undo, once: a second attempt must not take its own work for the original.
pub(super) const SAVE: &str = r#"longshore_save() {
  [ ! -e "$LONGSHORE_STEP_DIR/had" ] || return 0
  had=no
  if [ -e "$to" ] || [ -L "$to" ]; then
    had=yes
    rm -f "$LONGSHORE_STEP_DIR/before"
    cp -RPp "$to" "$LONGSHORE_STEP_DIR/before" || longshore_die "cannot keep a copy of $to for the undo"
    sync "$LONGSHORE_STEP_DIR/before" 2>/dev/null
  fi
  { printf '%s\n' "$had" >"$LONGSHORE_STEP_DIR/had.new" &&
    mv -f "$LONGSHORE_STEP_DIR/had.new" "$LONGSHORE_STEP_DIR/had"; } || longshore_die 'cannot keep what the undo needs'
}
"#;

/// Makes the missing folders above the file, and keeps how many they are.
pub(super) const PARENTS: &str = r#"if [ ! -d "$dir" ]; then
  made=0
  top=$dir
  while [ ! -d "$top" ]; do
    made=$((made + 1))
    top=${top%/*}
    [ -n "$top" ] || top=/
  done
  [ -e "$LONGSHORE_STEP_DIR/made" ] || printf '%s\n' "$made" >"$LONGSHORE_STEP_DIR/made" || exit 1
  mkdir -p "$dir" || longshore_die "cannot make the folder $dir"
fi
"#;

/// `longshore_put MODE USER GROUP` makes `longshore_content` the file: mode and owner are those given, else those of the
/// file that was there, else what the umask of a private file allows.
pub(super) const PUT: &str = r#"longshore_put() {
  mode=$1 user=$2 group=$3
  if [ -f "$to" ] && [ ! -L "$to" ]; then
    set -- $(longshore_attributes "$to")
    [ $# -eq 3 ] || longshore_die "cannot read mode and owner of $to"
    mode=${mode:-$1}
    if [ -z "$user" ]; then user=$2 group=$3; else group=${group:-$3}; fi
  fi
  # Made by us alone and readable by us alone, before there is anything in it.
  rm -f "$new"
  (umask 077; set -C; : >"$new") 2>/dev/null || longshore_die "cannot write in $dir"
  # A pipe that lay there, where others may write, too, was opened and not made.
  [ -f "$new" ] && [ ! -L "$new" ] && [ -O "$new" ] || longshore_die "somebody else writes in $dir"
  if ! longshore_content >>"$new" || ! longshore_same "$new"; then
    rm -f "$new"
    longshore_die "cannot write $to: is the disk full?"
  fi
  if [ -n "$user" ] && ! longshore_owned "$new" "$user" "$group"; then
    chown "$user${group:+:$group}" "$new" || { rm -f "$new"; longshore_die "cannot give $to to $user${group:+:$group}"; }
  fi
  chmod "${mode:-0600}" "$new" || { rm -f "$new"; longshore_die "cannot set the mode of $to"; }
  sync "$new" 2>/dev/null
  mv -f "$new" "$to" || { rm -f "$new"; longshore_die "cannot replace $to"; }
  sync "$dir" 2>/dev/null
  return 0
}
"#;

/// Leaves the file and the lines of `$said`, what changed in it, as the receipt.
pub(super) const TELL: &str = r#"printf 'longshore-receipt path %s\n' "$to"
printf 'longshore-receipt changes %s\n' "$(printf %s "$said" | awk '{ printf "%s%s", (NR > 1 ? ", " : ""), $0 }')"
exit 0
"#;

/// Puts back what `longshore_save` kept. Works also when nothing, or only half, was done, and twice.
pub(super) const RESTORE: &str = r#"rm -f "$new"
if [ -e "$LONGSHORE_STEP_DIR/had" ]; then
  if [ -d "$to" ] && [ ! -L "$to" ]; then longshore_die "$to has become a directory"; fi
  case $(cat "$LONGSHORE_STEP_DIR/had") in
    yes)
      # What could not be removed is not ours; a copy would be written through a link.
      if [ -e "$new" ] || [ -L "$new" ]; then longshore_die "somebody else writes in $dir"; fi
      cp -RPp "$LONGSHORE_STEP_DIR/before" "$new" || { rm -f "$new"; longshore_die "cannot write in $dir"; }
      sync "$new" 2>/dev/null
      mv -f "$new" "$to" || { rm -f "$new"; longshore_die "cannot put $to back"; }
      ;;
    no) rm -f "$to" || longshore_die "cannot remove $to" ;;
    *) longshore_die "what was kept of $to cannot be read" ;;
  esac
  sync "$dir" 2>/dev/null
fi
if [ -e "$LONGSHORE_STEP_DIR/made" ]; then
  made=$(cat "$LONGSHORE_STEP_DIR/made")
  while [ "${made:-0}" -gt 0 ] && rmdir "$dir" 2>/dev/null; do
    made=$((made - 1))
    dir=${dir%/*}
  done
fi
rm -f "$LONGSHORE_STEP_DIR/had" "$LONGSHORE_STEP_DIR/made"
exit 0
"#;

/// Returns the words for mode, user and group, each empty where nothing is wanted.
pub(super) fn attribute_words(mode: Option<&str>, owner: Option<&str>) -> (String, String, String) {
    let mode = mode.map_or_else(|| "''".to_owned(), |mode| quote(&format!("{mode:0>4}")));
    let (user, group) = owner.map_or(("", ""), |owner| owner.split_once(':').unwrap_or((owner, "")));
    (mode, quote(user), quote(group))
}
