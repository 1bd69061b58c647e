# What the programs that save and those that restore have in common.
set -u
LC_ALL=C
export LC_ALL
umask 077
die() {
  printf '%s\n' "$*" >&2
  exit 1
}
note() { printf '%s\n' "$*"; }
bytes_of() { wc -c <"$1" | tr -d ' \t'; }
sum_of() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum <"$1"
  elif command -v shasum >/dev/null 2>&1; then shasum -a 256 <"$1"
  else openssl dgst -sha256 -r <"$1"
  fi | cut -d' ' -f1
}
# Kilobytes that an ordinary user can still write below a folder.
free_below() { df -Pk "$1" 2>/dev/null | sed -n '$s/.* \([0-9][0-9]*\)  *[0-9][0-9]*% .*/\1/p'; }
