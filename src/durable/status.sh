# Says what the host knows of the attempts in ATTEMPTS.
read -r host <"$ROOT/host-id" 2>/dev/null || host=-
if [ -e "$D/closed" ]; then say "host $host closed"
elif [ -e "$D/manifest" ]; then say "host $host known"
else say "host $host unknown"; fi
queued=' '
for segment in "$D"/*.segment; do
  [ -e "$segment/slot" ] || continue
  # A segment's lock is asked first: while it is held, what has not started is queued.
  if held "$segment/alive"; then
    live=${segment##*/}
    say "segment ${live%.segment}"
    # The wrapper's first line is a comment that names its attempts.
    read -r _ names <"$segment/wrapper"
    queued="$queued$names "
  fi
done
for name in $ATTEMPTS; do
  judge "$D/$name"
  if [ $STATE = none ]; then case $queued in *" $name "*) STATE=queued ;; esac; fi
  took='- -'
  [ ! -s "$D/$name/took" ] || read -r took <"$D/$name/took"
  say "state $name $STATE ${RESULT:--} $took"
done
say end
