# One SQLite file, complete under a writer. Expects: file, tables (names, one a line), head (a query, or nothing).
source=sqlite
extension() { printf 'db%s' "${sealed:+.$sealed}"; }
clean_up() { :; }
estimate() {
  [ -f "$file" ] || die "there is no database $file"
  # Without this sqlite3 would make an empty one, and call that a database.
  [ -s "$file" ] || die "the database $file is empty"
  command -v sqlite3 >/dev/null 2>&1 || die 'sqlite3 is not installed here'
  journal=0
  [ ! -f "$file-wal" ] || journal=$(bytes_of "$file-wal")
  printf '%s' "$(($(bytes_of "$file") + journal))"
}
produce() {
  rm -f -- "$part"
  # One reading transaction; the copy has no journal of its own, so opening it leaves nothing beside it.
  (cd -- "$to" && sqlite3 -readonly -bail "$file" '.timeout 60000' "vacuum into '${part##*/}'") || die 'sqlite3 failed'
  fact database "$file"
}
prove() {
  [ -s "$part" ] || die 'the copy is empty'
  said=$(sqlite3 -readonly "$part" 'pragma integrity_check' 2>&1) || die "the copy is damaged: $said"
  [ "$said" = ok ] || die "the copy is damaged: $said"
  sqlite3 -readonly -bail "$part" "select name from sqlite_master where type = 'table' and name not like 'sqlite\_%' escape '\' order by name" \
    >"$LONGSHORE_STEP_DIR/tables" || die 'the tables of the copy cannot be listed'
  [ -s "$LONGSHORE_STEP_DIR/tables" ] || [ "$empty" = yes ] || die "$file has no tables: is it the right one?"
  printf '%s\n' "$tables" >"$LONGSHORE_STEP_DIR/wanted"
  while read -r table; do
    [ -n "$table" ] || continue
    grep -qxF -- "$table" "$LONGSHORE_STEP_DIR/tables" || die "the copy has no table \`$table\`"
  done <"$LONGSHORE_STEP_DIR/wanted"
  rows=0
  number=0
  while read -r table; do
    quoted=$(printf '%s' "$table" | sed 's/"/""/g')
    count=$(sqlite3 -readonly -bail "$part" "select count(*) from \"$quoted\"") || die "the rows of \`$table\` cannot be counted"
    fact row "$table $count"
    rows=$((rows + count))
    number=$((number + 1))
  done <"$LONGSHORE_STEP_DIR/tables"
  fact tables "$number"
  fact rows "$rows"
  if [ -n "$head" ]; then
    said=$(sqlite3 -readonly -bail "$part" "$head") || die 'the migration head cannot be read from the copy'
    fact head "$said"
  fi
  proof="opened and checked: $rows rows in $number tables"
}
