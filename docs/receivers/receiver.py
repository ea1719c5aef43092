"""Receives rowhook's webhooks. Python 3.9 or later, standard library alone.

    RECEIVER_SECRET=whsec_... python3 receiver.py

It verifies each request, appends it to the file INBOX (inbox.txt) before it answers, and takes each id
once. Work is done from there, after the answer: process() stands for it. PORT is 8080.
"""
import base64, binascii, hashlib, hmac, os, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE = 300  # seconds
LARGEST = 16 << 20


def key(secret: str) -> bytes:
    return base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()


def genuine(secret: bytes, headers, body: bytes) -> bool:
    """The signature of Standard Webhooks; one of several is enough while secrets rotate."""
    id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not id or not at.isascii() or not at.isdigit() or abs(time.time() - int(at)) > TOLERANCE:
        return False
    want = hmac.new(secret, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    found = False
    for signature in headers.get("webhook-signature", "").split():
        version, _, text = signature.partition(",")
        try:
            found |= version == "v1" and hmac.compare_digest(base64.b64decode(text), want)
        except (binascii.Error, ValueError):
            pass  # not base64: not ours
    return found


class Inbox:
    """A file of lines: an id, a blank, a body. A line that was cut by a crash was never answered."""

    def __init__(self, path: str):
        self.lock = threading.Lock()
        self.file = open(path, "ab+")
        self.file.seek(0)
        whole = self.file.read()
        self.file.truncate(whole.rfind(b"\n") + 1)
        self.ids = {line.split(b" ", 1)[0] for line in whole.split(b"\n")[:-1]}

    def take(self, id: bytes, body: bytes) -> bool:
        """Whether the id is new. It returns when the line is on the disk."""
        with self.lock:
            if id in self.ids:
                return False
            self.file.write(id + b" " + body.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n")
            self.file.flush()
            os.fsync(self.file.fileno())
            self.ids.add(id)
            return True


def process(id: str, body: bytes) -> None:
    print(id, len(body), "bytes", flush=True)


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers.get("content-length", -1))
        if not 0 <= length <= LARGEST:
            self.close_connection = True  # the body is not read
            return self.answer(413 if length > 0 else 411)
        body = self.rfile.read(length)
        if not genuine(secret, self.headers, body):
            return self.answer(401)
        id = self.headers["webhook-id"]
        new = inbox.take(id.encode(), body)
        self.answer(204)
        if new:
            process(id, body)

    def answer(self, status: int):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()

    def log_message(self, *args):
        pass


secret = key(os.environ["RECEIVER_SECRET"])
inbox = Inbox(os.environ.get("INBOX", "inbox.txt"))
ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Receiver).serve_forever()
