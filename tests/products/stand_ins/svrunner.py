"""A small SVRunner: screens in files/local.db, assets and logs beside it, variables in .env.

Runs in the folder of a release, whose `version` and `schema` (the head of its migrations) stand in `release.json` there. How a
version misbehaves stands in `behaviour.json` of the installation: any of `dies`, `app`, `graphql`, `sign-in`, `docs`, `asset`,
`preview`, `dashboard`, `log`, `read`, `rewrites-env`; or `reads`, the newest head of migrations that it works with.
"""
import hashlib
import json
import os
import sqlite3
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RELEASE = json.load(open("release.json"))
VERSION, SCHEMA = RELEASE["version"], RELEASE["schema"]
RELEASE = json.load(open(os.path.realpath("files") + "/../../behaviour.json")).get(VERSION, {})
ENV = dict(line.rstrip("\n").split("=", 1) for line in open(".env") if "=" in line)
if RELEASE.get("dies"):
    sys.exit("it dies at once")
if SCHEMA >= 2 and not ENV.get("SESSION_KEY"):
    sys.exit("SESSION_KEY is not set")
if RELEASE.get("rewrites-env"):
    open(".env", "a").write("TELEMETRY=on\n")


def database():
    data = sqlite3.connect("files/local.db", timeout=10)
    data.execute("pragma journal_mode = wal")
    return data


with database() as data:
    head = data.execute("pragma user_version").fetchone()[0]
    if head > RELEASE.get("reads", SCHEMA):
        sys.exit(f"the database is at {head}, this release knows {SCHEMA}")
    if head < SCHEMA:
        data.execute("alter table screens add column theme text")
        data.execute(f"pragma user_version = {SCHEMA}")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        if not RELEASE.get("log"):
            with open("files/logs/server.log", "a") as log:
                log.write(f"{time.time():.3f} {self.command} {self.path}\n")

    def say(self, status, body=b"", kind="text/html", headers=()):
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def json(self, value, status=200, headers=()):
        self.say(status, json.dumps(value), "application/json", headers)

    def body(self):
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    def is_in(self):
        return "session=in" in (self.headers.get("Cookie") or "")

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/" and not RELEASE.get("app"):
            return self.say(200, "<title>SVRunner</title>")
        if path == "/docs" and not RELEASE.get("docs"):
            return self.say(200, "how it works")
        if path.startswith("/assets/"):
            name = path[len("/assets/"):]
            if name != RELEASE.get("asset") and os.path.isfile("files/assets/" + name):
                return self.say(200, open("files/assets/" + name, "rb").read(), "image/png")
        if path == "/preview/welcome" and not RELEASE.get("preview"):
            return self.say(200, "<h1>welcome</h1>")
        if path == "/dashboard":
            errors = RELEASE.get("dashboard", 0)
            return self.json({"status": "ok", "version": VERSION, "errors": errors, "queue": 0})
        if path.startswith("/api/screens/") and self.is_in():
            row = database().execute("select id, name from screens where id = ?", [path.split("/")[-1]]).fetchone()
            if row and not RELEASE.get("read"):
                return self.json({"id": row[0], "name": row[1]})
            if RELEASE.get("read"):
                return self.say(500)
        self.say(404)

    def do_POST(self):
        sent = self.body()
        if self.path == "/graphql":
            if RELEASE.get("graphql"):
                return self.json({"data": {"__typename": "Query"}, "errors": [{"message": "no such field"}]})
            return self.json({"data": {"__typename": "Query"}})
        if self.path == "/login":
            sum = hashlib.sha256(sent.get("password", "").encode()).hexdigest()
            row = database().execute("select 1 from users where name = ? and password = ?", [sent.get("user"), sum])
            if row.fetchone() and not RELEASE.get("sign-in"):
                return self.json({}, headers=[("Set-Cookie", "session=in; Path=/; HttpOnly")])
            return self.say(401)
        if self.path == "/api/screens" and self.is_in():
            with database() as data:
                made = data.execute(
                    "insert into screens (name, changed) values (?, ?)", [sent["name"], time.strftime("%FT%TZ", time.gmtime())]
                )
            return self.json({"id": made.lastrowid}, 201)
        self.say(404)

    def do_DELETE(self):
        if self.path.startswith("/api/screens/") and self.is_in():
            with database() as data:
                data.execute("delete from screens where id = ?", [self.path.split("/")[-1]])
            return self.say(204)
        self.say(404)


ThreadingHTTPServer((sys.argv[2] if sys.argv[2:] else "127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
