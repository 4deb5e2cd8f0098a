#!/usr/bin/env bash
# Prints what pairs of scripts/delta-pairs.sh cost by ropeway and by others.
#
#   scripts/delta-table.sh ROPEWAY DIR [NAME...]    a table in Markdown
#   scripts/delta-table.sh -c ROPEWAY DIR NAME...   quick: ropeway and rsync only; fails if a patch does not make
#                                                   the new tree, or takes more than a quarter of rsync's bytes
#
# Bytes of ropeway are those of the patch file, times included; rsync's are what it sent and received, from --stats,
# on a copy of the old tree. Directories are tar archives for tools that take files. What takes longer than 120 s is
# cut off (LIMIT sets another limit): "-". Times are CPU seconds of making.
set -euo pipefail
export LC_ALL=C.UTF-8
check=
[ "$1" != -c ] || { check=yes; shift; }
ropeway=$(realpath "$1")
cd "$2"
shift 2
[ $# -gt 0 ] || set -- */
tmp=$(mktemp -d "$PWD/.table.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
readonly limit=${LIMIT:-120}
failed=0

bytes() { # of rsync's --stats, both ways
  awk -F': ' '/^Total bytes (sent|received)/ { gsub(",", "", $2); n += $2 } END { print n + 0 }'
}

rsynced() { # OPTIONS
  rm -rf "$tmp/dst"
  cp -a "$old" "$tmp/dst"
  if [ -d "$new" ]; then
    rsync "$@" --no-whole-file --delete --stats "$new/" "$tmp/dst/" | bytes
  else
    rsync "$@" --no-whole-file --stats "$new" "$tmp/dst" | bytes
  fi
}

timed() { # SECONDS COMMAND...: its CPU seconds into $tmp/time; the size of $tmp/out, or -
  rm -f "$tmp/out"
  local most=$1
  shift
  if timeout "$most" bash -c 'TIMEFORMAT="%U %S"; time "$@"' - "$@" >/dev/null 2>"$tmp/time" && [ -s "$tmp/out" ]; then
    stat -c %s "$tmp/out"
  else
    echo -
  fi
}

cpu() { tail -n 1 "$tmp/time" | awk '{ printf "%.1f", $1 + $2 }'; }

human() { # bytes, rsync's bytes
  [ "$1" != - ] || { echo -; return; }
  awk -v n="$1" -v of="$2" 'BEGIN {
    s = n < 1e6 ? sprintf("%.1f KB", n / 1e3) : sprintf("%.2f MB", n / 1e6)
    printf "%s (%.3g)", s, n / of
  }'
}

flat() { # one file for a pair's side
  if [ -f "$1" ]; then echo "$1"; return; fi
  if [ "$(find "$1" -type f | wc -l)" = 1 ]; then find "$1" -type f; return; fi
  tar --sort=name --owner=0 --group=0 --mtime=@0 -cf "$2" -C "$1" .
  echo "$2"
}

if [ -z "$check" ]; then
  echo "| pair | new | ropeway | CPU s | rsync -az | rsync -azc | zstd -19 --patch-from | xdelta3 -9 | bsdiff |"
  echo "|---|---|---|---|---|---|---|---|---|"
fi
for name in "$@"; do
  name=${name%/}
  old=$PWD/$name/old new=$PWD/$name/new
  [ -e "$old" ] && [ -e "$new" ] || { echo "$name: not there" >&2; continue; }
  ours=$(timed 900 "$ropeway" patch make "$old" "$new" -o "$tmp/out")
  took=$(cpu)
  rm -rf "$tmp/made"
  if ! "$ropeway" patch apply -q "$old" "$tmp/out" -o "$tmp/made" || ! diff -rq --no-dereference "$new" "$tmp/made" >/dev/null; then
    echo "$name: the patch does not make the new tree" >&2
    failed=1
    continue
  fi
  rm -rf "$tmp/made"
  az=$(rsynced -az)
  if [ -n "$check" ]; then
    echo "$name: $ours bytes in $took s of CPU, rsync -az $az"
    [ $((ours * 4)) -le "$az" ] || { echo "$name: more than a quarter of rsync's bytes" >&2; failed=1; }
    continue
  fi
  azc=$(rsynced -azc)
  rm -rf "$tmp/dst"
  whole=$(du -sb "$new" | cut -f1)
  a=$(flat "$old" "$tmp/a") b=$(flat "$new" "$tmp/b")
  z=- x=- d=-
  ! command -v zstd >/dev/null || z=$(timed "$limit" zstd -q -f -19 --long=31 --patch-from="$a" "$b" -o "$tmp/out")
  ! command -v xdelta3 >/dev/null || x=$(timed "$limit" xdelta3 -q -f -e -9 -B "$(stat -c %s "$a" | awk '{ print ($1 < 16777216 ? 16777216 : ($1 > 2147483647 ? 2147483647 : $1)) }')" -s "$a" "$b" "$tmp/out")
  # bsdiff wants 17 times the old file in memory.
  if command -v bsdiff >/dev/null && [ "$(stat -c %s "$a")" -lt 200000000 ]; then d=$(timed "$limit" bsdiff "$a" "$b" "$tmp/out"); fi
  rm -f "$tmp/a" "$tmp/b"
  echo "| $name | $(human "$whole" "$az") | **$(human "$ours" "$az")** | $took | $(human "$az" "$az") | $(human "$azc" "$az") | $(human "$z" "$az") | $(human "$x" "$az") | $(human "$d" "$az") |"
done
exit $failed
