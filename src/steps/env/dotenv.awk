# Reads, checks and edits a dotenv file. Any POSIX awk; run in the C locale.
#
# From the environment: longshore_job is `look` (print what would change; exit 10 if anything),
# `edit` (print the new file) or `require` (print what is missing; exit 1 if anything);
# longshore_set, longshore_remove and longshore_require list keys; longshore_value_KEY is a value.
# Values are never printed except into the new file.

function fail(message) {
  print message > "/dev/stderr"
  failed = 3
  exit 3
}

# Finds the end of a quoted value that begins at the first character of `text`; 0 if it does not end.
# In double quotes a backslash protects the next character.
function closing(text, quote,    i, c, length_) {
  length_ = length(text)
  for (i = 2; i <= length_; i++) {
    c = substr(text, i, 1)
    if (c == "\\" && quote == "\"") i++
    else if (c == quote) return i
  }
  return 0
}

# Reads what stands between double quotes. `unsure` is set where not every reader sees the same value.
function unescape(text,    i, c, next_, value, length_) {
  value = ""
  length_ = length(text)
  for (i = 1; i <= length_; i++) {
    c = substr(text, i, 1)
    if (c == "\\") {
      next_ = substr(text, ++i, 1)
      if (next_ != "\\" && next_ != "\"" && next_ != "$") { unsure = 1; value = value c }
      value = value next_
    } else {
      if (c == "$" || c == "`") unsure = 1
      value = value c
    }
  }
  return value
}

# Writes a value so that Docker Compose and a shell read the same; "" with `unwritable` set if there is no such way.
function quoted(value,    i, c, text, length_) {
  # No backslash stands in a bracket expression here: readers of awk differ on what it means there.
  if (value ~ /^([A-Za-z0-9_.:@%+,=-]|\/)*$/) return value
  if (!index(value, "'") && !index(value, "\\")) return "'" value "'"
  if (value !~ /`/) {
    text = "\""
    length_ = length(value)
    for (i = 1; i <= length_; i++) {
      c = substr(value, i, 1)
      if (c == "\\" || c == "\"" || c == "$") text = text "\\"
      text = text c
    }
    return text "\""
  }
  # Compose takes a backslash before the closing quote for an escape.
  if (value !~ /'/ && value !~ /\\$/) return "'" value "'"
  unwritable = 1
  return ""
}

function parse(    i, first, rest, head, key, quote, at, tail) {
  for (i = 1; i <= lines; i++) {
    if (!match(line[i], /^[ \t]*(export[ \t]+)?[A-Za-z_][A-Za-z0-9_.-]*[ \t]*=/)) continue
    head = substr(line[i], 1, RLENGTH)
    rest = substr(line[i], RLENGTH + 1)
    key = head
    sub(/^[ \t]*/, "", key)
    sub(/^export[ \t]+/, "", key)
    sub(/[ \t]*=$/, "", key)
    sub(/^[ \t]+/, "", rest)
    first = i
    unsure = 0
    quote = substr(rest, 1, 1)
    if (quote == "\"" || quote == "'") {
      while (!(at = closing(rest, quote)) && i < lines) rest = rest "\n" line[++i]
      if (!at) fail("line " first ": the quote after `" key "` is not closed")
      tail = substr(rest, at + 1)
      rest = substr(rest, 2, at - 2)
      if (quote == "\"") rest = unescape(rest)
      else if (rest ~ /\\$/) unsure = 1
      if (tail !~ /^[ \t\r]*$/ && tail !~ /^[ \t]+#/) { unsure = 1; tail = "" }
    } else {
      tail = ""
      if (match(rest, /[ \t]+#/)) {
        tail = substr(rest, RSTART)
        rest = substr(rest, 1, RSTART - 1)
      } else if (rest ~ /^#/) {
        tail = " " rest
        rest = ""
      } else if (match(rest, /[ \t\r]+$/)) {
        rest = substr(rest, 1, RSTART - 1)
      }
      if (index(rest, "\\") || rest ~ /[$`'"~&|;<>() \t]/) unsure = 1
    }
    sub(/[ \t\r]+$/, "", tail)
    entries++
    entry_key[entries] = key
    entry_head[entries] = head
    entry_value[entries] = rest
    entry_unsure[entries] = unsure
    entry_tail[entries] = tail
    entry_last[entries] = i
    starts[first] = entries
    # The last one counts, for Compose and for a shell.
    last[key] = entries
  }
}

BEGIN { job = ENVIRON["longshore_job"] }

{ line[++lines] = $0 }

END {
  if (failed) exit failed
  parse()
  ending = (lines > 0 && line[1] ~ /\r$/) ? "\r" : ""

  changes = 0
  count = split(ENVIRON["longshore_set"], keys, " ")
  for (k = 1; k <= count; k++) {
    key = keys[k]
    value = ENVIRON["longshore_value_" key]
    e = last[key] + 0
    wanted[key] = value
    is_set[key] = 1
    if (e && !entry_unsure[e] && (entry_value[e] "") == (value "")) continue
    unwritable = 0
    text = quoted(value)
    if (unwritable) fail("the value of `" key "` cannot be written so that every reader sees the same: it holds both ' and `")
    written[key] = text
    if (e) edit[e] = 1
    else add[++added] = key
    changes++
    said = said (e ? "change " : "add ") key "\n"
  }
  count = split(ENVIRON["longshore_remove"], keys, " ")
  for (k = 1; k <= count; k++) {
    if (!(keys[k] in last)) continue
    gone[keys[k]] = 1
    changes++
    said = said "remove " keys[k] "\n"
  }

  if (job == "require") {
    missing = 0
    count = split(ENVIRON["longshore_require"], keys, " ")
    for (k = 1; k <= count; k++) {
      key = keys[k]
      if (is_set[key]) { empty = (wanted[key] == ""); there = 1 }
      else { there = (key in last) && !(key in gone); empty = there && entry_value[last[key]] == "" && !entry_unsure[last[key]] }
      if (!there) { print "missing: " key; missing = 1 }
      else if (empty) { print "empty: " key; missing = 1 }
    }
    exit missing
  }
  if (job == "look") {
    printf "%s", said
    exit (changes ? 10 : 0)
  }
  for (i = 1; i <= lines; i++) {
    e = starts[i] + 0
    if (!e) { print line[i]; continue }
    if (entry_key[e] in gone) { i = entry_last[e]; continue }
    if (e in edit) {
      print entry_head[e] written[entry_key[e]] entry_tail[e] ending
      i = entry_last[e]
      continue
    }
    for (; i < entry_last[e]; i++) print line[i]
    print line[i]
  }
  for (k = 1; k <= added; k++) print add[k] "=" written[add[k]] ending
}
