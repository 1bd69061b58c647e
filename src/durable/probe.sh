# Finds out whether the host can keep steps safe from faults, and how. Answers `durable no REASON` at the
# first thing missing; ABLE is the verdict for the rest of the script. What it writes, it removes.
ABLE=no
cannot() { say "durable no $*"; rm -rf "$ROOT/probe.$$"; }
room() { set -- $(df -Pk "$ROOT" | { read -r _; read -r line; echo "$line"; }); ROOM=$4; }
# The type of the file system that holds directory $1: the longest mount point above it, the latest of equals.
filesystem() {
  TYPE=unknown longest=0
  while read -r _ point type _; do
    case $1/ in "${point%/}"/*) [ ${#point} -lt $longest ] || { longest=${#point}; TYPE=$type; } ;; esac
  done </proc/mounts
}
probe() {
  for tool in flock setsid mkfifo; do
    command -v $tool >/dev/null 2>&1 || { cannot "the host has no \`$tool\`"; return; }
  done
  for file in sys/kernel/random/boot_id sys/kernel/random/uuid uptime mounts self/stat self/fdinfo/0; do
    [ -r /proc/$file ] || { cannot "\`/proc/$file\` cannot be read"; return; }
  done
  for place in "${ROOT%/*/*}" "${ROOT%/*}" "$ROOT"; do
    case $place in "$HOME" | /var | '') continue ;; esac
    [ ! -L "$place" ] || { cannot "\`$place\` is a symbolic link"; return; }
  done
  mkdir -p "$ROOT" 2>/dev/null || { cannot "\`$ROOT\` cannot be made"; return; }
  set -- $(ls -ldn "$ROOT")
  [ "$3" = "$(id -u)" ] || { cannot "\`$ROOT\` belongs to another user (number $3)"; return; }
  case $1 in drwx------*) ;; *) chmod 700 "$ROOT" 2>/dev/null || { cannot "\`$ROOT\` is open to others"; return; } ;; esac
  filesystem "$ROOT"
  case $TYPE in
    nfs* | cifs | smb* | fuse* | 9p | tmpfs | ramfs | ceph | lustre | afs | glusterfs | virtiofs)
      if [ "$ANY_DISK" != yes ]; then cannot "\`$ROOT\` is on $TYPE, not on a local disk"; return; fi ;;
  esac
  room
  [ "${ROOM:-0}" -ge 16384 ] || { cannot "\`$ROOT\` has less than 16 MiB free"; return; }
  P=$ROOT/probe.$$
  mkdir "$P" 2>/dev/null && printf 'x\n' >"$P/a" 2>/dev/null || { cannot "\`$ROOT\` cannot be written"; return; }
  ln "$P/a" "$P/b" 2>/dev/null || { cannot "\`$ROOT\` has no hard links"; return; }
  if ln "$P/a" "$P/b" 2>/dev/null; then cannot "a hard link replaces what is there"; return; fi
  mkfifo "$P/o" 2>/dev/null || { cannot "\`$ROOT\` has no named pipes"; return; }
  fs "$P/a" "$P" || { cannot "the host's disk does not confirm what it writes"; return; }
  # A lock must pass to what a command starts: some shells close descriptors on the way.
  exec 9>>"$P/alive"
  flock -n 9 || { cannot '`flock` does not lock'; return; }
  setsid sleep 5 </dev/null >/dev/null 2>&1 &
  child=$!
  exec 9>&-
  if held "$P/alive"; then inherits=yes; else inherits=no; fi
  kill $child 2>/dev/null
  [ $inherits = yes ] || { cannot 'a command does not inherit locks from this shell'; return; }
  rm -rf "$P"
  # After a login ends, systemd may end all that the user runs, unless it runs in a scope of its own.
  scope=none ends=no
  if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
      systemd-run --quiet --scope --collect true </dev/null >/dev/null 2>&1 && scope=system
    else
      case $(loginctl show-user "$(id -un)" -p Linger 2>/dev/null) in
        *=yes) systemd-run --user --quiet --scope --collect true </dev/null >/dev/null 2>&1 && scope=user ;;
      esac
      case $(busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager \
        KillUserProcesses 2>/dev/null) in *true) [ $scope = user ] || ends=yes ;; esac
    fi
  fi
  if [ $ends = yes ]; then
    cannot "systemd ends this user's processes at logout; \`loginctl enable-linger\` prevents it"; return
  fi
  ABLE=yes
  say "durable yes $scope $TYPE $ROOM"
}
