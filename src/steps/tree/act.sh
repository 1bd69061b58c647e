# Puts what was brought into its place: each file by a rename, what was there kept for the undo.
[ -f "$brought/changed" ] || longshore_die 'nothing was brought to the host'
mkdir -p "$to" && cd "$to" || longshore_die "cannot make the folder $to"
if [ ! -e "$brought/verified" ]; then
  awk -F '\t' '$1 != "l" { print $2 "  " $3 }' "$brought/changed" >"$brought/sums" || exit 1
  if [ -s "$brought/sums" ] && command -v sha256sum >/dev/null 2>&1; then
    (cd "$brought/new" && sha256sum -c "$brought/sums" >/dev/null 2>&1) || longshore_die 'a file was damaged on its way'
  fi
  : >"$brought/verified" || exit 1
fi
# Once: a second attempt must not take its own work for the original.
longshore_keep() {
  [ ! -e "$keep/made/$1" ] && [ ! -e "$keep/before/$1" ] && [ ! -L "$keep/before/$1" ] || return 0
  if [ -e "./$1" ] || [ -L "./$1" ]; then
    if [ -d "./$1" ] && [ ! -L "./$1" ]; then longshore_die "$to/$1 is a folder"; fi
    longshore_parent "$keep/before/$1" && cp -RPp "./$1" "$keep/before/$1.part~" && mv -f "$keep/before/$1.part~" "$keep/before/$1"
  else
    longshore_parent "$keep/made/$1" && : >"$keep/made/$1"
  fi || longshore_die "cannot keep what the undo needs of $1"
}
longshore_parent() { [ -d "${1%/*}" ] || mkdir -p "${1%/*}"; }
count=0
while IFS="$tab" read -r kind rest path; do
  count=$((count + 1))
  [ -e "$brought/new/$path" ] || [ -L "$brought/new/$path" ] || continue
  longshore_keep "$path"
  longshore_parent "./$path" && mv -f "$brought/new/$path" "./$path" || longshore_die "cannot write $to/$path"
done <"$brought/changed"
gone=0
while IFS= read -r path; do
  case /$path/ in */../* | //*) continue ;; esac
  gone=$((gone + 1))
  [ -e "./$path" ] || [ -L "./$path" ] || continue
  longshore_keep "$path"
  rm -f "./$path" || longshore_die "cannot remove $to/$path"
  case $path in */*) rmdir -p "./${path%/*}" 2>/dev/null ;; esac
done <"$brought/gone"
longshore_keep .longshore-tree
awk -F '\t' '{ print $3 }' "$brought/wanted" >.longshore-tree.new && mv -f .longshore-tree.new .longshore-tree ||
  longshore_die "cannot write in $to"
sync 2>/dev/null
printf 'longshore-receipt path %s\n' "$to"
printf 'longshore-receipt changed %s\n' "$count"
printf 'longshore-receipt removed %s\n' "$gone"
exit 0
