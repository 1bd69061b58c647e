# Whatever a command of the product's own saves into $LONGSHORE_BACKUP_FILE. Expects: save and check (they run it), suffix.
source=command
extension() { printf '%s%s' "$suffix" "${sealed:+.$sealed}"; }
clean_up() { :; }
estimate() { printf '%s' "$expected"; }
produce() {
  LONGSHORE_BACKUP_FILE=$part
  export LONGSHORE_BACKUP_FILE
  save </dev/null
  ended=$?
  [ "$ended" = 0 ] || die "the command that saves ended with $ended"
}
prove() {
  check </dev/null
  ended=$?
  [ "$ended" = 0 ] || die "the command that checks the copy ended with $ended"
  proof='by its own command'
}
