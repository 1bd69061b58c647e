# A copy that lies elsewhere: a snapshot, a repository, a cloud. What is kept here is its id. Expects: save and check (they run it).
source=elsewhere
id=
extension() { printf 'id'; }
clean_up() { :; }
estimate() { printf 0; }
produce() {
  save </dev/null >"$LONGSHORE_STEP_DIR/said"
  ended=$?
  [ "$ended" = 0 ] || die "the command that saves ended with $ended"
  # The last line that says anything.
  id=$(sed -n '/[^ ]/h; ${ g; p; }' "$LONGSHORE_STEP_DIR/said")
  [ -n "$id" ] || die 'the command that saves did not print the id of what it made'
  [ "${#id}" -le 300 ] || die 'what the command that saves printed last is no id'
  printf '%s\n' "$id" >"$part" || die 'cannot note the id'
  fact id "$id"
}
prove() {
  LONGSHORE_BACKUP_ID=$id
  export LONGSHORE_BACKUP_ID
  check </dev/null
  ended=$?
  [ "$ended" = 0 ] || die "the command that checks the copy $id ended with $ended"
  proof="found complete by its own command: $id"
}
