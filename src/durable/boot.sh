# Lets a host that restarts take a step back all the same: what watches it is started again when the host comes up.

# Sets HOOK to what starts programs of this user when the host comes up: `system` and `user` are units of systemd's, `openrc` its
# scripts, `crontab` a line of cron's; `none`. Only what runs now is believed to run then.
find_hook() {
  HOOK=none
  id=$(id -u) who=$(id -un)
  if [ -d /run/systemd/system ]; then
    if [ "$id" = 0 ]; then
      [ ! -w /etc/systemd/system ] || HOOK=system
    elif [ -e "/var/lib/systemd/linger/$who" ] && [ -w "$HOME" ]; then HOOK=user
    fi
  elif [ "$id" = 0 ] && [ -d /run/openrc ] && [ -w /etc/local.d ] && [ -e /etc/runlevels/default/local ]; then HOOK=openrc
  fi
  [ $HOOK = none ] && crontab=$(command -v crontab 2>/dev/null) || return 0
  # Not every build of busybox knows `@reboot`, and some have their tools within the shell.
  case $crontab:$(readlink -f "$crontab") in /*:*/busybox) return 0 ;; /*) ;; *) return 0 ;; esac
  for comm in /proc/[0-9]*/comm; do
    { read -r runs <"$comm"; } 2>/dev/null || continue
    case $runs in cron | crond | fcron) crontab_lines >/dev/null && HOOK=crontab; return 0 ;; esac
  done
}
# Prints this user's crontab. Fails where nobody can tell what is in it: a table that cannot be read is not replaced.
crontab_lines() {
  lines=$(LC_ALL=C crontab -l 2>/dev/null) && { printf '%s' "${lines:+$lines
}"; return 0; }
  case $(LC_ALL=C crontab -l 2>&1) in *'no crontab'*) return 0 ;; esac
  return 1
}
# Has the host start the wrapper in directory $1 again when it comes up. `unhook` beside it, written first, takes away
# whatever of that was made.
hook() {
  find_hook
  [ $HOOK != none ] || return 1
  segment=${1##*/} key=${K##*/}
  unit=longshore-${key%"${key#????????}"}-$RUN-${segment%.segment}
  quoted=$(printf '%s' "$PATH" | sed "s/'/'\\\\''/g")
  printf '%s\n' \
    "# Starts again what takes a step of run $RUN back, unless the step was confirmed." \
    "PATH='$quoted' HOME='$HOME'" 'export PATH HOME' \
    "[ -e $1/slot ] || exec sh $1/unhook" \
    "exec 7>>$1/alive" 'flock -n 7 || exit 0' \
    "exec sh $1/wrapper </dev/null >/dev/null 2>&1" >"$1/boot" || return 1
  files=''
  case $HOOK in
    system) units=/etc/systemd/system target=multi-user.target ;;
    user) units=$HOME/.config/systemd/user target=default.target ;;
    openrc) files=/etc/local.d/$unit.start ;;
  esac
  case $HOOK in system | user) files="$units/$unit.service $units/$target.wants/$unit.service" ;; esac
  {
    [ -z "$files" ] || printf 'rm -f %s\n' "$files"
    [ $HOOK != crontab ] || printf '%s\n' "exec 8>>${K%/*}/crontab" 'flock 8' \
      'lines=$(LC_ALL=C crontab -l 2>/dev/null)' "case \$lines in *$1/boot*)" \
      "  lines=\$(printf '%s\\n' \"\$lines\" | grep -vF $1/boot)" \
      "  if [ -n \"\$lines\" ]; then printf '%s\\n' \"\$lines\" | crontab -; else crontab -r; fi ;;" esac
    printf 'sync\nrm -f %s\n' "$1/boot $1/unhook"
  } >"$1/unhook" || return 1
  [ "$(wc -l <"$1/boot")" -eq 7 ] && [ -s "$1/unhook" ] && fs "$1/boot" "$1/unhook" "$1" || return 1
  # hook: hooking
  case $HOOK in
    system | user)
      mkdir -p "$units/$target.wants" && printf '%s\n' '[Unit]' \
        "Description=Takes a step of longshore's run $RUN back unless it is confirmed" "ConditionPathExists=$1/boot" \
        '[Service]' "ExecStart=/bin/sh $1/boot" 'KillMode=process' 'TimeoutStopSec=5s' \
        '[Install]' "WantedBy=$target" >"$units/$unit.service" &&
        chmod 644 "$units/$unit.service" && ln -sf "../$unit.service" "$units/$target.wants/$unit.service" &&
        fs "$units/$unit.service" "$units" "$units/$target.wants" ;;
    openrc)
      printf '%s\n' '#!/bin/sh' "setsid sh $1/boot </dev/null >/dev/null 2>&1 &" >"$files" &&
        chmod 755 "$files" && fs "$files" /etc/local.d ;;
    crontab)
      exec 3>>"${K%/*}/crontab"
      flock 3
      { crontab_lines >"$1/crontab" && printf '%s\n' "@reboot /bin/sh $1/boot" >>"$1/crontab" &&
        crontab - <"$1/crontab" && crontab -l | grep -qF "$1/boot"; } 2>/dev/null 3>&-
      made=$?
      exec 3>&-
      rm -f "$1/crontab"
      sync
      return $made ;;
  esac
}
