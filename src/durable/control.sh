# Acts on attempts from outside their segment.

# Fences attempt $1 off for good unless it has started. The winner of the link decides.
void() {
  A=$D/$1
  mkdir -p "$A" 2>/dev/null || fail nospace "$A"
  printf 'void\n' >"$A/void.$$" 2>/dev/null && [ -s "$A/void.$$" ] || fail nospace "$A"
  fs "$A/void.$$" || fail nosync "$A"
  # hook: void-written
  ln "$A/void.$$" "$A/start" 2>/dev/null
  rm -f "$A/void.$$"
  fs "$A" "$D" || fail nosync "$A"
  judge "$A"
  say "state $1 $STATE ${RESULT:--} - -"
}
# Stops attempt $1 if it runs: TERM to its session, KILL to whatever holds its lock after the grace.
cancel() {
  A=$D/$1
  judge "$A"
  case $STATE in running | orphaned | lingering | pending) ;; *) say "state $1 $STATE ${RESULT:--} - -"; return ;; esac
  [ ! -e "$A/why" ] || mv "$A/why" "$A/why.cancel" 2>/dev/null
  group=''
  [ ! -s "$A/pid" ] || read -r group began <"$A/pid"
  if [ -n "$group" ] && { read -r stat <"/proc/$group/stat"; } 2>/dev/null; then
    # Only while the group is the one that was noted: numbers come back.
    set -- "$1" ${stat##*) }
    [ "${21}" != "$began" ] || kill -TERM -"$group" 2>/dev/null
  fi
  uptime; hard=$((UP + GRACE + 1)) give_up=$((UP + GRACE + 10))
  while held "$A/alive"; do
    uptime
    [ "$UP" -le $give_up ] || break
    if [ "$UP" -ge $hard ]; then signal_holders KILL "$A/alive"; fi
    nap
  done
  if outside_lives "$A"; then
    stop_outside "$A"
    uptime; give_up=$((UP + GRACE + 1))
    while outside_lives "$A"; do uptime; [ "$UP" -lt $give_up ] || break; nap; done
  fi
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
