# Ends what the host keeps of a run: shelved with what taking it back needs, or forgotten.

# Goes on only while nothing of the run lives; under the mutex, so that nothing of it starts meanwhile.
at_rest() {
  enter
  for lock in "$D"/*/alive; do if lives "${lock%/alive}"; then fail stillruns "$RUN"; fi; done
  for segment in "$D"/*-w.segment; do unhook "$segment"; done
  mkdir -p "$ROOT/trash" || fail nospace "$ROOT"
}
# Removes what is in the trash, a few at a time: a closing does not take long because others were many.
empty_trash() {
  emptied=0
  for old in "$ROOT/trash"/*; do
    [ -e "$old" ] && [ $emptied -lt 4 ] || break
    rm -rf "$old"
    emptied=$((emptied + 1))
  done
}
# Cuts the spool of attempt directory A down to its receipts. The state it says stays what it was.
shrink() {
  [ -e "$A/start" ] || return 0
  result "$A"
  case $RESULT in '' | lost) return 0 ;; esac
  if lives "$A"; then return 0; fi
  if [ -s "$A/out" ]; then
    LC_ALL=C sed -n '/^longshore-receipt /p' "$A/out" "$A/out.tail" 2>/dev/null | head -c 65536 >"$A/out.new" &&
      mv -f "$A/out.new" "$A/out" || return 0
  fi
  [ ! -s "$A/err" ] || printf '' >"$A/err"
  rm -f "$A"/look "$A"/act "$A"/outside "$A"/outside-stop "$A"/o "$A"/e "$A"/*.tail "$A"/pid "$A"/start.* "$A"/confirm.*
}
# Closes the run and keeps what its rollback needs: results, receipts, and what the steps kept for their undo.
# The mark comes first: a closing that was cut is done again, and nothing in it makes a step look "not started".
shelve() {
  [ -e "$D/manifest" ] || { say shelved; return; }
  at_rest
  uptime
  read -r boot </proc/sys/kernel/random/boot_id
  printf '%s %s\n' "$boot" "$UP" >"$D/closed.new" 2>/dev/null && [ -s "$D/closed.new" ] || fail nospace "$D"
  fs "$D/closed.new" || fail nosync "$D"
  mv -f "$D/closed.new" "$D/closed" || fail nospace "$D"
  # hook: run-marked
  for one in "$D"/*.segment "$D"/staging.*; do
    [ ! -e "$one" ] || mv "$one" "$ROOT/trash/$RUN.${one##*/}.$$"
  done
  fs "$D" || fail nosync "$D"
  # hook: segments-gone
  for A in "$D"/*.*; do shrink; done
  # hook: spools-gone
  expire
  leave
  empty_trash
  say shelved
}
# Moves runs of this install that were closed 30 days ago into the trash, a few at a time.
#
# The age is that of the mark's file. It counts only where it can be true: the host's own uptime must not
# contradict it, and one of ten years comes from a clock that was wrong, so its time begins anew.
expire() {
  lease_run='' expired=0
  [ ! -e "$K/lease" ] || read -r lease_run _ <"$K/lease"
  for mark in $(find "$K"/runs/*/closed -mtime +30 2>/dev/null); do
    [ $expired -lt 4 ] || break
    old=${mark%/closed}
    case ${old##*/} in "$RUN" | "$lease_run") continue ;; esac
    if [ -n "$(find "$mark" -mtime +3650)" ]; then touch "$mark"; continue; fi
    marked='' at=0
    read -r marked at <"$mark"
    [ "$marked" != "$boot" ] || [ $((UP - at)) -ge 2592000 ] || continue
    for lock in "$old"/*/alive; do if lives "${lock%/alive}"; then continue 2; fi; done
    mv "$old" "$ROOT/trash/${old##*/}.$$" && expired=$((expired + 1))
  done
  [ $expired = 0 ] || fs "$K/runs" "$ROOT/trash"
}
# Forgets the run: nothing of it is left to take back.
forget() {
  [ -d "$D" ] || { say forgotten; return; }
  at_rest
  mv "$D" "$ROOT/trash/$RUN.$$" || fail nospace "$ROOT"
  fs "$K/runs" "$ROOT/trash"
  leave
  empty_trash
  say forgotten
}
