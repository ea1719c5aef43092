#!/usr/bin/env bash
# MySQL: a geometry of a geographic SRID, such as 4326, is in the binlog and in a plain SELECT with the longitude first, as the server
# stores it, and comes out of ST_AsWKB and ST_AsText with the latitude first, as the SRID has its axes. Both are well-formed WKB, and
# nothing in it tells which of the two it is. Who reads changes from the binlog and rows by ST_AsWKB has the same point in two places.
#
# Seen with Debian's package of MySQL, of the point with latitude 1 and longitude 2. First and second are the doubles of the WKB:
#
#   9.7.4-2
#   ST_AsText: POINT(1 2)
#   ST_AsWKB: 1 2
#   SELECT: 2 1
#   binlog: 2 1
#
# Exits 0 while that is so. MariaDB has no such SRIDs.
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
mkdir -p lists/partial cache/archives/partial root
: >status
echo "deb $mirror sid main" >list
apt=(apt-get -q -y -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o "Dir::Etc::SourceList=$work/list" -o Dir::Etc::SourceParts=/dev/null
  -o "Dir::State::status=$work/status" -o APT::Install-Recommends=false -o APT::Sandbox::User=root)
{ "${apt[@]}" update && "${apt[@]}" install --download-only mysql-server-core mysql-client-core; } </dev/null >fetched 2>&1 || { tail fetched; exit 1; }
for deb in cache/archives/*.deb; do dpkg -x "$deb" root; done

# started PROGRAM ARGUMENT... runs a program by the loader and the libraries that came with it.
for loader in root/usr/lib64/ld-linux-*.so.* root/lib64/ld-linux-*.so.* root/usr/lib/ld-linux-*.so.*; do [ -x "$loader" ] && break; done
libraries=$(echo "$work"/root/usr/lib/*-linux-gnu)
started() {
  local program=$1
  shift
  exec "${as[@]}" "$work/$loader" --library-path "$libraries" "$work/root/$program" "$@"
}
as=()
if [ "$(id -u)" -eq 0 ]; then # the server refuses to run as root
  as=(setpriv --reuid nobody --clear-groups --)
  chown nobody "$work"
fi
settings=(--no-defaults "--datadir=$work/data" "--socket=$work/socket" "--pid-file=$work/pid" "--lc-messages-dir=$work/root/usr/share/mysql"
  "--character-sets-dir=$work/root/usr/share/mysql/charsets" --mysqlx=OFF --secure-file-priv= "--basedir=$work/root/usr")
ask() { started usr/bin/mysql --no-defaults "--socket=$work/socket" -uroot -N -e "$1"; }

# doubles names the two of a point's WKB, in hex: 1 and 2 are all that there are.
doubles() { echo "$1" | sed 's/^0101000000//; s/000000000000F03F/ 1/g; s/0000000000000040/ 2/g; s/^ //'; }

say() {
  (started usr/sbin/mysqld "${settings[@]}" --initialize-insecure) >log 2>&1 || { tail log; exit 1; }
  dpkg-deb -f cache/archives/mysql-server-core*.deb Version
  started usr/sbin/mysqld "${settings[@]}" --skip-networking --server-id=1 --log-bin="$work/data/binlog" >>log 2>&1 &
  server=$!
  for _ in $(seq 600); do
    (ask "select 1") >/dev/null 2>&1 && break
    sleep 0.1
  done
  (ask "create database d; use d; create table t (id int primary key, g geometry srid 4326);
    insert into t values (1, st_geomfromtext('POINT(1 2)', 4326))")
  echo "ST_AsText: $( (ask "select st_astext(g) from d.t"))"
  echo "ST_AsWKB: $(doubles "$( (ask "select hex(st_aswkb(g)) from d.t"))")"
  echo "SELECT: $(doubles "$( (ask "select substr(hex(g), 9) from d.t"))")"
  kill "$server" && wait "$server" || true
  server=
  # the SRID, then the WKB
  echo "binlog: $(doubles "$(cat data/binlog.0* | od -An -v -tx1 | tr -d ' \n' | tr a-f A-F | sed -n 's/.*E6100000\(0101000000.\{32\}\).*/\1/p')")"
}
say >told
cat told
diff <(sed -n 's/^#   \([STb].*: .*\)/\1/p' "$here") <(grep ': ' told) && echo "as described" || { echo "MySQL does otherwise now"; exit 1; }
