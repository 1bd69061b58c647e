# Runs the steps of one segment, one after the other, in a session of its own. Before it stand K, D, S,
# RUN, TOKEN, CAP, GRACE, UMASK, STEPS (attempt:limit:leaves-running:keep-of-run/step:work-label:within:hidden,variables) and state.sh.
# An undo that waits for its act to be confirmed has OF and watch.sh, too, and no TOKEN: see there. The act has boot.sh.
# Descriptor 7 is the segment's lock, already held; 9 becomes the lock of the step that runs.
# The files are the truth; a tick only wakes a follower, and must never block.
umask 077
trap 'woken=yes' HUP INT TERM USR1 USR2
fs() { sync "$@" 2>/dev/null; }
nap() { sleep 0.05 2>/dev/null || sleep 1; }
tick() { [ ! -p "$S/tick" ] || printf '\n' 1<>"$S/tick"; }
# Ends the segment; what was going to run next has not started.
end() { mv "$S/slot" "$S/end.$1"; unhook "$S"; tick; exit 0; }
# Keeps the first CAP bytes and the last 64 KiB of standard input. Never blocks the writer, never fails it.
# Blocks of 1 KiB are written as they come; `dd` says by its count of records whether the input ended.
drain() {
  at=0
  while [ $((CAP - at)) -ge 1024 ]; do
    blocks=$(((CAP - at) / 1024))
    records=$(LC_ALL=C dd bs=1024 count=$blocks 2>&1 >&3 3>&-) || { at=$CAP; break; }
    full=${records%%+*} part=${records#*+}; part=${part%% *}
    case $full$part in '' | *[!0-9]*) at=$CAP; break ;; esac
    [ $((full + part)) -eq $blocks ] || break
    read -r _ at </proc/self/fdinfo/3
  done
  if [ $((CAP - at)) -lt 1024 ]; then tail -c 65536 >"$A/$1.tail"; cat >/dev/null; fi
  printf '' >"$A/$1.done"
  tick
}
read -r BOOT </proc/sys/kernel/random/boot_id
read -r stat </proc/self/stat
set -- ${stat##*) }
began=${20}
# Starts the watcher of the attempt in A, with its lock, and returns when it watches.
arm() {
  exec 3>>"$W/alive"
  flock -n 3 || end claimed
  setsid sh "$W/wrapper" </dev/null >/dev/null 2>&1 7>&3 3<&- 4<&- 5<&- 6<&- 8<&- 9<&- &
  exec 3>&-
  read -r up _ </proc/uptime; give_up=$((${up%.*} + 10))
  until [ -e "$W/watching" ]; do
    read -r up _ </proc/uptime; [ "${up%.*}" -le $give_up ] || end unarmed
    nap
  done
}
# Stays until the watcher has come to its end, and starts it again should it be killed.
guard() {
  while [ -e "$W/slot" ]; do
    if ! held "$W/alive" && [ -e "$W/slot" ]; then arm; fi
    sleep 0.2 2>/dev/null || sleep 1
  done
}
# hook: woken

# One flush for the starts of all steps; each becomes valid by its link, made just before its command runs.
set --
for one in $STEPS; do
  A=$D/${one%%:*} rest=${one#*:}
  line="run $BOOT $$ $began ${TOKEN:-0} ${rest%%:*}"
  printf '%s\n' "$line" >"$A/start.$$" || end nospace
  read -r back <"$A/start.$$"
  [ "$back" = "$line" ] || end nospace
  set -- "$@" "$A/start.$$" "$A"
done
fs "$@" "$D" || end nosync
# hook: staged
[ -z "$OF" ] || watch

for one in $STEPS; do
  name=${one%%:*} rest=${one#*:}
  limit=${rest%%:*} rest=${rest#*:}
  leaves=${rest%%:*} rest=${rest#*:}
  keep=${rest%%:*} rest=${rest#*:}
  work=${rest%%:*} rest=${rest#*:}
  within=${rest%%:*} hidden=${rest#*:}
  keep=${keep:+$K/runs/$keep.keep} keep=${keep:-$D/${name%.*}.keep}
  A=$D/$name
  [ ! -e "$S/stop" ] || end stopped
  exec 9>>"$A/alive"
  # A status call may hold the lock for a moment.
  tries=0
  until flock -n 9; do tries=$((tries + 1)); [ $tries -lt 20 ] || end claimed; nap; done
  # hook: locked
  [ ! -e "$A/start" ] || end claimed
  # Beside another attempt of the step nothing starts; after one, only when that has a result. An undo
  # follows an act whose result nobody knows: that is what it is for.
  for other in "$D/${name%.*}".*; do
    [ "$other" != "$A" ] && [ -e "$other/start" ] || continue
    read -r kind _ <"$other/start"
    [ "$kind" != void ] || continue
    if lives "$other"; then end still-runs; fi
    case ${name##*.}/${other##*.} in undo*/undo*) ;; undo*) continue ;; esac
    result "$other"
    case $RESULT in '' | lost) end earlier-open ;; esac
  done
  if [ -n "$within" ]; then
    # Its way back is armed before it starts, and durably.
    W=${S%.segment}-w.segment
    [ ! -e "$A/confirm" ] || end claimed
    # A restart that is meant has the step's own time for it; after any restart the time begins anew.
    wait=$within
    [ ! -e "$A/restarts" ] || wait=$((within + limit))
    read -r up _ </proc/uptime
    line="$BOOT $((${up%.*} + wait + 1)) $$ $began $within"
    printf '%s\n' "$line" >"$W/armed" || end nospace
    read -r back <"$W/armed"
    [ "$back" = "$line" ] || end nospace
    fs "$W/armed" "$W" || end nosync
    # A host that does not take it back once it is up is not restarted; any other step does without.
    if ! hook "$W" && { unhook "$W"; [ -e "$A/restarts" ]; }; then end unhooked; fi
    # hook: hooked
    arm
    # hook: armed
  fi
  # Both pipes are open at both ends before the start is claimed, so that nothing can fail after it.
  exec 3<>"$A/o"; exec 4<"$A/o" 5>"$A/o"; exec 3<>"$A/e"; exec 6<"$A/e" 8>"$A/e"; exec 3>&-
  exec 3>>"$K/mutex"
  read -r up _ </proc/uptime; give_up=$((${up%.*} + 10))
  until flock -n 3; do
    read -r up _ </proc/uptime; [ "${up%.*}" -le $give_up ] || end stuck
    nap
  done
  lease_run='' lease_token=''
  [ ! -e "$K/lease" ] || read -r lease_run lease_token _ <"$K/lease"
  # While an undo waits nobody else can have the lease: any token of the run is ours.
  [ "$lease_run" = "$RUN" ] && [ "$lease_token" = "${TOKEN:-$lease_token}" ] || end fenced
  # What an earlier run kept may have been removed by age.
  [ -d "$keep" ] || end keep-gone
  # hook: checked
  ln "$A/start.$$" "$A/start" 2>/dev/null || end claimed
  # hook: linked
  fs "$A" || end nosync
  exec 3>&-
  # hook: durable

  # From here on the step counts as "may have run".
  ( exec <&4 3>>"$A/out" >/dev/null 2>&1 4<&- 5>&- 6<&- 7>&- 8>&- 9>&-; drain out ) &
  ( exec <&6 3>>"$A/err" >/dev/null 2>&1 4<&- 5>&- 6<&- 7>&- 8>&- 9>&-; drain err ) &
  export LONGSHORE_STEP_DIR="$keep" LONGSHORE_RUN="$RUN"
  export LONGSHORE_STEP="${name%.*}" LONGSHORE_ATTEMPT="$name" LONGSHORE_WORK="$work"
  # hook: before-exec
  setsid sh "$S/supervise" "$A" "$UMASK" "$limit" "$GRACE" "$hidden" \
    </dev/null >&5 2>&8 4<&- 5>&- 6<&- 7>&- 8>&- &
  supervisor=$!
  exec 4<&- 5>&- 6<&- 8>&-
  tick
  # hook: after-exec
  # A signal ends `wait` early; asking once more than needed does no harm.
  woken=yes
  while [ -n "$woken" ]; do woken=''; wait $supervisor; done
  # hook: exited
  if [ -e "$A/slot" ]; then
    # The supervisor did not get to it: ended by our own KILL, or from outside.
    result "$A"
    if [ -n "$WHY" ]; then mv "$A/slot" "$A/killed.$WHY"; else mv "$A/slot" "$A/lost"; fi 2>/dev/null
    fs "$A"
  fi
  # hook: renamed
  exec 9>&-
  result "$A"
  if [ "$leaves" = no ]; then
    read -r up _ </proc/uptime; give_up=$((${up%.*} + GRACE + 1))
    while lives "$A"; do
      read -r up _ </proc/uptime
      if [ "${up%.*}" -ge $give_up ]; then
        [ -n "$WHY" ] || end lingering
        signal_holders KILL "$A/alive"
        stop_outside "$A"
        WHY=''
        give_up=$((give_up + 5))
      fi
      tick
      nap
    done
  fi
  printf '' >"$A/quiet"
  tick
  # hook: quiet
  [ -z "$within" ] || guard
  case $RESULT in rc.0 | unchanged) ;; *) end failed ;; esac
done
end finished
