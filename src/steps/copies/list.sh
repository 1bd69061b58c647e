# Tells every copy of a name that has a receipt, oldest first. Changes nothing. Expects: in, name.
printf 'now %s\n' "$(date -u +%Y%m%dT%H%M%SZ)"
# No folder holds no copies; one that cannot be read may hold some.
[ -e "$in" ] || exit 0
[ -d "$in" ] && [ -r "$in" ] && [ -x "$in" ] || die "the folder $in cannot be read"
for sidecar in "$in/$name"-[0-9]*T[0-9]*Z-*.receipt; do
  [ -f "$sidecar" ] || continue
  [ -r "$sidecar" ] || die "$sidecar cannot be read"
  copy=${sidecar%.receipt}
  printf 'copy %s\n' "$copy"
  [ ! -f "$copy" ] || printf 'length %s\n' "$(bytes_of "$copy")"
  # How many rows each table has is for those who restore.
  sed -n '/^row /!s/^/fact /p' "$sidecar" | sed 40q
done
