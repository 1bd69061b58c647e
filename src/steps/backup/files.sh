# Files and folders as one archive. Expects: paths and leave_out (one a line), wanted (patterns, one a line), changing, scratch.
source=files
extension() { printf 'tar.gz%s' "${sealed:+.$sealed}"; }
unpacked=
clean_up() { [ -z "$unpacked" ] || rm -rf -- "$unpacked"; }
estimate() {
  printf '%s\n' "$paths" >"$LONGSHORE_STEP_DIR/paths"
  kilobytes=0
  while read -r path; do
    [ -n "$path" ] || continue
    [ -e "$path" ] || die "there is no $path"
    here=$(du -sk -- "$path" 2>/dev/null | sed 's/[^0-9].*//')
    case $here in '' | *[!0-9]*) die "cannot tell the size of $path" ;; esac
    kilobytes=$((kilobytes + here))
  done <"$LONGSHORE_STEP_DIR/paths"
  printf '%s' "$((kilobytes * 1024))"
}
# The archive names everything from the root, so that it says where it belongs.
names() { sed -n 's,^/*\(.\),./\1,p' "$LONGSHORE_STEP_DIR/paths"; }
manifest() (
  cd -- "$1" || exit 1
  names | while read -r path; do
    [ -e "$path" ] || [ -L "$path" ] || continue
    find "$path" -type f -exec sh -c 'for f do if command -v sha256sum >/dev/null 2>&1; then sha256sum "$f"; else openssl dgst -sha256 -r "$f"; fi; done' sh {} +
  done | sort -k 2
)
produce() {
  printf '%s\n' "$leave_out" | sed '/^$/d' >"$LONGSHORE_STEP_DIR/leave-out"
  names >"$LONGSHORE_STEP_DIR/names"
  set --
  while read -r path; do set -- "$@" "$path"; done <"$LONGSHORE_STEP_DIR/names"
  # The tar of a small busybox has no patterns; it says so itself.
  if [ -s "$LONGSHORE_STEP_DIR/leave-out" ]; then set -- -X "$LONGSHORE_STEP_DIR/leave-out" "$@"; fi
  (cd / && tar -czf - "$@") >"$part" 2>"$LONGSHORE_STEP_DIR/said"
  status=$?
  sed "/Removing leading/d" "$LONGSHORE_STEP_DIR/said" >&2
  # GNU tar: 1 is a file that changed while it was read.
  if [ "$status" = 1 ] && [ "$changing" = yes ]; then
    note 'some files changed while they were read'
  elif [ "$status" != 0 ]; then
    die "tar ended with $status"
  fi
}
prove() {
  gzip -t <"$part" || die 'the archive cannot be read to its end'
  tar -tzf - <"$part" >"$LONGSHORE_STEP_DIR/list" || die 'the archive cannot be listed'
  number=$(grep -c '[^/]$' "$LONGSHORE_STEP_DIR/list")
  [ "$number" -gt 0 ] || [ "$empty" = yes ] || die 'the archive holds no files'
  printf '%s\n' "$wanted" >"$LONGSHORE_STEP_DIR/wanted"
  while read -r pattern; do
    [ -n "$pattern" ] || continue
    found=no
    while read -r member; do
      # shellcheck disable=SC2254 # it is a pattern
      case ${member##*/} in $pattern) found=yes; break ;; esac
    done <"$LONGSHORE_STEP_DIR/list"
    [ "$found" = yes ] || die "no file in the archive is named \`$pattern\`"
  done <"$LONGSHORE_STEP_DIR/wanted"
  printf '%s\n' "$settings" >"$LONGSHORE_STEP_DIR/settings"
  while read -r variable path; do
    [ -n "$variable" ] || continue
    tar -xzOf - -- ".$path" <"$part" 2>/dev/null | sed -n "s/^ *\(export  *\)\{0,1\}$variable=[\"']\{0,1\}[^\"' ].*/set/p" | grep -qx set ||
      die "$path does not set $variable in the archive, and nothing starts without it"
  done <"$LONGSHORE_STEP_DIR/settings"
  fact files "$number"
  proof="listed to its end: $number files"
  [ "$scratch" = yes ] || return 0
  unpacked=$to/.$copy.scratch
  mkdir -- "$unpacked" || die "cannot make $unpacked to unpack into"
  (cd -- "$unpacked" && tar -xzf -) <"$part" || die 'the archive does not unpack'
  manifest "$unpacked" >"$LONGSHORE_STEP_DIR/unpacked" || die 'what was unpacked cannot be summed'
  manifest / >"$LONGSHORE_STEP_DIR/there" || die 'the files cannot be summed'
  # What was left out, or came later, is only in the second list.
  missing=$(while read -r sum path; do
    grep -qxF -- "$sum  $path" "$LONGSHORE_STEP_DIR/there" || grep -qF -- "$sum *$path" "$LONGSHORE_STEP_DIR/there" || printf '%s\n' "$path"
  done <"$LONGSHORE_STEP_DIR/unpacked")
  if [ -n "$missing" ] && [ "$changing" != yes ]; then
    printf '%s\n' "$missing" | sed 10q >&2
    die 'files in the archive differ from those on the disk'
  fi
  rm -rf -- "$unpacked"
  unpacked=
  proof="unpacked and compared: $number files"
}
