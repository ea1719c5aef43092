#!/usr/bin/env bash
# MySQL: a shutdown takes some ten seconds longer while anything reads the binlog, such as a replica or a tool that follows
# changes, although it has read all there is and has nothing to lose. Idle sessions of applications cost nothing. Whoever adds a reader
# of the binlog to a server makes each restart of it longer by that, and a supervisor that counts on a quick stop kills it.
#
# Seen with Debian's package of MySQL, SIGTERM to exit:
#
#   9.7.4-2
#   an idle session: quick
#   a reader of the binlog: late
#
# Quick is below five seconds, late is eight and more. Exits 0 while that is so.
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

# stop says how long the server takes to end beside the clients that are named: session, reader.
stop() {
  local clients=() client
  started usr/sbin/mysqld "${settings[@]}" --skip-networking --server-id=1 --log-bin="$work/data/binlog" >>log 2>&1 &
  server=$!
  for _ in $(seq 600); do
    (ask "select 1") >/dev/null 2>&1 && break
    sleep 0.1
  done
  for client in "$@"; do
    case $client in
      session) (sleep 60 | started usr/bin/mysql --no-defaults "--socket=$work/socket" -uroot) >/dev/null 2>&1 & ;;
      reader) (cd "$work/read" && started usr/bin/mysqlbinlog --no-defaults "--socket=$work/socket" -uroot --read-from-remote-server --raw --stop-never \
        --connection-server-id=7 binlog.000001) >/dev/null 2>&1 & ;;
    esac
    clients+=($!)
  done
  for _ in $(seq 100); do
    [ "$( (ask "select count(*) from information_schema.processlist where command in ('Sleep', 'Binlog Dump') and id != connection_id()"))" = $# ] && break
    sleep 0.1
  done
  local from=$SECONDS
  kill "$server" && wait "$server" || true
  server=
  local took=$((SECONDS - from))
  for client in "${clients[@]}"; do pkill -P "$client" || true; kill "$client" 2>/dev/null || true; done
  if [ $took -lt 5 ]; then echo quick; elif [ $took -ge 8 ]; then echo late; else echo "$took s"; fi
}

say() {
  mkdir -p read
  [ "$(id -u)" -ne 0 ] || chown nobody read
  (started usr/sbin/mysqld "${settings[@]}" --initialize-insecure) >log 2>&1 || { tail log; exit 1; }
  dpkg-deb -f cache/archives/mysql-server-core*.deb Version
  echo "an idle session: $(stop session)"
  echo "a reader of the binlog: $(stop reader)"
}
say >told
cat told
diff <(sed -n 's/^#   \(a.*: .*\)/\1/p' "$here") <(grep ': ' told) && echo "as described" || { echo "MySQL does otherwise now"; exit 1; }
