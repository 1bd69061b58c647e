# Files and folders of an archive. Expects: paths (one a line).
what=$(printf '%s' "$paths" | tr '\n' ' ')
list() {
  printf '%s\n' "$paths" | sed '/^$/d; s,\(.\)/*$,\1,' >"$LONGSHORE_STEP_DIR/places" || die 'cannot write into the folder of the step: is the disk full?'
}
kept="*_pre_$run beside each"
before() { printf '%s_pre_%s' "$1" "$run"; }
scratch() { printf '%s/.longshore-restore-%s' "$(dirname -- "$1")" "$run"; }
inside() { printf '%s' "$1" | sed 's,^/*,,'; }
# All are in place, and every one that was there before is kept.
there() {
  [ -f "${LONGSHORE_STEP_DIR:-/nowhere}/had" ] || return 1
  while read -r place; do
    [ -e "$place" ] && [ ! -e "$(scratch "$place")/$(inside "$place")" ] || return 1
    ! grep -qxF -- "$place" "$LONGSHORE_STEP_DIR/had" || [ -e "$(before "$place")" ] || return 1
  done <"$LONGSHORE_STEP_DIR/places"
}
idle() {
  list
  if [ ! -f "$LONGSHORE_STEP_DIR/had" ]; then
    while read -r place; do
      [ ! -e "$(before "$place")" ] || die "$(before "$place") is there already, and is not overwritten"
    done <"$LONGSHORE_STEP_DIR/places"
  fi
}
room() {
  opened | gzip -dc | wc -c | tr -d ' \t' >"$LONGSHORE_STEP_DIR/bytes"
  needed=$(cat "$LONGSHORE_STEP_DIR/bytes")
  while read -r place; do
    folder=$(dirname -- "$place")
    mkdir -p -- "$folder" || die "cannot make $folder"
    free=$(free_below "$folder")
    case $free in '' | *[!0-9]*) die "df does not say how much is free below $folder" ;; esac
    [ "$((needed / 1024 + 65536))" -le "$free" ] || die "not enough room for both below $folder: $free KiB free, $((needed / 1024)) KiB to restore"
  done <"$LONGSHORE_STEP_DIR/places"
}
load() {
  # Half way through the swap the old ones are away already: what was unpacked then is used.
  [ ! -f "$LONGSHORE_STEP_DIR/had" ] || return 0
  mend() {
    [ -f "$LONGSHORE_STEP_DIR/had" ] || while read -r place; do rm -rf -- "$(scratch "$place")"; done <"$LONGSHORE_STEP_DIR/places"
  }
  opened >"$LONGSHORE_STEP_DIR/archive" 2>/dev/null && gzip -t <"$LONGSHORE_STEP_DIR/archive" || { rm -f -- "$LONGSHORE_STEP_DIR/archive"; die "the copy $file cannot be read to its end"; }
  # Archives name their members from here, or from nowhere.
  case $(tar -tzf "$LONGSHORE_STEP_DIR/archive" | sed -n 1p) in ./*) prefix=./ ;; *) prefix= ;; esac
  while read -r place; do
    from=$(inside "$place")
    below=$(scratch "$place")
    [ -d "$below" ] || mkdir -- "$below" || die "cannot make $below to unpack into"
    rm -rf -- "${below:?}/$from"
    (cd -- "$below" && tar -xpzf - "$prefix$from") <"$LONGSHORE_STEP_DIR/archive" || die "$place cannot be unpacked from $file"
    [ -e "$below/$from" ] || die "$file does not hold $place"
  done <"$LONGSHORE_STEP_DIR/places"
  rm -f -- "$LONGSHORE_STEP_DIR/archive"
}
compare() {
  [ ! -f "$LONGSHORE_STEP_DIR/had" ] || return 0
  number=0
  while read -r place; do
    here=$(find "$(scratch "$place")/$(inside "$place")" ! -type d | wc -l | tr -d ' \t')
    number=$((number + here))
  done <"$LONGSHORE_STEP_DIR/places"
  [ "$number" -gt 0 ] || die 'the copy holds no files'
  printf 'longshore-receipt files %s\n' "$number"
}
swap() {
  if [ ! -f "$LONGSHORE_STEP_DIR/had" ]; then
    while read -r place; do
      if [ -e "$place" ] || [ -L "$place" ]; then printf '%s\n' "$place"; fi
    done <"$LONGSHORE_STEP_DIR/places" >"$LONGSHORE_STEP_DIR/had.part" || die 'cannot write into the folder of the step: is the disk full?'
    sync
    mv -- "$LONGSHORE_STEP_DIR/had.part" "$LONGSHORE_STEP_DIR/had" || die 'cannot write into the folder of the step'
  fi
  while read -r place; do
    ready=$(scratch "$place")/$(inside "$place")
    # It is in its place since an attempt before.
    [ -e "$ready" ] || [ -L "$ready" ] || continue
    if [ -e "$place" ] || [ -L "$place" ]; then
      [ ! -e "$(before "$place")" ] || die "$(before "$place") is there already, and is not overwritten"
      mv -- "$place" "$(before "$place")" || die "cannot keep $place as $(before "$place")"
    fi
    mv -- "$ready" "$place" || die "cannot move $ready to $place"
  done <"$LONGSHORE_STEP_DIR/places"
  while read -r place; do rm -rf -- "$(scratch "$place")"; done <"$LONGSHORE_STEP_DIR/places"
  [ -s "$LONGSHORE_STEP_DIR/had" ] || kept=
}
take_back() {
  list
  if [ ! -f "$LONGSHORE_STEP_DIR/had" ]; then
    while read -r place; do rm -rf -- "$(scratch "$place")"; done <"$LONGSHORE_STEP_DIR/places"
    note 'nothing was swapped'
    return 0
  fi
  while read -r place; do
    ready=$(scratch "$place")/$(inside "$place")
    # Not swapped yet, and the old one is where it was.
    if [ -e "$ready" ] && [ ! -e "$(before "$place")" ]; then rm -rf -- "$(scratch "$place")"; continue; fi
    if grep -qxF -- "$place" "$LONGSHORE_STEP_DIR/had"; then
      [ -e "$(before "$place")" ] || continue
      [ ! -e "$place" ] || mv -- "$place" "${place}_undone_$run" || die "cannot move $place aside"
      mv -- "$(before "$place")" "$place" || die "cannot move $(before "$place") back"
    elif [ -e "$place" ] && [ ! -e "${place}_undone_$run" ]; then
      mv -- "$place" "${place}_undone_$run" || die "cannot move $place aside"
    fi
    rm -rf -- "$(scratch "$place")"
  done <"$LONGSHORE_STEP_DIR/places"
  note "what was there before is back; what had been restored is kept as *_undone_$run"
}
