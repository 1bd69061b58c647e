//! A file that a receipt is about: whether it is still what it was.

/// Compares a file with its receipt: name of the step, path, size, digest. What is not known is not compared,
/// but an empty file proves nothing.
pub const HOLDS: &str = r#"longshore_holds() {
  longshore_why=''
  if [ ! -f "$2" ]; then longshore_why='is not there any more'
  elif [ ! -s "$2" ]; then longshore_why='is empty'
  else
    if [ -n "$3" ]; then
      longshore_is=$(wc -c <"$2") && longshore_is=$((longshore_is)) || longshore_is=unknown
      [ "$longshore_is" = "$3" ] || longshore_why="has $longshore_is bytes, not $3"
    fi
    if [ -z "$longshore_why" ] && [ -n "$4" ]; then
      if command -v sha256sum >/dev/null 2>&1; then longshore_is=$(sha256sum <"$2")
      elif command -v shasum >/dev/null 2>&1; then longshore_is=$(shasum -a 256 <"$2")
      elif command -v openssl >/dev/null 2>&1; then longshore_is=$(openssl dgst -sha256 -r <"$2")
      else longshore_is='nothing here computes it'; fi
      [ "${longshore_is%% *}" = "$4" ] || longshore_why='is not the one that was verified: its sha256 differs'
    fi
  fi
  [ -z "$longshore_why" ] || {
    printf 'longshore-receipt refused the file %s of `%s` %s\n' "$2" "$1" "$longshore_why"
    exit 79
  }
}
"#;
