# Acts on attempts from outside their segment.

# Fences attempt $1 off for good unless it has started. The winner of the link decides. One that never arrived comes
# into place whole: half of it would be taken for an attempt that was staged.
void() {
  A=$D/$1 T=$D/staging.void.$$
  { mkdir -p "$T/$1" && printf 'void\n' >"$T/$1/start" && [ -s "$T/$1/start" ]; } 2>/dev/null || { rm -rf "$T"; fail nospace "$A"; }
  fs "$T/$1/start" "$T/$1" || { rm -rf "$T"; fail nosync "$A"; }
  # hook: void-written
  [ -d "$A" ] || mv "$T/$1" "$D" 2>/dev/null
  ln "$T/$1/start" "$A/start" 2>/dev/null
  rm -rf "$T"
  fs "$A" "$D" || fail nosync "$A"
  judge "$A"
  say "state $1 $STATE ${RESULT:--} - -"
}
# Stops attempt $1 if it runs.
cancel() {
  A=$D/$1
  judge "$A"
  case $STATE in running | orphaned | lingering | pending) ;; *) say "state $1 $STATE ${RESULT:--} - -"; return ;; esac
  stop_attempt "$A"
  judge "$A"
  say "state $1 $STATE ${RESULT:--} - -"
}
# Closes attempt $1, whose result nobody knows, as $2 says: a look or a person decided. Not while it lives.
close() {
  A=$D/$1
  judge "$A"
  case $STATE in
    lost | rebooted)
      if [ -e "$A/lost" ]; then from=$A/lost; else from=$A/slot; fi
      mv "$from" "$A/closed.$2" 2>/dev/null || printf '' >"$A/closed.$2" || fail nospace "$A"
      fs "$A" || fail nosync "$A" ;;
    running | orphaned | lingering | pending) fail stillruns "$1" ;;
  esac
  judge "$A"
  say "state $1 $STATE ${RESULT:--} - -"
}
# Asks the wrapper of segment $1 to end after its current step.
request_stop() {
  [ -d "$D/$1.segment" ] || return 0
  printf '' >"$D/$1.segment/stop" || fail nospace "$D"
}
# Says of attempt $1, which takes itself back unless it is confirmed, that all is well, or with `fired` as $2 that it is not. The
# winner of the link decides: exactly one of `confirmed` and `fired` ever exists.
confirm() {
  A=$D/$1
  [ -d "$A" ] || fail statelost "$A"
  if [ ! -e "$A/confirm" ]; then
    printf '%s\n' "${2:-confirmed}" >"$A/confirm.$$" 2>/dev/null && [ -s "$A/confirm.$$" ] || fail nospace "$A"
    fs "$A/confirm.$$" || fail nosync "$A"
    # hook: confirm-written
    ln "$A/confirm.$$" "$A/confirm" 2>/dev/null
    rm -f "$A/confirm.$$"
  fi
  # Also a link that somebody else made and did not come to flush.
  fs "$A" || fail nosync "$A"
  read -r verdict <"$A/confirm"
  watcher=-
  for W in "$D"/*-w.segment; do
    # One that never watched, or for a start that was not its own, says nothing.
    [ -e "$W/watching" ] && [ ! -e "$W/end.idle" ] || continue
    read -r of <"$W/of"
    [ "$of" = "$1" ] || continue
    watcher=${W##*/} watcher=${watcher%.segment}
    [ "$verdict" = confirmed ] || continue
    # It is gone before anybody wants the lease back.
    uptime; give_up=$((UP + 5))
    while held "$W/alive" || held "${W%-w.segment}.segment/alive"; do uptime; [ "$UP" -lt $give_up ] || break; nap; done
    unhook "$W"
  done
  say "verdict $verdict $watcher"
}
