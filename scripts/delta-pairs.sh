#!/usr/bin/env bash
# Builds pairs of releases, NAME/old and NAME/new, from public registries: what
# docs/delta.md is measured on.
#
#   scripts/delta-pairs.sh DIR                 all pairs: 10 to 20 minutes, 4 GB
#   scripts/delta-pairs.sh DIR small           those of the quick form: a minute
#   scripts/delta-pairs.sh DIR NAME...         only these
#
# Needs curl, tar and python3; go for the Go binaries, npm for node_modules, and
# Debian's apt-get and dpkg-deb, with the security archive, for the packages
# and the jars. A pair that cannot be built here is left out, with a line that
# says why. Pairs that are there already are kept.
set -euo pipefail
export LC_ALL=C.UTF-8 TZ=UTC
dir=$(mkdir -p "$1" && cd "$1" && pwd)
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly small='jar-small uber-small tree-small sqlite-small text-small'
readonly large='fatjar-daily fatjar uber-ts uber-shuffled node_modules next typescript small50k nats nats-stripped caddy-stripped postgresql openjdk src-tar src-targz sqlite'
readonly registry=https://registry.npmjs.org

# once NAME COMMAND: runs COMMAND in a new directory, which becomes NAME.
once() {
  local name=$1
  shift
  [ ! -e "$dir/$name" ] || return 0
  rm -rf "$dir/.new-$name"
  mkdir -p "$dir/.new-$name"
  if (cd "$dir/.new-$name" && "$@") >"$dir/$name.log" 2>&1; then
    mv "$dir/.new-$name" "$dir/$name"
    rm -f "$dir/$name.log"
  else
    rm -rf "$dir/.new-$name"
    echo "$name: left out: $(tail -n 1 "$dir/$name.log")" >&2
    return 1
  fi
}

gen() { python3 "$here/delta_pairs.py" "$@"; }

