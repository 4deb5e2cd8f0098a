#!/usr/bin/env bash
# ropeway beside rsync between two network namespaces joined by a 1 Gbit/s veth
# (tbf): wall time of a fresh copy, of 1 % changed, of nothing changed.
#
#   sudo scripts/bench-veth.sh [ROUNDS] [WORKDIR]
#
# Prints one line a cell: median seconds of each, and their ratio. Needs root,
# rsync, iproute2 and Go. It removes what it made.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
work=${2:-$(mktemp -d)}
mkdir -p "$work"
bin=$work/ropeway
export HOME=$work/home
mkdir -p "$HOME"
CGO_ENABLED=0 go build -o "$bin" ./cmd/ropeway

a=rwbench-a b=rwbench-b
finish() {
  ip netns pids $a 2>/dev/null | xargs -r kill 2>/dev/null || true
  ip netns del $a 2>/dev/null || true
  ip netns del $b 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
ip netns add $a; ip netns add $b
ip link add va netns $a type veth peer name vb netns $b
for side in a b; do
  ns=rwbench-$side
  ip -n $ns addr add 10.99.0.$([ $side = a ] && echo 1 || echo 2)/24 dev v$side
  ip -n $ns link set v$side up
  ip -n $ns link set lo up
  tc -n $ns qdisc add dev v$side root tbf rate 1gbit burst 256kb latency 50ms
done

make_small() { # DIR COUNT
  awk -v n="$2" -v root="$1" 'BEGIN {
    srand(1)
    for (i = 0; i < n; i++) {
      d = sprintf("%s/d%02d/e%02d", root, int(i / 100) % 100, int(i / 10000))
      if (i % 100 == 0) system("mkdir -p " d)
      f = d "/f" i ".txt"; size = int(rand() * 5) * 800 + 100; s = ""
      while (length(s) < size) s = s sprintf("%06x line of text %d\n", rand() * 16777216, i % 97)
      printf "%s", s > f; close(f)
    }
  }'
}
change() { # KIND DIR ROUND: one percent
  case $1 in
    big) dd if=/dev/urandom of="$2/big" bs=1M count=10 seek=$((17 * $3)) conv=notrunc status=none ;;
    jar) dd if=/dev/urandom of="$2/app.jar" bs=64k count=9 seek=$((31 * $3)) conv=notrunc status=none ;;
    small) find "$2" -name "*$((10 + $3)).txt" -exec sh -c 'for f; do echo changed >> "$f"; done' sh {} + ;;
  esac
}
now() { date +%s.%N; }
timed() { # prints seconds
  local t0; t0=$(now)
  "$@" >/dev/null
  awk -v a="$t0" -v b="$(now)" 'BEGIN { printf "%.3f\n", b - a }'
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

cat >"$work/rsyncd.conf" <<CONF
use chroot = no
[src]
path = $work/src
read only = yes
CONF

for kind in ${KINDS:-big jar small}; do
  rm -rf "$work/src"; mkdir -p "$work/src"
  case $kind in
    big) head -c 1000000000 /dev/urandom >"$work/src/big" ;;
    jar) head -c 60606801 /dev/urandom >"$work/src/app.jar" ;;
    small) make_small "$work/src" 100000 ;;
  esac
  ip netns exec $a rsync --daemon --no-detach --address=10.99.0.1 --port=8730 --config="$work/rsyncd.conf" & daemon=$!
  rm -f "$work/url"
  ip netns exec $a "$bin" serve "$work/src" --listen 10.99.0.1:8873 --state-dir "$work/state-$kind" --ready-file "$work/url" 2>/dev/null & server=$!
  until [ -s "$work/url" ]; do sleep 0.1; done
  url=$(cat "$work/url")
  pull_rsync() { ip netns exec $b rsync -a rsync://10.99.0.1:8730/src/ "$work/dst-rsync/"; }
  pull_ropeway() { ip netns exec $b "$bin" sync -aq "$url" "$work/dst-ropeway"; }
  : >"$work/times"
  for ((r = 1; r <= rounds; r++)); do
    rm -rf "$work/dst-rsync" "$work/dst-ropeway"; sync
    for step in fresh changed unchanged; do
      [ $step != changed ] || { change $kind "$work/src" "$r"; sleep 1; }
      for tool in rsync ropeway; do
        sync
        echo "$step $tool $(timed pull_$tool)" >>"$work/times"
      done
    done
    diff -r --exclude=.ropeway "$work/src" "$work/dst-ropeway" >/dev/null || echo "$kind: DIFFERENT after round $r"
  done
  kill $daemon $server 2>/dev/null || true
  wait $daemon $server 2>/dev/null || true
  for step in fresh changed unchanged; do
    x=$(awk -v s=$step '$1 == s && $2 == "rsync" { print $3 }' "$work/times" | median)
    y=$(awk -v s=$step '$1 == s && $2 == "ropeway" { print $3 }' "$work/times" | median)
    awk -v k=$kind -v s=$step -v x="$x" -v y="$y" 'BEGIN { printf "%-6s %-10s rsync %8.3f s   ropeway %8.3f s   ratio %.2f\n", k, s, x, y, y / x }'
  done
done
