# Puts one copy back: chooses and checks it, loads it beside what is live, compares, swaps by renaming. How is said by
# functions that come before: there (is what this run replaced kept already, and the restored in its place?), idle (dies
# while something uses what is live), room, load, compare, swap.
# Expects: file, or in, name and until; unproven (a reason, or nothing).
run=${LONGSHORE_RUN:-by-hand}
# The newest copy with a receipt that is not later than `until`, `20261113T235959Z` or nothing.
newest() {
  found=
  for sidecar in "$in/$name"-[0-9]*T[0-9]*Z-*.receipt; do
    [ -f "$sidecar" ] || continue
    stamp=${sidecar##*/"$name"-}
    stamp=${stamp%%-*}
    [ -z "$until" ] || ! expr "$stamp" '>' "$until" >/dev/null || continue
    found=${sidecar%.receipt}
  done
  [ -n "$found" ] || die "no copy named $name-* with a receipt lies in $in${until:+, made by $until}"
  file=$found
}
choose() {
  if [ -n "$in" ]; then newest
  elif [ -z "$file" ]; then file=${LONGSHORE_RECEIPT_FILE:-}
  fi
  [ -n "$file" ] || die 'no copy is named: neither `from` nor `latest` nor a receipt that is required'
  [ -f "$file" ] || die "there is no copy $file"
  [ -s "$file" ] || die "the copy $file is empty"
  sidecar=$file.receipt
  proof=
  if [ -f "$sidecar" ]; then
    proof=$(sed -n 's/^verified //p' "$sidecar")
    is=$(bytes_of "$file")
    was=$(sed -n 's/^size //p' "$sidecar")
    [ "$is" = "$was" ] || die "the copy $file has $is bytes, not $was as its receipt says"
    is=$(sum_of "$file")
    was=$(sed -n 's/^sha256 //p' "$sidecar")
    [ "$is" = "$was" ] || die "the copy $file is not the one that was proven: its sha256 differs"
    made=$(sed -n 's/^made //p' "$sidecar")
  else
    sidecar=
    made=
    # The receipt that the step requires was compared with the file right before this.
    [ "$file" != "${LONGSHORE_RECEIPT_FILE:-}" ] || proof=${LONGSHORE_RECEIPT_VERIFIED:-}
  fi
  [ -n "$proof" ] || [ -n "$unproven" ] || die "nobody proved the copy $file: there is no receipt beside it"
}
# What the receipt says of one fact; nothing where there is none.
told() { [ -z "$sidecar" ] || sed -n "s/^$1 //p" "$sidecar"; }
