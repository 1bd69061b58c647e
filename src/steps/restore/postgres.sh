# One database. Expects: database, owners (yes or no), sessions (end or refuse), head (a query, or nothing), through,
# client (runs a client program) and server (runs any other program where the server is).
fresh=${database}_restore_$run
before=${database}_pre_$run
aside=${database}_undone_$run
what="database $database"
kept="database $before"
# The maintenance database: the others cannot be renamed from within.
ask() {
  client psql -X -q -A -t -v ON_ERROR_STOP=1 -v live="$database" -v fresh="$fresh" -v before="$before" -v aside="$aside" "$@"
}
is_there() { printf "select count(*) from pg_database where datname = :'one'" | ask -v one="$1" -d "$maintenance" || die 'cannot ask the server'; }
sessions_of() {
  printf "select count(*) from pg_stat_activity where datname = :'one' and backend_type = 'client backend'" |
    ask -v one="$1" -d "$maintenance" || die 'cannot ask the server who is connected'
}
there() {
  had=$(is_there "$before") || exit 1
  has=$(is_there "$database") || exit 1
  [ "$had" = 0 ] || [ "$has" = 0 ] || return 0
  return 1
}
idle() {
  live=$(is_there "$database") || exit 1
  if [ "$live" = 0 ]; then kept=; return 0; fi
  [ "$sessions" = refuse ] || return 0
  number=$(sessions_of "$database") || exit 1
  [ "$number" = 0 ] || die "$number sessions are connected to $database: stop what uses it, or say \`end-sessions = true\`"
}
room() {
  size=$(printf "select coalesce((select pg_database_size(datname) from pg_database where datname = :'live'), 0)" | ask -d "$maintenance") || size=
  folder=$(printf "show data_directory" | ask -d "$maintenance" 2>/dev/null) || folder=
  [ -n "$folder" ] && [ -n "$size" ] && [ -n "$local" ] || { note 'how much room the server has cannot be told from here'; return 0; }
  free=$(server df -Pk "$folder" 2>/dev/null | sed -n '$s/.* \([0-9][0-9]*\)  *[0-9][0-9]*% .*/\1/p')
  case $free in '' | *[!0-9]*) note 'how much room the server has cannot be told from here'; return 0 ;; esac
  [ "$((size / 1024 + 65536))" -le "$free" ] ||
    die "not enough room for both: $database has $((size / 1024)) KiB, $free KiB are free where the server keeps its data"
}
# The copy as the server's programs read it, whatever it is packed in.
magic() { opened | dd bs=5 count=1 2>/dev/null | od -An -tx1 | tr -d ' \n'; }
plain() { if [ "$packed" = yes ]; then opened | gzip -dc; else opened; fi; }
# Runs a reader behind the copy. A copy that cannot be read to its end must not look like a shorter one.
fed() {
  rm -f -- "$LONGSHORE_STEP_DIR/unread"
  { plain || : >"$LONGSHORE_STEP_DIR/unread"; } | "$@"
  status=$?
  # A reader that gave up is the reason itself.
  [ "$status" != 0 ] || [ ! -e "$LONGSHORE_STEP_DIR/unread" ] || die "the copy $file cannot be read to its end"
  return $status
}
drop_fresh() { client dropdb --if-exists --maintenance-db="$maintenance" "$fresh" </dev/null >/dev/null 2>&1; }
load() {
  packed=no
  shape=$(magic)
  case $shape in
  1f8b*)
    packed=yes
    shape=$(plain 2>/dev/null | dd bs=5 count=1 2>/dev/null | od -An -tx1 | tr -d ' \n')
    ;;
  esac
  drop_fresh || die "$fresh, left by an attempt before, cannot be dropped"
  made_here=yes
  mend() { [ -z "$made_here" ] || drop_fresh; }
  # Owner, encoding, settings and rights of the live one; the server's own defaults where there is none.
  {
    printf '%s\n' "select format('create database %I template template0 owner %I encoding %L lc_collate %L lc_ctype %L', :'fresh', pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype)" \
      "  || case when to_jsonb(d)->>'datlocprovider' = 'i' then format(' locale_provider icu icu_locale %L', coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale')) else '' end" \
      "  from pg_database d where datname = :'live'" \
      "union all select format('create database %I template template0', :'fresh') where not exists (select from pg_database where datname = :'live') \\gexec" \
      "select format('alter database %I set %I to %s', :'fresh', split_part(one, '=', 1), case when split_part(one, '=', 1) in ('search_path', 'temp_tablespaces', 'session_preload_libraries') then substr(one, strpos(one, '=') + 1) else quote_literal(substr(one, strpos(one, '=') + 1)) end)" \
      "  from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase, unnest(setconfig) one where setrole = 0 and datname = :'live' \\gexec" \
      "select format('revoke all on database %I from public', :'fresh') from pg_database where datname = :'live' and datacl is not null \\gexec" \
      "select format('grant %s on database %I to %s', privilege_type, :'fresh', case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end)" \
      "  from pg_database d, aclexplode(datacl) where datname = :'live' \\gexec"
  } | ask -d "$maintenance" >/dev/null || die "cannot make the database $fresh to restore into"
  case $shape in
  5047444d50)
    set -- --exit-on-error --single-transaction -d "$fresh"
    [ "$owners" = yes ] || set -- --no-owner --no-privileges "$@"
    fed client pg_restore "$@" || die 'the copy does not restore; the live database was not touched'
    ;;
  *)
    # A plain dump that was cut within a table restores without an error: its end is looked for.
    plain | tail -n 12 | grep -q '^-- PostgreSQL database dump complete' || die "the dump $file has no end: it was cut"
    fed ask -1 -o /dev/null -d "$fresh" || die 'the copy does not restore; the live database was not touched'
    ;;
  esac
}
compare() {
  printf '%s' "$counts" | ask -d "$fresh" >"$LONGSHORE_STEP_DIR/counted" || die 'cannot count the rows of what was restored'
  sed -n 's/^longshore-row /row /p' "$LONGSHORE_STEP_DIR/counted" >"$LONGSHORE_STEP_DIR/restored"
  rows=0
  tables=0
  while read -r line; do rows=$((rows + ${line##* })) tables=$((tables + 1)); done <"$LONGSHORE_STEP_DIR/restored"
  [ "$tables" -gt 0 ] || die 'the copy holds no tables'
  if [ -n "$(told rows)" ]; then
    sed -n '/^row /p' "$sidecar" >"$LONGSHORE_STEP_DIR/rows"
    cmp -s "$LONGSHORE_STEP_DIR/rows" "$LONGSHORE_STEP_DIR/restored" || {
      diff "$LONGSHORE_STEP_DIR/rows" "$LONGSHORE_STEP_DIR/restored" >&2
      die 'what was restored has other numbers of rows than the receipt says; the live database was not touched'
    }
  fi
  if [ -n "$head" ]; then
    said=$(printf '%s' "$head" | ask -d "$fresh") || die 'the migration head of what was restored cannot be read'
    [ -z "$(told head)" ] || [ "$said" = "$(told head)" ] ||
      die "what was restored has the migration head $said, its receipt says $(told head)"
    printf 'longshore-receipt head %s\n' "$said"
  fi
  printf 'longshore-receipt tables %s\nlongshore-receipt rows %s\n' "$tables" "$rows"
}
allow() { printf 'alter database :"one" with allow_connections %s' "$2" | ask -v one="$1" -d "$maintenance"; }
# Nobody may come in between; who is connected is asked again, or sent away.
shut() {
  reopen=$1
  mend() { [ -z "$reopen" ] || allow "$reopen" true; [ -z "$made_here" ] || drop_fresh; }
  allow "$1" false || die "cannot keep new sessions from $1"
  if [ "$sessions" = end ]; then
    printf "select pg_terminate_backend(pid) from pg_stat_activity where datname = :'one'" | ask -v one="$1" -d "$maintenance" >/dev/null ||
      die "cannot end the sessions of $1"
  fi
  tries=0
  while number=$(sessions_of "$1") && [ "$number" != 0 ]; do
    tries=$((tries + 1))
    [ "$sessions" = end ] && [ "$tries" -lt 50 ] || die "$number sessions are connected to $1: it was left as it was"
    sleep 0.2 2>/dev/null || sleep 1
  done
}
swap() {
  if [ "$live" = 0 ]; then
    printf 'alter database :"fresh" rename to :"live"' | ask -d "$maintenance" || die "cannot rename $fresh"
    made_here=
    return 0
  fi
  shut "$database"
  # Both or neither.
  printf '%s\n' 'begin;' 'alter database :"live" rename to :"before";' 'alter database :"fresh" rename to :"live";' 'commit;' |
    ask -d "$maintenance" || die "cannot swap $database and $fresh: $database was left as it was"
  made_here=
  reopen=
  allow "$before" true || note "$before still takes no connections"
}
take_back() {
  there || { drop_fresh; note 'nothing was swapped'; return 0; }
  made_here=
  shut "$database"
  printf '%s\n' 'begin;' 'alter database :"live" rename to :"aside";' 'alter database :"before" rename to :"live";' 'commit;' |
    ask -d "$maintenance" || die "cannot swap $before back"
  reopen=
  allow "$aside" true || note "$aside still takes no connections"
  note "$database is what it was; what had been restored is kept as database $aside"
}
