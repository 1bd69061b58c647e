# One database by pg_dump, in one transaction with the counting of its rows.
# Expects: database, scratch (yes or no), head (a query, or nothing), and client (runs a client program).
source=postgres
extension() { printf 'dump%s' "${sealed:+.$sealed}"; }
ask() { client psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
clean_up() {
  [ -z "${trial:-}" ] || client dropdb --if-exists "$trial" </dev/null >/dev/null 2>&1
}
estimate() { printf 'select pg_database_size(current_database())' | ask -d "$database" || die "cannot ask the database $database"; }
produce() {
  {
    printf '%s\n' 'begin isolation level repeatable read read only;'
    printf '%s\n' 'select pg_export_snapshot() as longshore_snapshot \gset' '\setenv LONGSHORE_SNAPSHOT :longshore_snapshot'
    # The dump goes out on standard output, everything else on standard error.
    printf '%s \\g |cat >&2\n' "$counts"
    [ -z "$head" ] || printf "select 'longshore-head ' || (%s) \\\\g |cat >&2\n" "$head"
    printf '\\! pg_dump --snapshot="$LONGSHORE_SNAPSHOT" --no-password -Fc %s && echo longshore-dumped >&2\n' "$connection"
    printf '%s\n' 'rollback;'
  } >"$LONGSHORE_STEP_DIR/session.sql" || die 'cannot write into the folder of the step: is the disk full?'
  ask -d "$database" <"$LONGSHORE_STEP_DIR/session.sql" >"$part" 2>"$LONGSHORE_STEP_DIR/said"
  status=$?
  sed '/^longshore-/d' "$LONGSHORE_STEP_DIR/said" >&2
  [ "$status" = 0 ] || die "psql ended with $status"
  grep -qx longshore-dumped "$LONGSHORE_STEP_DIR/said" || die 'pg_dump failed'
  sed -n 's/^longshore-row /row /p' "$LONGSHORE_STEP_DIR/said" >"$LONGSHORE_STEP_DIR/rows"
  cat "$LONGSHORE_STEP_DIR/rows" >>"$facts" || die 'cannot note the counts: is the disk full?'
  tables=$(wc -l <"$LONGSHORE_STEP_DIR/rows" | tr -d ' \t')
  rows=0
  # A name may have spaces; the number is last.
  while read -r line; do rows=$((rows + ${line##* })); done <"$LONGSHORE_STEP_DIR/rows"
  fact database "$database"
  fact tables "$tables"
  fact rows "$rows"
  if [ -n "$head" ]; then
    fact head "$(sed -n 's/^longshore-head //p' "$LONGSHORE_STEP_DIR/said")"
  fi
  [ "$tables" -gt 0 ] || [ "$empty" = yes ] || die "the database $database has no tables: is it the right one?"
}
prove() {
  client pg_restore -f /dev/null <"$part" || die 'the dump cannot be read to its end'
  proof='read to its end'
  [ "$scratch" = yes ] || return 0
  trial=longshore_scratch_$(printf '%s' "$stamp" | tr 'A-Z' 'a-z')_$$
  client createdb -T template0 "$trial" </dev/null || { trial=; die 'cannot make a scratch database to restore into'; }
  client pg_restore --no-owner --no-privileges --exit-on-error --single-transaction -d "$trial" <"$part" ||
    die 'the dump does not restore'
  printf '%s' "$counts" | ask -d "$trial" >"$LONGSHORE_STEP_DIR/counted" || die 'cannot count the rows of what was restored'
  sed -n 's/^longshore-row /row /p' "$LONGSHORE_STEP_DIR/counted" >"$LONGSHORE_STEP_DIR/restored"
  cmp -s "$LONGSHORE_STEP_DIR/rows" "$LONGSHORE_STEP_DIR/restored" || {
    diff "$LONGSHORE_STEP_DIR/rows" "$LONGSHORE_STEP_DIR/restored" >&2
    die 'what was restored has other numbers of rows than the database had'
  }
  client dropdb "$trial" </dev/null || note "the scratch database $trial is still there"
  trial=
  proof="restored into a scratch database: $rows rows in $tables tables, as in the source"
}
