# Stands at the head of every script sent to a host. Before it: N, this call's nonce; ROOT, the root
# of state or nothing; KEY, the install; RUN, the run; GRACE, seconds between TERM and KILL.
# An answer is a line that begins with N; whatever else a login prints is ignored.
UMASK=$(umask)
umask 077
if [ -z "$ROOT" ]; then
  if [ "$(id -u)" = 0 ]; then ROOT=/var/lib/longshore; else ROOT=$HOME/.local/state/longshore; fi
fi
K=$ROOT/$KEY
D=$K/runs/$RUN
say() { printf '%s %s\n' "$N" "$*"; }
# Ends the script with the reason why it could not do what was asked.
fail() { say fail "$@"; say end; exit 0; }
# Makes files and directories durable. A `sync` that knows no operands flushes everything; none fails for them.
fs() { sync "$@" 2>/dev/null; }
nap() { sleep 0.05 2>/dev/null || sleep 1; }
# Whole seconds since the host was started. Wall clocks are never compared.
uptime() { read -r UP _ </proc/uptime; UP=${UP%.*}; }
# Files are made by `printf ''`: where a redirection of `:` or `exec` fails, the whole shell ends.
# Takes the mutex as descriptor 8. It is never broken: a holder that does not let go is reported.
enter() {
  [ -e "$K/mutex" ] || { mkdir -p "$K" && printf '' >>"$K/mutex"; } 2>/dev/null || fail nospace "$K"
  exec 8>>"$K/mutex"
  uptime; give_up=$((UP + 11))
  until flock -n 8; do
    uptime; [ "$UP" -lt $give_up ] || fail stuck "$K/mutex"
    nap
  done
}
leave() { exec 8>&-; }
printf '\n'
# Paths stand in lists and in other scripts: an unusual one is refused instead of quoted in all these places.
case $ROOT in
  [!/]* | *[!A-Za-z0-9/._@+=,:~-]*) fail badroot "$ROOT" ;;
esac
