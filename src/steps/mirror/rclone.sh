# By rclone. The flags are those of 1.50 and later. Expects: excludes (one a line), changeable.
present() { command -v rclone >/dev/null 2>&1 || die 'rclone is not installed here'; }
by_rclone() (
  command=$1
  shift
  while read -r pattern; do
    [ -z "$pattern" ] || set -- "$@" --exclude "$pattern"
  done <"$LONGSHORE_STEP_DIR/excludes"
  exec rclone "$command" "$@"
)
# `count bytes` of the files in a place.
measure() {
  by_rclone size --json "$1" >"$LONGSHORE_STEP_DIR/size" 2>"$LONGSHORE_STEP_DIR/said" ||
    { tail -n 3 "$LONGSHORE_STEP_DIR/said" >&2; return 1; }
  sed -n 's/.*"count": *\([0-9]*\),.*"bytes": *\([0-9]*\).*/\1 \2/p' "$LONGSHORE_STEP_DIR/size"
}
# Files of the second place that the first does not have, one a line.
surplus() {
  rclone mkdir "$2" || return 1
  by_rclone check --one-way "$2" "$1" --size-only --missing-on-dst "$3" >"$LONGSHORE_STEP_DIR/said" 2>&1 || [ -s "$3" ] ||
    grep -q 'differ' "$LONGSHORE_STEP_DIR/said" || { tail -n 3 "$LONGSHORE_STEP_DIR/said" >&2; return 1; }
}
# Files of both places that are not alike, one a line.
changed() {
  by_rclone check --one-way "$1" "$2" --differ "$3" >"$LONGSHORE_STEP_DIR/said" 2>&1 || [ -s "$3" ] ||
    grep -q ' not found' "$LONGSHORE_STEP_DIR/said" || grep -q 'differences found' "$LONGSHORE_STEP_DIR/said" ||
    { tail -n 3 "$LONGSHORE_STEP_DIR/said" >&2; return 1; }
}
carry() {
  if [ "$changeable" = no ]; then set -- "$@" --immutable; fi
  by_rclone copy --quiet "$@" || die "rclone copy ended with $?"
}
remove() { rclone deletefile "$1/$2"; }
compare() {
  by_rclone check --one-way "$1" "$2" >"$LONGSHORE_STEP_DIR/said" 2>&1 || {
    tail -n 10 "$LONGSHORE_STEP_DIR/said" >&2
    die "what lies in $2 is not what lies in $1"
  }
}
