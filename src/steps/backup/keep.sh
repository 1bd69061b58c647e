# Which proven copies may go: all but the newest of each of the last days, weeks and months that have one,
# the newest of all, and those of runs that are still open or can be taken back. Expects: to, name, daily, weekly, monthly, latest.
# Prints `keep FILE WHY` and `go FILE`, newest first. Copies without a receipt are neither counted nor touched.
# Whether a finished run changed data, so that taking it back puts its own copy back. The host keeps what a rollback needs for
# 30 days; a plan that was too long to be kept here may have changed some.
changed_data() {
  [ -f "$1" ] || return 1
  grep -q '"effect":"\(data\|irreversible\)"' "$1" || ! grep -q '"part":' "$1"
}
list_copies() {
  for sidecar in "$to/$name"-*.receipt; do
    [ -f "$sidecar" ] || continue
    copy=${sidecar%.receipt}
    stamp=$(sed -n 's/^stamp //p' "$sidecar")
    case $stamp in [0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]Z) ;; *) continue ;; esac
    [ -f "$copy" ] && [ "$(sed -n 's/^name //p' "$sidecar")" = "$name" ] || continue
    # A copy that is not as long as its receipt says is no copy to rely on, nor one to throw away unseen.
    [ "$(wc -c <"$copy" | tr -d ' \t')" = "$(sed -n 's/^size //p' "$sidecar")" ] || continue
    of=$(sed -n 's/^run //p' "$sidecar")
    needed=no
    if [ -n "${runs:-}" ] && [ -d "$runs/$of" ]; then
      if [ ! -e "$runs/$of/closed" ]; then needed=open
      elif changed_data "$runs/$of/manifest"; then needed=rollback
      fi
    fi
    printf '%s %s %s\n' "$stamp" "$needed" "${copy##*/}"
  done | sort -r
}
sort_out() {
  awk -v daily="$daily" -v weekly="$weekly" -v monthly="$monthly" -v latest="$latest" '
    # Days since 1970-01-01 of a date in the Gregorian calendar.
    function days(year, month, day) {
      if (month <= 2) { year -= 1; month += 12 }
      return 365 * year + int(year / 4) - int(year / 100) + int(year / 400) + int((153 * (month - 3) + 2) / 5) + day - 719469
    }
    {
      day = days(substr($1, 1, 4) + 0, substr($1, 5, 2) + 0, substr($1, 7, 2) + 0)
      # Weeks begin on Monday; the first of 1970 was a Thursday.
      week = int((day + 3) / 7)
      month = substr($1, 1, 6)
      why = ""
      if (NR == 1) why = "the newest"
      if (NR <= latest) why = "one of the latest"
      if (day != last_day && days_kept < daily) { days_kept++; why = why (why == "" ? "" : ", ") "of its day" }
      if (week != last_week && weeks_kept < weekly) { weeks_kept++; why = why (why == "" ? "" : ", ") "of its week" }
      if (month != last_month && months_kept < monthly) { months_kept++; why = why (why == "" ? "" : ", ") "of its month" }
      last_day = day; last_week = week; last_month = month
      if (why == "" && $2 == "open") why = "a run that is not closed may need it"
      if (why == "" && $2 == "rollback") why = "the rollback of its run would put it back"
      if (why == "") print "go " $3; else print "keep " $3 " " why
    }'
}
