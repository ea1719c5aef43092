// Receives rowhook's webhooks. Node.js 18 or later, no packages.
//
//   RECEIVER_SECRET=whsec_... node receiver.js
//
// It verifies each request, appends it to the file INBOX (inbox.txt) before it answers, and takes each id once. Work is done
// from there, after the answer: processEvent() stands for it. PORT is 8080.
"use strict";
const crypto = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");

const tolerance = 300; // seconds
const largest = 16 << 20;
const secret = key(process.env.RECEIVER_SECRET ?? "");
if (secret.length === 0) throw new Error("RECEIVER_SECRET is not set");

function key(text) {
  return text.startsWith("whsec_") ? Buffer.from(text.slice(6), "base64") : Buffer.from(text);
}

// genuine checks the signature of Standard Webhooks; one of several is enough while secrets rotate.
function genuine(headers, body) {
  const id = headers["webhook-id"] ?? "", at = headers["webhook-timestamp"] ?? "";
  if (id === "" || !/^\d{1,12}$/.test(at) || Math.abs(Date.now() / 1000 - Number(at)) > tolerance) return false;
  const want = crypto.createHmac("sha256", secret).update(`${id}.${at}.`).update(body).digest();
  let found = false;
  for (const signature of (headers["webhook-signature"] ?? "").split(" ")) {
    const given = Buffer.from(signature.startsWith("v1,") ? signature.slice(3) : "", "base64");
    if (given.length === want.length && crypto.timingSafeEqual(given, want)) found = true;
  }
  return found;
}

// The inbox is a file of lines: an id, a blank, a body. A line that was cut by a crash was never answered.
const inbox = fs.openSync(process.env.INBOX ?? "inbox.txt", "a+");
const whole = fs.readFileSync(inbox);
fs.ftruncateSync(inbox, whole.lastIndexOf(10) + 1);
const ids = new Set(whole.toString().split("\n").slice(0, -1).map((line) => line.split(" ", 1)[0]));

// take says whether the id is new. It returns when the line is on the disk.
function take(id, body) {
  if (ids.has(id)) return false;
  fs.writeSync(inbox, `${id} ${body.toString().replace(/[\r\n]/g, " ")}\n`);
  fs.fsyncSync(inbox);
  ids.add(id);
  return true;
}

function processEvent(id, body) {
  console.log(id, body.length, "bytes");
}

http.createServer((request, response) => {
  const answer = (status) => response.writeHead(status).end();
  if (request.method !== "POST") return answer(405);
  const parts = [];
  let size = 0;
  request.on("data", (part) => {
    size += part.length;
    if (size > largest) { answer(413); request.destroy(); } else parts.push(part);
  });
  request.on("end", () => {
    const body = Buffer.concat(parts), id = request.headers["webhook-id"];
    if (!genuine(request.headers, body)) return answer(401);
    const fresh = take(id, body);
    answer(204);
    if (fresh) processEvent(id, body);
  });
}).listen(Number(process.env.PORT ?? 8080), "127.0.0.1");
