# Makes one copy: checks, produces, proves, names. What is saved is said by four functions that come before:
# estimate (prints bytes), produce (writes $part), prove (fails, or sets $proof), extension (prints it).
# Expects: to, name, reserve, plausible, away; nothing but POSIX, and the source's own programs.
# Facts of this copy, for its sidecar and the receipt.
facts=$LONGSHORE_STEP_DIR/facts
fact() { printf '%s %s\n' "$1" "$2" >>"$facts" || die 'cannot note a fact of the copy: is the disk full?'; }
# The file system a path lies on.
volume_of() { df -Pk "$1" 2>/dev/null | sed -n '$s/ .*//p'; }

mkdir -p -- "$to" || die "cannot make the folder $to"
[ -d "$to" ] && [ -w "$to" ] || die "$to is not a folder that can be written"
to=$(cd -- "$to" && pwd -P) || die "cannot enter $to"
# A copy beside what it is a copy of goes with it.
if [ -n "$away" ]; then
  printf '%s\n' "$away" >"$LONGSHORE_STEP_DIR/away"
  while read -r place; do
    [ -n "$place" ] && [ -e "$place" ] || continue
    place=$(cd -- "$place" 2>/dev/null && pwd -P || printf '%s' "$place")
    case $to/ in "$place"/*) die "$to lies inside $place, which is what the copy is to survive" ;; esac
    [ "$apart" = no ] || [ "$(volume_of "$to")" != "$(volume_of "$place")" ] ||
      die "$to is on the same volume as $place ($(volume_of "$to")), and both would be lost together"
  done <"$LONGSHORE_STEP_DIR/away"
fi

needed=$(estimate) || exit 1
case $needed in '' | *[!0-9]*) die "cannot tell how much is to be saved: $needed" ;; esac
free=$(free_below "$to")
case $free in
'' | *[!0-9]*) die "df does not say how much is free below $to" ;;
esac
if [ "$((needed / 1024 + reserve / 1024))" -gt "$free" ]; then
  die "not enough room below $to: $free KiB free, $((needed / 1024)) KiB to save and $((reserve / 1024)) KiB to keep free"
fi

# The newest proven copy: names sort by time.
last=
for sidecar in "$to/$name"-*.receipt; do
  [ -f "$sidecar" ] && last=$sidecar
done

run=${LONGSHORE_RUN:-by-hand}
stamp=$(date -u +%Y%m%dT%H%M%SZ)
extension=$(extension)
copy=$name-$stamp-$run.$extension
part=$to/.$copy.part
final=$to/$copy
[ ! -e "$final" ] && [ ! -e "$final.receipt" ] || die "$final is there already"
rm -f -- "$facts"
# What another attempt of this step left half done is of no use to anyone.
[ ! -f "$LONGSHORE_STEP_DIR/part" ] || rm -f -- "$(cat "$LONGSHORE_STEP_DIR/part")"
printf '%s\n' "$part" >"$LONGSHORE_STEP_DIR/part" || die 'cannot write into the folder of the step: is the disk full?'
scrap() {
  rm -f -- "$part" "$part.receipt"
  clean_up
}
trap scrap EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

fact source "$source"
fact name "$name"
fact run "$run"
fact stamp "$stamp"
# Not in conditions, here and where they run commands of the product: `set -e` counts for nothing within one.
produce
ended=$?
[ "$ended" = 0 ] || exit 1
[ -s "$part" ] || die 'nothing was saved: the copy is empty'
sync
proof=
prove
ended=$?
[ "$ended" = 0 ] || exit 1
[ -n "$proof" ] || die 'the copy was not proven'
if [ -n "${sealed:-}" ]; then
  seal <"$part" >"$part.sealed" || { rm -f -- "$part.sealed"; die 'the copy could not be encrypted'; }
  [ -s "$part.sealed" ] || { rm -f -- "$part.sealed"; die 'the encrypted copy is empty'; }
  mv -f -- "$part.sealed" "$part" || die "cannot rename $part.sealed"
  sync
fi
size=$(bytes_of "$part")
if [ -n "$last" ] && [ "$plausible" -gt 0 ]; then
  before=$(sed -n 's/^size //p' "$last")
  case $before in '' | *[!0-9]*) before=0 ;; esac
  if [ "$((size * 100))" -lt "$((before * plausible))" ]; then
    die "the copy has $size bytes, less than $plausible% of the last one ($before bytes, ${last##*/}): look at the source, or say what is plausible"
  fi
fi
fact file "$final"
fact size "$size"
fact sha256 "$(sum_of "$part")"
fact made "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
fact verified "$proof"
cat "$facts" >"$part.receipt" || die "cannot write the receipt below $to: is the disk full?"
sync
# A copy counts only with its receipt, which comes last.
mv -- "$part" "$final" || die "cannot rename the copy to $final"
mv -- "$part.receipt" "$final.receipt" || die "cannot rename the receipt to $final.receipt"
sync
while read -r key value; do
  case $key in row) ;; *) printf 'longshore-receipt %s %s\n' "$key" "$value" ;; esac
done <"$facts"
note "saved $final ($size bytes): $proof"
