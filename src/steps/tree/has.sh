# Prints what the host has of the files of `$f/wanted`: `s DIGEST  PATH`, `x PATH` for those that run, `l TARGET<TAB>PATH`
# for links; and `o PATH` for what an earlier tree brought. Without a program for digests nothing counts as there.
cd "$to" 2>/dev/null || exit 0
tab=$(printf '\t')
if [ -f .longshore-tree ]; then sed 's/^/o /' .longshore-tree; fi
while IFS="$tab" read -r kind rest path; do
  if [ "$kind" = l ]; then
    if [ -L "./$path" ]; then printf 'l %s\t%s\n' "$(readlink "./$path")" "$path"; fi
  elif [ -f "./$path" ] && [ ! -L "./$path" ]; then
    printf '%s\n' "$path" >&3
    if [ -x "./$path" ]; then printf 'x %s\n' "$path"; fi
  fi
done <"$f/wanted" 3>"$f/there"
[ -s "$f/there" ] || exit 0
if command -v sha256sum >/dev/null 2>&1; then tr '\n' '\000' <"$f/there" | xargs -0 sha256sum -- 2>/dev/null
elif command -v shasum >/dev/null 2>&1; then tr '\n' '\000' <"$f/there" | xargs -0 shasum -a 256 -- 2>/dev/null
fi | sed 's/^/s /'
exit 0
