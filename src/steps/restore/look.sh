if there; then exit 0; fi
printf 'would restore %s from %s\n' "$what" "${file:-${in:+the newest copy in $in}}"
exit 10
