# Takes what was put into its place out again, also when only part of it was.
[ -d "$to" ] || exit 0
cd "$to" || exit 1
if [ -d "$keep/made" ]; then
  (cd "$keep/made" && find . -type f) | while IFS= read -r path; do
    rm -f "$path" && rm -f "$keep/made/$path" || exit 1
    case ${path#./} in */*) rmdir -p "${path%/*}" 2>/dev/null ;; esac
  done || longshore_die "cannot take away what was brought to $to"
fi
if [ -d "$keep/before" ]; then
  (cd "$keep/before" && find . '(' -type f -o -type l ')' ! -name '*.part~') | while IFS= read -r path; do
    { [ -d "${path%/*}" ] || mkdir -p "${path%/*}"; } && mv -f "$keep/before/$path" "$path" || exit 1
  done || longshore_die "cannot put back what was in $to"
fi
rm -rf "$brought"
exit 0
