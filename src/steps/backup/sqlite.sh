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
  sound "$part"
  [ -s "$LONGSHORE_STEP_DIR/tables" ] || [ "$empty" = yes ] || die "$file has no tables: is it the right one?"
  counted "$part"
  number=0
  while IFS= read -r row; do
    fact row "$row"
    number=$((number + 1))
  done <"$LONGSHORE_STEP_DIR/counts"
  fact tables "$number"
  fact rows "$rows"
  if [ -n "$head" ]; then
    said=$(head_of "$part") || exit 1
    fact head "$said"
  fi
  proof="opened and checked: $rows rows in $number tables"
}
