# Stages a segment and starts its wrapper. SEG is its id; WATCH that of the undo that waits for it, or nothing;
# the texts come through `put`, one call each.
#
# Everything is written beside the run under another name, flushed, and moved into place: an attempt's
# directory is there completely or not at all. One that is already there was staged by an earlier launch of
# the same attempt and stays as it is.
S=$D/$SEG.segment
T=$D/staging.$SEG.$$
[ -e "$D/manifest" ] || fail statelost "$D"
if [ -d "$S" ]; then again=yes; else again=no; fi
# Makes sure that what step $2 of the earlier run $1 kept is there, and makes its time begin anew.
need() {
  [ -d "$K/runs/$1/$2.keep" ] || fail keepgone "$K/runs/$1/$2.keep"
  [ ! -e "$K/runs/$1/closed" ] || touch "$K/runs/$1/closed"
}
# Ends the launch; nothing has run.
abandon() { rm -rf "$T"; fail "$1" "$D"; }
# Makes the directories, pipes and empty files of the segment and of the attempts named.
prepare() {
  [ $again = no ] || return 0
  mkdir "$T" 2>/dev/null || abandon nospace
  wanted='' made='' pipes='' keeps=''
  for name in $SEG $WATCH; do
    wanted="$wanted $name.segment" made="$made $T/$name.segment" pipes="$pipes $T/$name.segment/tick"
  done
  for name in "$@"; do
    keep=$D/${name%.*}.keep
    case " $keeps " in *" $keep "*) ;; *) [ -d "$keep" ] || keeps="$keeps $keep" ;; esac
    [ ! -d "$D/$name" ] || continue
    wanted="$wanted $name" made="$made $T/$name" pipes="$pipes $T/$name/o $T/$name/e"
  done
  # Another launch of the same step may make the same directory.
  { mkdir $made && mkfifo $pipes && { [ -z "$keeps" ] || mkdir -p $keeps; }; } 2>/dev/null || abandon nospace
  for name in $wanted; do
    for file in alive slot why out err; do
      { printf '' >"$T/$name/$file"; } 2>/dev/null || abandon nospace
    done
  done
  files='' lengths=''
}
# Writes the text $2 of $3 bytes into the file $1.
put() {
  [ -d "$T/${1%/*}" ] || return 0
  printf '%s' "$2" >"$T/$1" 2>/dev/null || abandon nospace
  files="$files $T/$1" lengths="$lengths $3"
}
# Puts all of it into place, and starts the wrapper unless that was done before.
start() {
  if [ $again = no ]; then
    # A full disk cuts a file short without a word.
    set -- $(wc -c $files)
    for length in $lengths; do
      [ "$1" = "$length" ] || abandon nospace
      shift 2
    done
    fs $files $made || abandon nosync
    # hook: launch-staged
    mv "$T"/* "$D" 2>/dev/null || for name in $wanted; do
      # Another launch of the same may have been faster.
      [ -e "$D/$name/alive" ] || abandon nospace
    done
    rm -rf "$T"
    # hook: launch-moved
  fi
  hear "$S/tick"
  exec 7>>"$S/alive"
  # A status call may hold the lock for a moment.
  tries=0
  until [ $again = yes ] || flock -n 7; do
    tries=$((tries + 1)); [ $tries -lt 20 ] || again=yes
    nap
  done
  # Without a slot somebody has concluded that this segment will not start any more.
  if [ $again = no ] && [ -e "$S/slot" ]; then
    say launched
    scope=''
    case $SCOPE in
      system) scope='systemd-run --quiet --scope --collect' ;;
      user) scope='systemd-run --user --quiet --scope --collect' ;;
    esac
    # What waits for a confirmation ignores TERM, and holds no restart up: it goes on when the host is back.
    [ -z "$scope" ] || [ -z "$WATCH" ] || scope="$scope --property=TimeoutStopSec=5s"
    $scope setsid sh "$S/wrapper" </dev/null >/dev/null 2>&1 8<&- &
    # hook: launch-started
  else
    say again
    listen
  fi
  exec 7>&-
}
# Writes the wrapper of segment $1: the comment $2, what only the host knows, and the rest $3. It is counted
# in bytes, as `wc` does; two texts of known length and the lines between them.
put_wrapper() {
  [ $again = no ] || return 0
  known="K=$K D=$D S=$D/$1.segment RUN=$RUN GRACE=$GRACE UMASK=$UMASK
"
  put "$1.segment/wrapper" "$2$known$3" $((${#known} + $4))
}
