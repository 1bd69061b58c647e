# By rsync, to a folder or to HOST:PATH. Expects: excludes (one a line), changeable.
present() { command -v rsync >/dev/null 2>&1 || die 'rsync is not installed here'; }
by_rsync() { rsync --exclude-from="$LONGSHORE_STEP_DIR/excludes" --out-format='%n' "$@"; }
measure() {
  rsync --list-only -r --exclude-from="$LONGSHORE_STEP_DIR/excludes" "$1/" >"$LONGSHORE_STEP_DIR/size" || return 1
  sed -n '/^-/p' "$LONGSHORE_STEP_DIR/size" | tr -d , | awk '{ files++; bytes += $2 } END { print files + 0, bytes + 0 }'
}
surplus() {
  rsync -rn --ignore-existing --existing --delete --exclude-from="$LONGSHORE_STEP_DIR/excludes" --itemize-changes "$1/" "$2/" \
    >"$LONGSHORE_STEP_DIR/said" || return 1
  sed -n 's/^\*deleting  *//p' "$LONGSHORE_STEP_DIR/said" | sed '/\/$/d' >"$3"
}
changed() { by_rsync -rcn --existing "$1/" "$2/" | sed '/\/$/d' >"$3"; }
carry() {
  if [ "$changeable" = no ]; then set -- --ignore-existing "$1/" "$2/"; else set -- "$1/" "$2/"; fi
  by_rsync -rlt "$@" >"$LONGSHORE_STEP_DIR/carried" || die "rsync ended with $?"
}
remove() {
  case $1 in
  *:*) die 'files of another host are not removed by rsync: leave deletions to that host' ;;
  esac
  rm -f -- "$1/$2"
}
compare() {
  by_rsync -rcn "$1/" "$2/" | sed '/\/$/d' >"$LONGSHORE_STEP_DIR/differing" || die "$2 cannot be compared"
  [ ! -s "$LONGSHORE_STEP_DIR/differing" ] || {
    sed 10q "$LONGSHORE_STEP_DIR/differing" >&2
    die "what lies in $2 is not what lies in $1"
  }
}
