# Does it. Each part may have been done before, when an attempt was cut off.
mend() { :; }
trap 'mend' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
if there; then
  note "$what was restored by this run already; $kept is what it had before"
  exit 0
fi
choose
idle
room
load
compare
swap
sync
printf 'longshore-receipt from %s\n' "$file"
[ -z "$made" ] || printf 'longshore-receipt made %s\n' "$made"
[ -z "$kept" ] || printf 'longshore-receipt kept %s\n' "$kept"
note "restored $what from $file${kept:+; what was there before is kept as $kept}"
