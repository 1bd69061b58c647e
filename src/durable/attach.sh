# Follows what already runs. SEG is the segment; its follower before this one may still be there.
S=$D/$SEG.segment
[ -e "$D/manifest" ] || fail statelost "$D"
# A segment that never arrived is closed before it is called "not started": its launcher may only be late.
if mkdir "$S" 2>/dev/null; then
  { printf '' >"$S/alive" && printf '' >"$S/end.gone"; } 2>/dev/null || fail nospace "$S"
elif [ ! -d "$S" ]; then
  fail nospace "$S"
fi
listen
# The wrapper may have died long ago: look at its lock in the first round already.
timed=yes
follow
