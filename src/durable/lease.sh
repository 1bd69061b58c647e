# The lease: one line, RUN TOKEN OWNER BOOT DEADLINE SINCE. TOKEN only grows; DEADLINE and SINCE are the host's
# uptime in seconds. Written under the mutex, by temporary file and rename.
read -r BOOT </proc/sys/kernel/random/boot_id
# Reads the lease into l_*; a host without one has token 0.
read_lease() {
  l_run=- l_token=0 l_owner=- l_boot=- l_deadline=0 l_since=0
  [ ! -e "$K/lease" ] || read -r l_run l_token l_owner l_boot l_deadline l_since <"$K/lease"
  case $l_token in '' | *[!0-9]*) fail damaged "$K/lease" ;; esac
  case $l_deadline in '' | *[!0-9]*) fail damaged "$K/lease" ;; esac
}
write_lease() {
  printf '%s\n' "$*" >"$K/lease.new" 2>/dev/null || fail nospace "$K"
  read -r back <"$K/lease.new"
  [ "$back" = "$*" ] || fail nospace "$K"
  fs "$K/lease.new" || fail nosync "$K"
  # hook: lease-written
  mv -f "$K/lease.new" "$K/lease" || fail nospace "$K"
  fs "$K" || fail nosync "$K"
}
# Whether anything of run $1 runs now: a lock of a segment or of an attempt is held, or work outside goes on.
running() {
  for lock in "$K/runs/$1"/*/alive; do lives "${lock%/alive}" && return 0; done
  return 1
}
# Whether the lease read is live for others than its own run. Sets FREE_IN, AGE and RUNS.
live() {
  FREE_IN=0 AGE=- RUNS=no
  [ "$l_run" != - ] || return 1
  uptime
  if [ "$l_boot" = "$BOOT" ]; then
    AGE=$((UP - l_since))
    [ "$UP" -ge "$l_deadline" ] || FREE_IN=$((l_deadline - UP))
  else
    # Its owner may have come back with the host: it has the whole term to say so. What the host itself is to take back
    # may begin later than that in a slow start.
    term=$TERM_SECONDS
    for hook in "$K/runs/$l_run"/*-w.segment/boot; do [ ! -e "$hook" ] || [ "$term" -ge 600 ] || term=600; done
    [ "$UP" -ge "$term" ] || FREE_IN=$((term - UP))
  fi
  running "$l_run" && RUNS=yes
  [ "$FREE_IN" -gt 0 ] || [ $RUNS = yes ]
}
acquire() {
  mkdir -p "$D" 2>/dev/null || fail nospace "$K"
  if [ ! -s "$ROOT/host-id" ]; then
    read -r id </proc/sys/kernel/random/uuid
    printf '%s\n' "$id" >"$ROOT/host-id.$$" 2>/dev/null || fail nospace "$ROOT"
    fs "$ROOT/host-id.$$"
    # The first of several wins.
    ln "$ROOT/host-id.$$" "$ROOT/host-id" 2>/dev/null
    rm -f "$ROOT/host-id.$$"
    fs "$ROOT"
  fi
  read -r host <"$ROOT/host-id"
  enter
  read_lease
  if [ "$l_run" != "$RUN" ] && live; then
    say "held $l_run $l_owner $AGE $FREE_IN $RUNS"
    # A run that never had the lease leaves nothing.
    rmdir "$D" 2>/dev/null
    say end
    exit 0
  fi
  for mark in "$D"/ended.* "$D"/closed; do
    [ -e "$mark" ] || continue
    # The host came to its end in this run. A ledger that does not know of it lost its latest events.
    [ "$MAY_PASS" = yes ] || {
      case $mark in */closed) mark=done ;; esac
      say "ended ${mark##*/ended.}"
      say end
      exit 0
    }
    case $mark in */ended.*) rm -f "$mark" ;; esac
  done
  if [ ! -e "$D/manifest" ]; then
    # A run that had a lease has a manifest: if it went, somebody took the state away.
    [ "$MAY_BEGIN" = yes ] || { rmdir "$D" 2>/dev/null; fail statelost "$D"; }
    printf '%s\n' "$MANIFEST" >"$D/manifest.new" 2>/dev/null || fail nospace "$K"
    [ "$(wc -c <"$D/manifest.new")" -eq "$MANIFEST_LENGTH" ] || fail nospace "$K"
    fs "$D/manifest.new" || fail nosync "$K"
    mv "$D/manifest.new" "$D/manifest" || fail nospace "$K"
    fs "$D" "$K/runs" "$K" "$ROOT" || fail nosync "$K"
  fi
  # A run that goes on is not closed any more.
  [ ! -e "$D/closed" ] || { rm -f "$D/closed" && fs "$D"; } || fail nosync "$K"
  uptime
  write_lease "$RUN $((l_token + 1)) $OWNER $BOOT $((UP + TERM_SECONDS)) $UP"
  leave
  say "lease $((l_token + 1)) $host"
}
# Goes on only while the lease is ours.
ours() {
  read_lease
  [ "$l_run" = "$RUN" ] && [ "$l_token" = "$TOKEN" ] && return 0
  say "gone $l_run $l_owner $l_token"
  say end
  exit 0
}
renew() {
  enter; ours; uptime
  write_lease "$RUN $TOKEN $OWNER $BOOT $((UP + TERM_SECONDS)) $l_since"
  leave
  say renewed
}
# The token stays behind, so that the next owner's is higher.
release() {
  enter; ours
  # A wrapper that has told its last step may need a moment to be gone.
  uptime; give_up=$((UP + 3))
  while running "$RUN"; do
    uptime; [ "$UP" -lt $give_up ] || fail stillruns "$RUN"
    nap
  done
  write_lease "- $TOKEN - - 0 0"
  leave
  say released
}
# Takes the lease from a run that will not come back; only what runs is stronger. With TAKE=no it is only asked whether it could.
unlock() {
  [ -e "$K/lease" ] || { say unlocked - -; return; }
  enter
  read_lease
  if [ "$l_run" != - ] && running "$l_run"; then fail stillruns "$l_run"; fi
  [ "$TAKE" = no ] || write_lease "- $((l_token + 1)) - - 0 0"
  leave
  say "unlocked $l_run $l_owner"
}
