# Whatever a command of the product's own puts back from $LONGSHORE_BACKUP_FILE. Expects: put_back, verify, keeps (a text).
what='by its own command'
kept=$keeps
there() { return 1; }
idle() { :; }
room() { :; }
load() { :; }
compare() { :; }
swap() {
  LONGSHORE_BACKUP_FILE=$file
  export LONGSHORE_BACKUP_FILE
  # Not in a condition: `set -e` counts for nothing within one.
  put_back </dev/null
  ended=$?
  [ "$ended" = 0 ] || die "the command that restores ended with $ended"
  verify </dev/null
  ended=$?
  [ "$ended" = 0 ] || die "the command that checks what was restored ended with $ended"
}
