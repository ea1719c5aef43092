#!/usr/bin/env bash
# MariaDB: with binlog_row_metadata = FULL the table map names a primary key for tables that have none. Where no primary key is
# declared, the server takes the first unique key for it whose columns are whole and never NULL, and tells the binlog's readers so.
# The catalog has no constraint of that type. A reader that takes the key from the binlog, and one that asks the catalog for the
# primary key, disagree about the same table. ALTER TABLE ... MODIFY of one column to NULL takes the key away, without naming any key.
# The first is the one that was made first, not the first by name.
#
# Seen with Debian's package of MariaDB. Each line has a table, the key that the binlog names, and the primary keys of the catalog:
#
#   10.11.18-MariaDB-0+deb12u1-log
#   a int not null, b int, unique (a): Primary Key(a); 0 in the catalog
#   the same, after modify a int: none; 0 in the catalog
#   a varchar(9) not null, b int, unique (a(3)): none; 0 in the catalog
#   a int, b int not null, unique (a), unique (b): Primary Key(b); 0 in the catalog
#   a int not null, b int not null, unique z (b), unique y (a): Primary Key(b); 0 in the catalog
#
# Exits 0 while that is so. MySQL does the same.
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

# key prints what the last table map says of the table's key, and how many primary keys the catalog has.
key() {
  (ask bookworm "use d; $1; replace into t values (1, 2); flush binary logs")
  files=$((files + 1))
  local told count
  told=$( (started bookworm usr/bin/mariadb-binlog --no-defaults --print-table-metadata --base64-output=DECODE-ROWS -v "bookworm/data/binlog.00000$files") |
    sed -n 's/^# \(Primary Key.*\)/\1/p' | tail -n 1)
  count=$( (ask bookworm "select count(*) from information_schema.table_constraints where table_schema = 'd' and constraint_type = 'PRIMARY KEY'"))
  echo "$2: ${told:-none}; $count in the catalog"
}

say() {
  unpack bookworm mariadb-server-core mariadb-client-core mariadb-client
  serve bookworm
  (ask bookworm "select version(); create database d")
  files=0
  key "create table t (a int not null, b int, unique (a))" "a int not null, b int, unique (a)"
  key "alter table t modify a int" "the same, after modify a int"
  for columns in "a varchar(9) not null, b int, unique (a(3))" "a int, b int not null, unique (a), unique (b)" \
    "a int not null, b int not null, unique z (b), unique y (a)"; do
    key "create or replace table t ($columns)" "$columns"
  done
  end
}
say >told
cat told
diff <(sed -n 's/^#   \(.* in the catalog\)/\1/p' "$here") <(grep catalog told) && echo "as described" || { echo "MariaDB does otherwise now"; exit 1; }
