# What the files of an attempt say. Used by every script that judges one.

# Whether the lock of file $1 is held. The shared lock taken to ask is gone at once.
held() {
  [ -e "$1" ] || return 1
  exec 5<"$1"
  if flock -n -s 5; then exec 5<&-; return 1; fi
  exec 5<&-
}
# Whether work that attempt directory $1 started outside of its processes lives: a container, a database session.
# Who cannot tell counts as living. Once all of it was quiet, nothing is asked any more.
outside_lives() {
  [ -e "$1/outside" ] && [ -e "$1/start" ] && [ ! -e "$1/quiet" ] || return 1
  ask_outside 10 "$1/outside"
  [ $? != 1 ]
}
stop_outside() {
  [ ! -e "$1/outside-stop" ] || ask_outside 30 "$1/outside-stop"
}
# Runs the program $2 for at most $1 seconds, out of reach of the signals meant for the step, without any lock.
ask_outside() {
  if command -v timeout >/dev/null 2>&1; then bound="timeout $1"; else bound=''; fi
  $bound sh "$2" </dev/null >/dev/null 2>&1 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-
}
# Whether anything of the attempt in directory $1 lives.
lives() { held "$1/alive" || outside_lives "$1"; }
# Sets RESULT to the name of the result in directory $1 and WHY to the reason of a stop; empty: none.
result() {
  RESULT='' WHY=''
  for entry in "$1"/*; do
    case ${entry##*/} in
      rc.* | look.* | unchanged | killed.* | lost | closed.*) RESULT=${entry##*/} ;;
      why.*) WHY=${entry##*/why.} ;;
    esac
  done
}
# Sets STATE for the attempt in directory $1: section 4 of the protocol. Result, lock, result again: a
# step that ends while it is asked about is asked again.
judge() {
  for pass in 1 2 3; do
    result "$1"; before=$RESULT
    HELD=no; if held "$1/alive"; then HELD=yes; fi
    result "$1"
    [ "$RESULT" = "$before" ] && break
  done
  kind=none boot='' pid='' began=''
  if [ -e "$1/start" ]; then kind=torn; read -r kind boot pid began rest <"$1/start"; fi
  read -r now </proc/sys/kernel/random/boot_id
  STATE=lost
  case $kind in
    none) STATE=none; [ $HELD = no ] || STATE=pending; return ;;
    void) STATE=void; return ;;
  esac
  if [ -e "$1/restarts" ] && [ $kind = run ] && judge_restart; then return; fi
  if [ $HELD = yes ]; then
    STATE=orphaned
    if [ -n "$RESULT" ]; then STATE=lingering
    elif { read -r stat <"/proc/$pid/stat"; } 2>/dev/null; then
      # The name may hold anything, blanks and brackets too: the fields count from the last bracket on.
      set -- "$1" ${stat##*) }
      shift
      case $1 in Z | X) ;; *) [ "${20}" != "$began" ] || STATE=running ;; esac
    fi
  elif case $RESULT in closed.*) false ;; *) outside_lives "$1" ;; esac; then STATE=lingering
  elif [ -n "$RESULT" ] && [ "$RESULT" != lost ]; then STATE=done
  elif [ "$boot" != "$now" ]; then STATE=rebooted
  elif [ -n "$WHY" ]; then STATE=done RESULT=killed.$WHY
  fi
}
# Sets STATE for an attempt that restarts the host, where its boot id or its time decides; the rest is judged as ever.
# Only another boot id than that of its start proves it. What ends its program well, or on the way down, proves nothing.
judge_restart() {
  case $RESULT in
    closed.*) return 1 ;;
    rc.0 | rc.129 | rc.1[345]? | lost) ordered=yes ;;
    *) ordered=no; [ -n "$RESULT" ] || [ $HELD = yes ] || ordered=yes ;;
  esac
  if [ "$boot" != "$now" ]; then STATE=done RESULT=restarted; return 0; fi
  [ $ordered = yes ] || return 1
  # It travels alone, so that its time began with its wrapper; a hundred of the kernel's ticks are a second.
  read -r up _ </proc/uptime
  if [ "${up%.*}" -le $((began / 100 + ${rest##* } + 1)) ]; then STATE=restarting; return 0; fi
  [ $HELD = no ] || return 1
  STATE=done RESULT=not-restarted
}
# Takes away what would start the segment in directory $1 again when the host comes up.
unhook() {
  [ ! -e "$1/unhook" ] || sh "$1/unhook" </dev/null >/dev/null 2>&1 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-
}
# Sends signal $1 to every process that holds the lock file $2 open: the way to what left its group.
signal_holders() {
  # The kernel names files without symbolic links.
  lock=$(cd "${2%/*}" && pwd -P)/${2##*/}
  ls -l /proc/[0-9]*/fd 2>/dev/null | {
    who='' past=' '
    while read -r line; do
      case $line in
        /proc/*/fd:) who=${line#/proc/}; who=${who%/fd:} ;;
        *" -> $lock")
          case $past in *" $who "*) ;; *) [ "$who" = $$ ] || kill -"$1" "$who" 2>/dev/null; past="$past$who " ;; esac ;;
      esac
    done
  }
}
# Stops what runs of the attempt in directory $1: TERM to its session, KILL to whatever holds its lock after the grace.
# Its work outside is stopped, too. Returns when nothing of it lives, or when patience has ended.
stop_attempt() {
  lives "$1" || return 0
  [ ! -e "$1/why" ] || mv "$1/why" "$1/why.cancel" 2>/dev/null
  group=''
  [ ! -s "$1/pid" ] || read -r group began <"$1/pid"
  if [ -n "$group" ] && { read -r stat <"/proc/$group/stat"; } 2>/dev/null; then
    # Only while the group is the one that was noted: numbers come back.
    set -- "$1" ${stat##*) }
    [ "${21}" != "$began" ] || kill -TERM -"$group" 2>/dev/null
  fi
  read -r up _ </proc/uptime; hard=$((${up%.*} + GRACE + 1)) give_up=$((${up%.*} + GRACE + 10))
  while held "$1/alive"; do
    read -r up _ </proc/uptime
    [ "${up%.*}" -le $give_up ] || break
    if [ "${up%.*}" -ge $hard ]; then signal_holders KILL "$1/alive"; fi
    nap
  done
  if outside_lives "$1"; then
    stop_outside "$1"
    read -r up _ </proc/uptime; give_up=$((${up%.*} + GRACE + 1))
    while outside_lives "$1"; do read -r up _ </proc/uptime; [ "${up%.*}" -lt $give_up ] || break; nap; done
  fi
}
