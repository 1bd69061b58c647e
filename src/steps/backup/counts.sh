# Every table with its number of rows, in one statement, so in one snapshot.
counts="select format('longshore-row %s.%s %s', quote_ident(table_schema), quote_ident(table_name),
  (xpath('//c/text()', query_to_xml(format('select count(*) as c from %I.%I', table_schema, table_name), false, true, '')))[1])
  from information_schema.tables where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')
  order by 1"