# deb DEST PACKAGE=VERSION...: unpacks Debian packages.
deb() {
  local dest=$1 p
  shift
  mkdir -p "$dest" .deb
  for p in "$@"; do
    (cd .deb && rm -f ./*.deb && apt-get -qq download "$p" && dpkg-deb -x ./*.deb "../$dest")
  done
  rm -rf .deb
}

# versions PACKAGE: the two newest that the archives hold, older first.
versions() { apt-cache madison "$1" | awk '{print $3}' | sort -uV | tail -n 2; }

debs() {
  local base=$1 old new p
  read -r old new < <(versions "$base" | paste -sd' ')
  [ -n "$new" ] || { echo "the archives hold one version of $base only"; return 1; }
  for p in "$@"; do
    deb old "$p=$old" && deb new "$p=$new" || return
  done
}

# tgz DEST PACKAGE VERSION: unpacks from npm's registry.
tgz() {
  mkdir -p "$1"
  curl -sSf --retry 3 "$registry/$2/-/$(basename "$2")-$3.tgz" | tar -xz -C "$1" --strip-components=1
}

# npmtree DEST DATE PACKAGE@VERSION...: installs as of a date.
npmtree() {
  local dest=$1 date=$2
  shift 2
  mkdir "$dest"
  (cd "$dest" && npm init -y >/dev/null && npm install --before="$date" --ignore-scripts --no-audit --no-fund --no-bin-links "$@" >/dev/null)
  mv "$dest/node_modules" .x
  rm -rf "$dest"
  mv .x "$dest"
  rm -f "$dest/.package-lock.json"
}

# gobin DEST MODULE VERSION PACKAGE FLAGS...: builds a Go program.
gobin() {
  local dest=$1 module=$2 version=$3 package=$4
  shift 4
  mkdir .mod &&
    (cd .mod && go mod init x && go get "$module@$version" && CGO_ENABLED=0 go build -o "../$dest" "$@" "$package") &&
    rm -rf .mod
}

gopair() {
  local module=$1 old=$2 new=$3 package=$4
  shift 4
  gobin old "$module" "$old" "$package" "$@" &&
  gobin new "$module" "$new" "$package" "$@"
}

# source DEST VERSION: a module's source, from the Go proxy.
source_of() {
  curl -sSf --retry 3 -o .zip "https://proxy.golang.org/github.com/nats-io/nats-server/v2/@v/$2.zip"
  python3 -m zipfile -e .zip .src
  mkdir -p "$1"
  mv .src/github.com/nats-io/nats-server/v2@"$2"/* "$1"
  rm -rf .src .zip
}

readonly jars='libspring-core-java libspring-beans-java libspring-context-java libspring-web-java libjackson2-core-java
libjackson2-databind-java libguava-java liblogback-java libslf4j-java libnetty-java libgroovy-java libbcprov-java
libh2-java libcommons-lang3-java libcommons-collections4-java libcommons-compress-java libhibernate-validator-java
libsnakeyaml-java libhttpclient-java libjetty9-java libxerces2-java libbcel-java libjoda-time-java libprotobuf-java libscala-library-java'

build_jars() {
  local p
  for p in $jars; do
    deb x "$p" || true
  done
  find x -name '*.jar' -type f -exec cp -n {} . \;
  rm -rf x
}

# Parts that pairs share.
jars() { once .jars build_jars; }
tomcat() { once ".tomcat" debs libtomcat10-java; }

fatjar() { # daily | bumped
  local old=$dir/.tomcat/old new=$dir/.tomcat/old
  [ "$1" = daily ] || new=$dir/.tomcat/new
  gen fatjar "$dir/.jars" "$old" "$new" "$1"
}

sourcetar() {
  source_of old-src v2.15.1
  mkdir old new
  find old-src -exec touch -h -d '2026-01-01 01:01:01' {} +
  tar --sort=name --owner=0 --group=0 -cf old/src.tar -C old-src .
  find old-src -exec touch -h -d '2026-02-02 02:02:02' {} +
  gen edit old-src 7
  tar --sort=name --owner=0 --group=0 -cf new/src.tar -C old-src .
  touch -d '2026-02-02 02:02:02' new/src.tar
  rm -rf old-src
}

sourcetargz() {
  sourcetar
  gzip -n -9 old/src.tar new/src.tar
}

modules() {
  local p=(express react react-dom webpack eslint typescript jest @babel/core @babel/preset-env lodash axios vite rxjs
    next@15 @angular/core @aws-sdk/client-s3 date-fns mongodb prisma tailwindcss)
  npmtree old 2026-01-15 "${p[@]}"
  npmtree new 2026-02-15 "${p[@]}"
}

nextpair() {
  npmtree old "$(date +%F)" next@16.4.5
  npmtree new "$(date +%F)" next@16.4.6
}

pair() {
  case $1 in
    fatjar-daily) jars && tomcat && once "$1" fatjar daily ;;
    fatjar) jars && tomcat && once "$1" fatjar bumped ;;
    uber-ts) jars && once "$1" gen uber "$dir/.jars" 0 ;;
    uber-shuffled) jars && once "$1" gen uber "$dir/.jars" 1 ;;
    jar-small) once "$1" gen jar 3000 ;;
    uber-small) once "$1" gen zip 4000 ;;
    node_modules) once "$1" modules ;;
    next) once "$1" nextpair ;;
    typescript) once "$1" eval 'tgz old typescript 5.8.3 && tgz new typescript 5.9.3' ;;
    text-small) once "$1" eval 'tgz old marked 15.0.11 && tgz new marked 15.0.12 && tgz old/l lodash 4.17.20 && tgz new/l lodash 4.17.21' ;;
    small50k) once "$1" gen small 50000 ;;
    tree-small) once "$1" gen small 2000 ;;
    nats) once "$1" gopair github.com/nats-io/nats-server/v2 v2.15.1 v2.15.2 github.com/nats-io/nats-server/v2 ;;
    nats-stripped) once "$1" gopair github.com/nats-io/nats-server/v2 v2.15.1 v2.15.2 github.com/nats-io/nats-server/v2 '-ldflags=-s -w' ;;
    caddy-stripped) once "$1" gopair github.com/caddyserver/caddy/v2 v2.11.8 v2.11.9 github.com/caddyserver/caddy/v2/cmd/caddy '-ldflags=-s -w' ;;
    postgresql) once "$1" debs postgresql-15 ;;
    openjdk) once "$1" debs openjdk-17-jre-headless ;;
    src-tar) once "$1" sourcetar ;;
    src-targz) once "$1" sourcetargz ;;
    sqlite) once "$1" gen sqlite 400000 ;;
    sqlite-small) once "$1" gen sqlite 20000 ;;
    *) echo "no such pair: $1" >&2; exit 2 ;;
  esac
}

[ $# -gt 0 ] || set -- $small $large
[ "$1" != small ] || set -- $small
for name in "$@"; do
  pair "$name" || true
  [ ! -e "$dir/$name" ] || echo "$name: $(du -sb "$dir/$name/old" | cut -f1) to $(du -sb "$dir/$name/new" | cut -f1) bytes"
done
