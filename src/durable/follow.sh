# Tells how the attempts of a segment go on, from the files alone: the wrapper never writes to a link.
# ATTEMPTS holds attempt:out:err:leaves-running, the numbers being the bytes already told.
#
# A tick in the pipe wakes it at once; a timer, never more than one under way, is there for output and
# for a wrapper that died. So a follower whose link is stuck cannot fill the pipe and stop the wrapper. The
# timer alone holds the writing end: should it be killed, the pipe ends and that wakes the follower, too.
armed=no PAUSE=0.1 timed=no TICKS=yes
# Takes the pipe $1 as descriptor 8, for reading only; opening that alone would wait for a writer.
hear() { exec 6<>"$1"; exec 8<"$1"; exec 6>&-; }
# Opens a pipe of this follower's own and has the wrapper tick there from now on. A shared one would let two
# followers read each other's timers; where there is no room for one, it polls.
listen() {
  if mkfifo "$S/tick.$$" 2>/dev/null; then
    hear "$S/tick.$$"
    mv "$S/tick.$$" "$S/tick"
  else
    TICKS=no
  fi
}
pause() {
  if [ $TICKS = no ]; then
    sleep $PAUSE 2>/dev/null || sleep 1
    timed=yes
    return
  fi
  if [ $armed = no ]; then
    exec 6<>/proc/self/fd/8
    ( exec </dev/null >/dev/null 2>&1 3<&- 4<&- 8<&-; sleep $PAUSE || sleep 1; printf 't\n' >&6 ) &
    exec 6>&-
    armed=yes
    case $PAUSE in 0.1) PAUSE=0.2 ;; 0.2) PAUSE=0.4 ;; *) PAUSE=1 ;; esac
  fi
  timed=no what=t
  read -r what <&8 || what=t
  if [ "$what" = t ]; then armed=no timed=yes; fi
}
# Hundredths of a second since the host was started.
clock() { read -r NOW _ </proc/uptime; NOW=${NOW%.*}${NOW#*.}; }
# Tells what is new in descriptor $3, the file of stream $2 of attempt $1.
relay() {
  read -r _ at <"/proc/self/fdinfo/$3"
  say "< $1 $2 $at"
  cat <&"$3"
  read -r _ to <"/proc/self/fdinfo/$3"
  printf '\n%s > %s\n' "$N" "$to"
  [ "$at" = "$to" ] || PAUSE=0.1
}
# Sets END to why the segment was over, or to nothing.
find_end() {
  END=''
  for entry in "$S"/end.*; do [ -e "$entry" ] && END=${entry##*/end.}; done
}
# Whether the segment's wrapper will start nothing more; END is why.
over() {
  find_end
  [ -n "$END" ] && return 0
  [ $timed = yes ] || return 1
  # Removed under a follower whose controller died: another one took the run to its end.
  [ -d "$S" ] || { END=gone; return 0; }
  # What a power cut left of a segment may lack its lock, or both slot and end: it is never waited for.
  { [ -e "$S/alive" ] || printf '' >>"$S/alive"; } 2>/dev/null || fail nospace "$S"
  exec 5<"$S/alive"
  if flock -n 5; then
    # The wrapper died, or never came. Concluded under its lock, so that a late launcher starts nothing.
    mv "$S/slot" "$S/end.gone" 2>/dev/null
    find_end
    if [ -z "$END" ]; then
      # Without a slot nothing starts; with one that cannot be taken away it could, once the disk can be written again.
      [ ! -e "$S/slot" ] || fail nospace "$S"
      END=gone
    fi
  fi
  exec 5<&-
  [ -n "$END" ]
}
# Follows attempt $1 to its end. $2, $3: where its streams were left; $4: whether it leaves a process behind.
follow_one() {
  A=$D/$1 started=no seen='' over_at='' RESULT=''
  while :; do
    # Asked first: what was not started when the segment was over never will be.
    if over; then is_over=yes; clock; over_at=${over_at:-$NOW}; else is_over=no; fi
    if [ $started = no ] && [ -e "$A/start" ]; then
      read -r kind _ _ _ _ LIMIT _ <"$A/start"
      if [ "$kind" = void ]; then say "ended $1 void - - -"; return; fi
      say "started $1"
      started=yes
      exec 3<"$A/out" 4<"$A/err"
      [ "$2" = 0 ] || dd bs="$2" count=1 <&3 >/dev/null 2>&1
      [ "$3" = 0 ] || dd bs="$3" count=1 <&4 >/dev/null 2>&1
    fi
    if [ $started = yes ]; then
      STATE=running
      result "$A"
      if [ -n "$RESULT" ]; then
        clock; seen=${seen:-$NOW}
        if { [ -e "$A/out.done" ] && [ -e "$A/err.done" ]; } || [ $((NOW - seen)) -ge 100 ]; then
          if [ "$RESULT" != lost ] && [ ! -e "$A/restarts" ] && { [ "$4" = yes ] || [ -e "$A/quiet" ]; }; then STATE=done
          elif [ $timed = yes ] || [ $is_over = yes ]; then judge "$A"; fi
        fi
      elif [ $is_over = yes ]; then judge "$A"
      fi
      case $STATE in
        running | orphaned | lingering)
          if [ $is_over = yes ]; then
            # Nothing waits for ever: the limit, what the watch may be late by, and the grace.
            patience=$((LIMIT + 15 + 2 * GRACE))
            case $RESULT in '' | lost) ;; *) patience=$GRACE ;; esac
            [ $((NOW - over_at)) -lt $((patience * 100)) ] || STATE=left
          fi ;;
      esac
      case $STATE in
        running | orphaned | lingering | restarting)
          if [ $timed = yes ]; then
            [ ! -s "$A/out" ] || relay "$1" out 3
            [ ! -s "$A/err" ] || relay "$1" err 4
          fi ;;
        *)
          [ ! -s "$A/out" ] || relay "$1" out 3
          [ ! -s "$A/err" ] || relay "$1" err 4
          exec 3<&- 4<&-
          for stream in out err; do
            [ -s "$A/$stream.tail" ] || continue
            say "< $1 $stream.tail 0"
            cat "$A/$stream.tail"
            printf '\n%s > -\n' "$N"
          done
          took='- -'
          [ ! -s "$A/took" ] || read -r took <"$A/took"
          say "ended $1 $STATE ${RESULT:--} $took"
          return ;;
      esac
    elif [ $is_over = yes ]; then
      # Started by somebody else in this very moment: the start will be seen.
      if [ ! -e "$A/start" ]; then say "ended $1 none $END - -"; return; fi
      continue
    fi
    pause
  done
}
follow() {
  for one in $ATTEMPTS; do
    name=${one%%:*} rest=${one#*:}
    from_out=${rest%%:*} rest=${rest#*:}
    follow_one "$name" "$from_out" "${rest%%:*}" "${rest#*:}"
  done
  case $END in fenced) read -r lease_run lease_token _ <"$K/lease" && say "fence $lease_run $lease_token" ;; esac
  say end
}
