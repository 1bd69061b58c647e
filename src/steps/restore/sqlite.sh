# One SQLite file. Expects: live (the file), tables (names that must be there, one a line), head (a query, or nothing).
fresh=$live.restore_$run
before=${live}_pre_$run
what=$live
kept=$before
# The same file under two names is one that was not swapped yet.
same() { [ "$(ls -i -- "$1" | sed 's/^ *\([0-9]*\).*/\1/')" = "$(ls -i -- "$2" | sed 's/^ *\([0-9]*\).*/\1/')" ]; }
there() { [ -f "$before" ] && [ -f "$live" ] && ! same "$before" "$live"; }
users_of() {
  ls -l /proc/[0-9]*/fd 2>/dev/null | while read -r line; do
    case $line in
    /proc/*/fd:) process=${line#/proc/} ;;
    *" -> $1" | *" -> $1-wal" | *" -> $1-shm") printf '%s ' "${process%%/*}" ;;
    esac
  done
}
idle() {
  command -v sqlite3 >/dev/null 2>&1 || die 'sqlite3 is not installed here'
  if [ ! -e "$live" ] && [ ! -e "$before" ]; then kept=; return 0; fi
  folder=$(cd -- "$(dirname -- "$live")" && pwd -P) || die "cannot enter the folder of $live"
  users=$(users_of "$folder/${live##*/}")
  [ -z "$users" ] || die "$live is in use (process ${users% }): stop what uses it"
}
room() {
  free=$(free_below "$(dirname -- "$live")")
  case $free in '' | *[!0-9]*) die "df does not say how much is free beside $live" ;; esac
  needed=$(bytes_of "$file")
  [ "$((needed / 1024 + 1024))" -le "$free" ] || die "not enough room beside $live: $free KiB free, $((needed / 1024)) KiB to restore"
}
load() {
  rm -f -- "$fresh" "$fresh-journal" "$fresh-wal" "$fresh-shm"
  mend() { [ -z "$fresh" ] || rm -f -- "$fresh"; }
  # Mode and owner of the live one, bytes of the copy.
  if [ -e "$live" ]; then cp -p -- "$live" "$fresh" || die "cannot write beside $live"; fi
  opened >"$fresh" || die "the copy $file cannot be read to its end"
}
compare() {
  sound "$fresh"
  [ -s "$LONGSHORE_STEP_DIR/tables" ] || die 'the copy has no tables'
  counted "$fresh"
  while IFS= read -r row; do
    [ -z "$(told rows)" ] || grep -qxF -- "row $row" "$sidecar" ||
      die "\`${row% *}\` has ${row##* } rows, not what the receipt says"
  done <"$LONGSHORE_STEP_DIR/counts"
  if [ -n "$head" ]; then
    said=$(head_of "$fresh") || exit 1
    [ -z "$(told head)" ] || [ "$said" = "$(told head)" ] || die "the copy has the migration head $said, its receipt says $(told head)"
    printf 'longshore-receipt head %s\n' "$said"
  fi
  printf 'longshore-receipt rows %s\n' "$rows"
}
swap() {
  idle
  if [ -e "$live" ] && [ ! -e "$before" ]; then
    ln -- "$live" "$before" || die "cannot keep $live as $before"
  fi
  # What the old file's writers had not yet put into it belongs to it.
  [ ! -e "$live-wal" ] || mv -f -- "$live-wal" "$before-wal" || die "cannot move $live-wal"
  rm -f -- "$live-shm"
  [ ! -e "$live-journal" ] || mv -f -- "$live-journal" "$before-journal" || die "cannot move $live-journal"
  mv -f -- "$fresh" "$live" || die "cannot rename $fresh"
  fresh=
}
take_back() {
  if ! there; then
    rm -f -- "$fresh"
    # Cut off before the swap: what was moved away already belongs to the file that stayed.
    if [ -e "$before" ] && [ -e "$live" ]; then
      for end in -wal -journal; do
        [ ! -e "$before$end" ] || mv -f -- "$before$end" "$live$end" || die "cannot move $before$end back"
      done
      rm -f -- "$before"
    fi
    note 'nothing was swapped'
    return 0
  fi
  idle
  for end in '' -wal -journal; do
    [ ! -e "$live$end" ] || mv -f -- "$live$end" "${live}_undone_$run$end" || die "cannot move $live$end"
  done
  rm -f -- "$live-shm"
  for end in -wal -journal ''; do
    [ ! -e "$before$end" ] || mv -f -- "$before$end" "$live$end" || die "cannot move $before$end back"
  done
  note "$live is what it was; what had been restored is kept as ${live}_undone_$run"
}
