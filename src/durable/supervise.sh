# Runs one step in a session of its own and records its result. Being the step's parent it knows the
# exit code whatever becomes of the wrapper; it also keeps the time limit.
# $1 the attempt's directory, $2 the step's umask, $3 its limit in seconds, $4 the grace, $5 the variables to hide,
# with commas.
A=$1 mask=$2 limit=$3 GRACE=$4 hidden=$5
stopped='' woken=''
trap 'stopped=yes woken=yes' TERM
trap 'woken=yes' INT HUP QUIT USR1 USR2
umask 077
read -r stat </proc/self/stat
set -- ${stat##*) }
printf '%s %s\n' $$ "${20}" >"$A/pid"
read -r began _ </proc/uptime
# hook: supervising

# The watch: TERM to the group at the limit, KILL after the grace. It looks up once in a while, so that
# it does not outlive a supervisor that was killed. It holds no lock.
(
  exec </dev/null >/dev/null 2>&1 9>&-
  nap='' over=''
  ready() { trap 'over=yes; [ -z "$nap" ] || kill "$nap"' TERM; }
  ready
  rest() {
    [ -z "$over" ] || exit 0
    sleep "$1" & nap=$!
    [ -z "$over" ] || kill "$nap"
    # Only a sleep that ended by itself lets time pass.
    wait "$nap" || exit 0
    nap=''
  }
  left=$limit slice=1
  while [ "$left" -gt 0 ]; do
    [ "$left" -gt $slice ] || slice=$left
    rest "$slice"; left=$((left - slice))
    [ $slice -ge 15 ] || slice=$((slice * 2))
    kill -0 $$ || { exec 5<"$A/alive"; flock -n -s 5 && exit 0; exec 5<&-; }
  done
  mv "$A/why" "$A/why.limit" || exit 0
  trap '' TERM
  kill -TERM -$$
  ready
  rest "$GRACE"
  # Who ignores TERM does not come to it.
  stop_outside "$A"
  kill -KILL -$$
) &
watch=$!

# The step sees only its own secrets.
IFS=,
for name in $hidden; do unset "$name"; done
unset IFS
# Runs the program $1 and sets `code`.
run() {
  ( umask "$mask"; exec sh "$1" ) & step=$!
  code=''
  while :; do
    woken=''
    wait "$step"; last=$?
    # 127 the second time says that the status was collected the first time.
    [ -n "$code" ] && [ $last -eq 127 ] && break
    code=$last
    # A signal to this shell ends `wait` early, with a code above 128: then it has to be asked again.
    [ -n "$woken" ] && [ $last -gt 128 ] || break
  done
}
verdict=''
if [ -e "$A/look" ]; then
  run "$A/look"
  case $code in 0) verdict=unchanged ;; 10) ;; *) verdict=look.$code ;; esac
  # A look that was cut says nothing, whatever its status.
  [ -z "$stopped" ] || verdict=look.143
fi
# hook: looked
if [ -z "$verdict" ]; then
  run "$A/act"
  verdict=rc.$code
fi
# hook: acted
read -r ended _ </proc/uptime
printf '%s %s\n' "$began" "$ended" >"$A/took"
for reason in limit cancel; do [ -e "$A/why.$reason" ] && verdict=killed.$reason; done
case $verdict in killed.*) stop_outside "$A" ;; esac
mv "$A/slot" "$A/$verdict"
# hook: recorded
sync "$A" 2>/dev/null
# Whoever of the session ignored TERM meets the KILL of the watch.
if [ $verdict = killed.limit ]; then
  for entry in /proc/[0-9]*; do
    { read -r stat <"$entry/stat"; } 2>/dev/null || continue
    set -- ${stat##*) }
    [ "$4" = $$ ] || continue
    case ${entry#/proc/} in $$ | "$watch") continue ;; esac
    [ "$2" = "$watch" ] || { wait "$watch"; break; }
  done
fi
kill -TERM "$watch" 2>/dev/null
exit 0
