// A library with a handler, as somebody who needs webhooks today would write it in an hour: what is
// inserted goes to the receiver, one request a row, in order per key, sixteen at once. Nothing is
// kept on disk, tried again, signed or logged. Environment: PEER_URL of the database, PEER_SLOT,
// PEER_TARGET.
const http = require('node:http');
const {LogicalReplicationService, PgoutputPlugin} = require('pg-logical-replication');

const lanes = 16;
const waiting = 1024; // a lane's rows, before the stream is read on
const target = new URL(process.env.PEER_TARGET);
const agent = new http.Agent({keepAlive: true, maxSockets: lanes});

function post(body) {
  return new Promise((resolve, reject) => {
    const headers = {'content-type': 'application/json', 'content-length': Buffer.byteLength(body)};
    const request = http.request(target, {method: 'POST', agent, headers}, response => {
      response.resume();
      response.on('end', resolve);
    });
    request.on('error', reject);
    request.end(body);
  });
}

class Lane {
  queue = [];
  busy = false;
  room = null;

  async add(body) {
    this.queue.push(body);
    if (!this.busy) this.run();
    if (this.queue.length >= waiting) await new Promise(resolve => { this.room = resolve; });
  }

  async run() {
    this.busy = true;
    while (this.queue.length > 0) {
      const bodies = this.queue;
      this.queue = [];
      for (const body of bodies) await post(body);
      this.room?.();
      this.room = null;
    }
    this.busy = false;
  }
}

const all = Array.from({length: lanes}, () => new Lane());
const service = new LogicalReplicationService({connectionString: process.env.PEER_URL}, {
  acknowledge: {auto: true, timeoutSeconds: 1}, flowControl: {enabled: true},
});
let begun;
let seq = 0;
service.on('data', async (lsn, message) => {
  if (message.tag === 'begin') {
    begun = message;
    seq = 0;
  } else if (message.tag === 'insert') {
    const {relation, new: row} = message;
    const key = Number(row.id);
    await all[key % lanes].add(JSON.stringify({
      id: `${begun.xid}_${seq++}`, type: 'record.inserted', timestamp: new Date(Number(begun.commitTime / 1000n)).toISOString(),
      source: {name: 'proof', table: `${relation.schema}.${relation.name}`, op: 'insert', position: lsn},
      key: {id: row.id}, data: row,
    }, (_, value) => typeof value === 'bigint' ? value.toString() : value));
  }
});
service.on('error', err => {
  console.error(err);
  process.exit(1);
});
service.subscribe(new PgoutputPlugin({protoVersion: 1, publicationNames: ['rowhook']}), process.env.PEER_SLOT)
  .catch(err => {
    console.error(err);
    process.exit(1);
  });
