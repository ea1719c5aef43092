#!/usr/bin/env bash
# MariaDB 11.8: generated columns are in the binlog for INSERT only. With binlog_row_image = FULL the images of an UPDATE and of a
# DELETE lack them, STORED ones and VIRTUAL ones. MariaDB 10.11 logs them all. A reader that takes a column which an image lacks
# for one that did not change has wrong values after the upgrade, and nothing is refused: the table map still has the columns.
#
# Seen with Debian's packages. @1 and @2 are ordinary columns, @3 is stored, @4 virtual, both computed of @2:
#
#   10.11.18-MariaDB-0+deb12u1-log
#   INSERT @1=1 @2=10 @3=20 @4=30
#   UPDATE @1=1 @2=10 @3=20 @4=30 to @1=1 @2=11 @3=22 @4=33
#   DELETE @1=1 @2=11 @3=22 @4=33
#   11.8.9-MariaDB-0+deb13u1 from Debian-log
#   INSERT @1=1 @2=10 @3=20 @4=30
#   UPDATE @1=1 @2=10 to @1=1 @2=11
#   DELETE @1=1 @2=11
#
# Exits 0 while that is so.
set -euo pipefail

here=$(realpath "$0")
work=$(mktemp -d)
server=
finish() {
  [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
chmod 755 "$work"
cd "$work"

# Debian has only the newest version of a suite's packages. It comes from where this machine, a Debian itself, gets its own.
mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' | awk -v own="$(. /etc/os-release && echo "$VERSION_CODENAME")" '$1 == own { print $2; exit }')

# unpack SUITE PACKAGE... unpacks Debian's packages and all that they stand on into SUITE, beside the system's. The system's
# C library may be older than theirs, so that programs are started by the loader that came with them.
unpack() {
  local suite=$1 deb
  shift
  mkdir -p "$suite"/{lists/partial,cache/archives/partial,root}
  : >"$suite/status"
  echo "deb $mirror $suite main" >"$suite/list"
  local apt=(apt-get -q -y -o "Dir::State::Lists=$work/$suite/lists" -o "Dir::Cache=$work/$suite/cache" -o "Dir::Etc::SourceList=$work/$suite/list"
    -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::status=$work/$suite/status" -o APT::Install-Recommends=false -o APT::Sandbox::User=root)
  { "${apt[@]}" update && "${apt[@]}" install --download-only "$@"; } </dev/null >"$suite/log" 2>&1 || { tail "$suite/log"; exit 1; }
  for deb in "$suite"/cache/archives/*.deb; do dpkg -x "$deb" "$suite/root"; done
}
started() { # SUITE PROGRAM ARGUMENT...
  local root=$work/$1/root program=$2 loader libraries
  shift 2
  for loader in "$root"/usr/lib64/ld-linux-*.so.* "$root"/lib64/ld-linux-*.so.* "$root"/lib/ld-linux-*.so.*; do [ -x "$loader" ] && break; done
  libraries=$(echo "$root"/usr/lib/*-linux-gnu):$(echo "$root"/lib/*-linux-gnu)
  exec "${as[@]}" "$loader" --library-path "$libraries" "$root/$program" "$@"
}
as=()
if [ "$(id -u)" -eq 0 ]; then # the server refuses to run as root
  as=(setpriv --reuid nobody --clear-groups --)
fi

# serve SUITE begins a server with an empty data directory, without accounts, and waits until it listens on its socket.
serve() {
  local share=$work/$1/root/usr/share/mysql
  mkdir "$work/$1/data"
  [ "$(id -u)" -ne 0 ] || chown nobody "$work/$1" "$work/$1/data"
  local settings=(--no-defaults "--datadir=$work/$1/data" "--socket=$work/$1/socket" "--pid-file=$work/$1/pid" "--lc-messages-dir=$share"
    "--character-sets-dir=$share/charsets" "--plugin-dir=$work/$1/root/usr/lib/mysql/plugin")
  started "$1" usr/sbin/mariadbd "${settings[@]}" --skip-networking --skip-grant-tables --server-id=1 --log-bin=binlog --binlog-format=ROW \
    --binlog-row-image=FULL --binlog-row-metadata=FULL >"$1/server.log" 2>&1 &
  server=$!
  for _ in $(seq 300); do
    (ask "$1" "select 1") >/dev/null 2>&1 && return
    sleep 0.1
  done
  tail "$1/server.log"
  exit 1
}
ask() { started "$1" usr/bin/mariadb --no-defaults "--socket=$work/$1/socket" -N -e "$2"; }
end() { kill "$server" && wait "$server" || true; server=; }

# images prints the row images of a server's binlog, a statement a line.
images() {
  (started "$1" usr/bin/mariadb-binlog --no-defaults -v --base64-output=DECODE-ROWS "$1/data/binlog.000001") | awk '
    /^### (INSERT|UPDATE|DELETE)/ { if (line) print line; line = $2 }
    /^### SET/ { if (line ~ /UPDATE/) line = line " to" }
    /^###   @/ { line = line " " $2 }
    END { print line }'
}

say() {
  for suite in bookworm trixie; do
    unpack $suite mariadb-server-core mariadb-client-core mariadb-client
    serve $suite
    (ask $suite "select version()")
    (ask $suite "create database d; use d; create table t (a int primary key, b int, s int generated always as (b * 2) stored, v int generated always as (b * 3) virtual);
      insert into t (a, b) values (1, 10); update t set b = 11; delete from t; flush binary logs")
    end
    images $suite
  done
}
say >told
cat told
diff <(sed -n 's/^#   \([IUD][NPE].* @\)/\1/p' "$here") <(grep @ told) && echo "as described" || { echo "MariaDB does otherwise now"; exit 1; }
