# Follows what already runs. SEG is the segment; its follower before this one may still be there.
S=$D/$SEG.segment
[ -e "$D/manifest" ] || fail statelost "$D"
# A segment that never arrived is closed before it is called "not started": its launcher may only be late. It comes into
# place whole, as the launcher's does: of the two one is too late, and nobody finds half of it should this shell be killed.
if [ ! -d "$S" ]; then
  T=$D/staging.$SEG.$$
  made=$T/$SEG.segment
  { mkdir "$T" "$made" && printf '' >"$made/alive" && printf '' >"$made/end.gone"; } 2>/dev/null ||
    { rm -rf "$T"; fail nospace "$S"; }
  # hook: attach-staged
  mv "$made" "$D" 2>/dev/null || [ -d "$S" ] || { rm -rf "$T"; fail nospace "$S"; }
  rm -rf "$T"
fi
listen
# The wrapper may have died long ago: look at its lock in the first round already.
timed=yes
follow
