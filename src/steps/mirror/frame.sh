# Copies what is new, and nothing else, unless it was said how much may be removed. How is said by functions that come before:
# present, measure, surplus, changed, carry, remove, compare.
# Expects: sources (one a line), to, excludes, changeable, removable (a number, or nothing), empty, record and name (or nothing).
run=${LONGSHORE_RUN:-by-hand}
stamp=$(date -u +%Y%m%dT%H%M%SZ)
printf '%s\n' "$excludes" | sed '/^$/d' >"$LONGSHORE_STEP_DIR/excludes"
printf '%s\n' "$sources" >"$LONGSHORE_STEP_DIR/sources"
: >"$LONGSHORE_STEP_DIR/goes"
present
files=0
bytes=0
removed=0
# Everything is looked at before anything is touched.
while read -r source; do
  base=${source##*/}
  measured=$(measure "$source") || die "$source cannot be read"
  [ "${measured%% *}" -gt 0 ] || [ "$empty" = yes ] ||
    die "$source holds no files: is what belongs there mounted?"
  files=$((files + ${measured%% *}))
  bytes=$((bytes + ${measured##* }))
  if [ "$changeable" = no ]; then
    : >"$LONGSHORE_STEP_DIR/differ"
    changed "$source" "$to/$base" "$LONGSHORE_STEP_DIR/differ" </dev/null || die "$to/$base cannot be compared"
    [ ! -s "$LONGSHORE_STEP_DIR/differ" ] || {
      sed 10q "$LONGSHORE_STEP_DIR/differ" >&2
      die "$(wc -l <"$LONGSHORE_STEP_DIR/differ" | tr -d ' ') files of $source are not what was copied once, and such files do not change"
    }
  fi
  if [ -n "$removable" ]; then
    : >"$LONGSHORE_STEP_DIR/surplus"
    surplus "$source" "$to/$base" "$LONGSHORE_STEP_DIR/surplus" </dev/null || die "$to/$base cannot be listed"
    sed "s,^,$base/," "$LONGSHORE_STEP_DIR/surplus" >>"$LONGSHORE_STEP_DIR/goes"
    removed=$((removed + $(wc -l <"$LONGSHORE_STEP_DIR/surplus")))
  fi
done <"$LONGSHORE_STEP_DIR/sources"
if [ -n "$removable" ] && [ "$removed" -gt "$removable" ]; then
  sed 10q "$LONGSHORE_STEP_DIR/goes" >&2
  die "$removed files would be removed from $to, more than $removable: nothing was done"
fi
while read -r source; do
  base=${source##*/}
  carry "$source" "$to/$base" </dev/null
  compare "$source" "$to/$base" </dev/null
done <"$LONGSHORE_STEP_DIR/sources"
if [ "$removed" -gt 0 ]; then
  while read -r path; do
    remove "$to" "$path" </dev/null || die "cannot remove $to/$path"
    note "removed $path, which is gone at the source"
  done <"$LONGSHORE_STEP_DIR/goes"
fi
proof="compared: $files files, $bytes bytes"
{
  printf 'source mirror\nname %s\nrun %s\nstamp %s\nid %s\nfiles %s\nsize %s\n' "$name" "$run" "$stamp" "$to" "$files" "$bytes"
  printf 'made %s\nverified %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$proof"
} >"$LONGSHORE_STEP_DIR/facts" || die 'cannot note what was copied: is the disk full?'
if [ -n "$record" ]; then
  mkdir -p -- "$record" || die "cannot make the folder $record"
  receipt=$record/$name-$stamp-$run.mirror.receipt
  cp -- "$LONGSHORE_STEP_DIR/facts" "$record/.$name.part" && mv -- "$record/.$name.part" "$receipt" ||
    die "cannot write the receipt below $record"
  sync
  # One a night is enough to see how it grew.
  set -- "$record/$name"-*.mirror.receipt
  while [ $# -gt 60 ]; do
    rm -f -- "$1"
    shift
  done
fi
sed 's/^/longshore-receipt /' "$LONGSHORE_STEP_DIR/facts"
printf 'longshore-receipt removed %s\n' "$removed"
note "$to has all of it: $files files, $bytes bytes"
