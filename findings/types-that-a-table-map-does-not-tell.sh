#!/usr/bin/env bash
# MariaDB: with binlog_row_metadata = FULL the table map still does not tell some types from each other. The bytes that describe a
# column are the same for UUID, INET6 and BINARY(16), for INET4 and BINARY(4), for JSON and a LONGTEXT of the same collation, and for
# VECTOR(2) and VARBINARY(8). The values are 16 bytes, 4 bytes, and so on, either way. Who reads the binlog alone cannot tell a uuid
# from any 16 bytes: only the catalog knows, and it tells of the table as it is now and not as it was when the row was written.
#
# Seen with Debian's package of MariaDB. Each line has the types of one column whose table maps are equal byte by byte:
#
#   11.8.9-MariaDB-0+deb13u1 from Debian-log
#   BINARY(16) = UUID = INET6
#   BINARY(4) = INET4
#   LONGTEXT COLLATE utf8mb4_bin = JSON
#   VARBINARY(8) = VECTOR(2)
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

# A table map ends with a checksum, and begins with a header, the table's number and flags, which differ.
cat >maps.js <<'END'
const b = require("fs").readFileSync(process.argv[2]);
for (let at = 4; at < b.length; at += b.readUInt32LE(at + 9))
  if (b[at + 4] === 19) console.log(b.subarray(at + 27, at + b.readUInt32LE(at + 9) - 4).toString("hex"));
END

say() {
  unpack trixie mariadb-server-core mariadb-client-core mariadb-client
  serve trixie
  (ask trixie "select version()")
  local group types type sql="create database d; use d;" maps n=0
  local groups=("BINARY(16)|UUID|INET6" "BINARY(4)|INET4" "LONGTEXT COLLATE utf8mb4_bin|JSON" "VARBINARY(8)|VECTOR(2)")
  for group in "${groups[@]}"; do
    IFS='|' read -ra types <<<"$group"
    for type in "${types[@]}"; do sql+="create or replace table t (c $type) character set utf8mb4; insert into t values (null);"; done
  done
  (ask trixie "$sql flush binary logs")
  end
  mapfile -t maps < <(node maps.js trixie/data/binlog.000001)
  for group in "${groups[@]}"; do
    IFS='|' read -ra types <<<"$group"
    for type in "${types[@]}"; do
      if [ "$type" = "${types[0]}" ]; then
        printf '%s' "$type"
      elif [ "${maps[$n]}" = "${maps[$((n - 1))]}" ]; then
        printf ' = %s' "$type"
      else
        printf ' # %s' "$type"
      fi
      n=$((n + 1))
    done
    echo
  done
}
say >told
cat told
diff <(sed -n 's/^#   \(.* = \)/\1/p' "$here") <(grep ' [=#] ' told) && echo "as described" || { echo "MariaDB does otherwise now"; exit 1; }
