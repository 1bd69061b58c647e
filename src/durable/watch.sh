# Stands in the wrapper of an undo that waits for the attempt OF to be confirmed. Its start is staged and flushed
# already, so that a disk that fills up meanwhile does not hinder it.
#
# `armed` says until when, by the host's uptime, who was to start the attempt, and how long that is. Returns when the
# undo is to run. After a restart of the host the time begins anew: while it was away nobody could confirm anything.
watch() {
  A=$D/$OF
  read -r boot deadline parent parent_began within <"$S/armed"
  if [ "$boot" != "$BOOT" ]; then
    [ -e "$A/start" ] || end idle
    read -r up _ </proc/uptime
    deadline=$((${up%.*} + within + 1))
  fi
  printf '' >"$S/watching"
  # hook: watching
  while :; do
    if [ -e "$A/confirm" ]; then
      read -r verdict <"$A/confirm"
      [ "$verdict" != fired ] || break
      end confirmed
    fi
    read -r up _ </proc/uptime
    if [ -e "$A/start" ]; then
      # Fenced off, or started by another launch, which has a watcher of its own.
      read -r kind _ pid started _ <"$A/start"
      [ "$kind $pid $started" = "run $parent $parent_began" ] || end idle
      if [ "${up%.*}" -ge "$deadline" ]; then
        ln "$S/fired" "$A/confirm" 2>/dev/null
        fs "$A"
        # hook: fired
        continue
      fi
    elif ! parent_lives; then
      [ -e "$A/start" ] || end idle
    elif [ "${up%.*}" -ge "$deadline" ]; then
      # Whoever was to start it sleeps: it must not wake up to start it unwatched.
      ln "$S/void" "$A/start" 2>/dev/null
      fs "$A"
    fi
    sleep 0.2 2>/dev/null || sleep 1
  done
  stop_attempt "$A"
  # hook: watch-stopped
}
parent_lives() {
  { read -r stat <"/proc/$parent/stat"; } 2>/dev/null || return 1
  set -- ${stat##*) }
  case $1 in Z | X) return 1 ;; esac
  [ "${20}" = "$parent_began" ]
}
