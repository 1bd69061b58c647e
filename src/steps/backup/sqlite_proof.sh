# What proves the copy of an SQLite file, whether it was just made or is about to be put back. Expects: tables (names that
# must be there, one a line), head (a query, or nothing).
# Dies unless the file $1 is sound and has those tables; leaves its tables in $LONGSHORE_STEP_DIR/tables.
sound() {
  [ -s "$1" ] || die 'the copy is empty'
  said=$(sqlite3 -readonly "$1" 'pragma integrity_check' 2>&1) || die "the copy is damaged: $said"
  [ "$said" = ok ] || die "the copy is damaged: $said"
  sqlite3 -readonly -bail "$1" "select name from sqlite_master where type = 'table' and name not like 'sqlite\_%' escape '\' order by name" \
    >"$LONGSHORE_STEP_DIR/tables" || die 'the tables of the copy cannot be listed'
  printf '%s\n' "$tables" >"$LONGSHORE_STEP_DIR/wanted"
  while read -r table; do
    [ -n "$table" ] || continue
    grep -qxF -- "$table" "$LONGSHORE_STEP_DIR/tables" || die "the copy has no table \`$table\`"
  done <"$LONGSHORE_STEP_DIR/wanted"
}
# Leaves `TABLE ROWS` for each table of the file $1 in $LONGSHORE_STEP_DIR/counts, and their sum in `rows`.
counted() {
  rows=0
  : >"$LONGSHORE_STEP_DIR/counts"
  while read -r table; do
    quoted=$(printf '%s' "$table" | sed 's/"/""/g')
    count=$(sqlite3 -readonly -bail "$1" "select count(*) from \"$quoted\"") || die "the rows of \`$table\` cannot be counted"
    printf '%s %s\n' "$table" "$count" >>"$LONGSHORE_STEP_DIR/counts" || die 'cannot note the rows: is the disk full?'
    rows=$((rows + count))
  done <"$LONGSHORE_STEP_DIR/tables"
}
head_of() { sqlite3 -readonly -bail "$1" "$head" || die 'the migration head of the copy cannot be read'; }
