# What outlives the end of a run, and what is asked when a ledger is gone.

# Notes durably that the host came to its end in this run, as $1. What the run left stays.
note_end() {
  [ -e "$D/manifest" ] || return 0
  printf '' >"$D/ended.$1" 2>/dev/null || fail nospace "$D"
  fs "$D" || fail nosync "$D"
}
# Closes the run as $1 and removes what it left, but for the manifest and that note: without them a controller
# that lost its ledger would take the host for one whose turn has not come.
finish() {
  [ -e "$D/manifest" ] || { say finished; return; }
  at_rest
  note_end "$1"
  uptime
  read -r boot </proc/sys/kernel/random/boot_id
  printf '%s %s\n' "$boot" "$UP" >"$D/closed" 2>/dev/null || fail nospace "$D"
  bin=$ROOT/trash/$RUN.$$
  mkdir -p "$bin" || fail nospace "$ROOT"
  for entry in "$D"/*/; do [ ! -d "$entry" ] || { mv "$D"/*/ "$bin" || fail nospace "$ROOT"; break; }; done
  fs "$D" "$bin"
  expire
  leave
  empty_trash
  say finished
}
# Says all that this user's state knows of runs; with ONLY, of that run.
known() {
  read -r host <"$ROOT/host-id" 2>/dev/null || host=-
  say "host $host"
  for M in "$ROOT"/*/runs/${ONLY:-*}/manifest; do
    [ -s "$M" ] || continue
    D=${M%/manifest}
    K=${D%/runs/*}
    ended=-
    # Only a host that is done is closed without a note.
    [ ! -e "$D/closed" ] || ended=done
    for mark in "$D"/ended.*; do [ ! -e "$mark" ] || ended=${mark##*/ended.}; done
    say "run ${K##*/} ${D##*/} $ended"
    printf '%s manifest ' "$N"
    sed -n 2p "$M"
    printf '\n'
    for segment in "$D"/*.segment; do
      [ -s "$segment/wrapper" ] || continue
      read -r _ names <"$segment/wrapper"
      name=${segment##*/}
      say "segment ${name%.segment} $names"
    done
    for A in "$D"/*.*; do
      case ${A##*/} in *.segment | *.keep | staging.* | ended.* | manifest.*) continue ;; esac
      [ -d "$A" ] || continue
      judge "$A"
      say "state ${A##*/} $STATE ${RESULT:--} - -"
    done
  done
}
