"""The stand-in for Fovea's backend: logins, videos, annotations, summaries, the panel of the administrators.

What a release is like stands in `release.json` beside this file; there is one program for all of them.
"""

import hashlib
import hmac
import http.server
import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.request
import uuid

import psycopg2

HERE = os.path.dirname(os.path.abspath(__file__))
RELEASE = json.load(open(os.path.join(HERE, "release.json")))
VIDEOS = os.environ.get("STORAGE_PATH", "/videos")
QUEUE = "summaries"


def query(text, values=()):
    """Runs one statement in a connection of its own and returns its rows."""
    connection = psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=3)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(text, values)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def redis(*words):
    """Speaks one command to Redis."""
    with socket.create_connection((os.environ.get("REDIS_HOST", "redis"), 6379), timeout=10) as link:
        parts = [word.encode() for word in words]
        link.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        return read_reply(link.makefile("rb"))


def read_reply(stream):
    line = stream.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:]
    if kind == b"*":
        return None if rest == b"-1" else [read_reply(stream) for _ in range(int(rest))]
    if kind == b"$":
        return None if rest == b"-1" else stream.read(int(rest) + 2)[:-2].decode()
    if kind == b"-":
        raise RuntimeError(rest.decode())
    return rest.decode()


def seal(user):
    return hmac.new(os.environ["SESSION_SECRET"].encode(), user.encode(), hashlib.sha256).hexdigest()


def digest(password):
    return hashlib.sha256(("fovea " + password).encode()).hexdigest()


def work():
    """Takes summaries from the queue, one after the other, for as long as the program lives."""
    while True:
        try:
            job = (redis("BRPOP", QUEUE, "5") or [None, None])[1]
            if job is None:
                continue
            video = query("update summary_jobs set state = 'active' where id = %s returning video_id", (job,))[0][0]
            labels = [row[0] for row in query(f"select {RELEASE['label']} from annotations where video_id = %s", (video,))]
            body = json.dumps({"text": " ".join(labels)}).encode()
            request = urllib.request.Request(
                os.environ["MODEL_SERVICE_URL"] + "/api/summarize", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                summary = json.load(answer)["summary"]
            query("update summary_jobs set state = 'completed', summary = %s where id = %s", (summary, job))
        except Exception as error:
            print(f"a summary failed: {error}", file=sys.stderr, flush=True)
            time.sleep(1)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *arguments):
        pass

    def answer(self, status, value, headers=()):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "video/mp4" if isinstance(value, bytes) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers:
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def user(self):
        """The name and role of who is logged in, if anybody."""
        for part in (self.headers.get("Cookie") or "").split(";"):
            name, _, value = part.strip().partition("=")
            user, _, mark = value.partition(".")
            if name == "session_token" and hmac.compare_digest(mark, seal(user)):
                rows = query("select username, role from users where username = %s", (user,))
                return rows[0] if rows else None
        return None

    def do_GET(self):
        self.serve("GET")

    def do_POST(self):
        self.serve("POST")

    def serve(self, method):
        path = [part for part in self.path.split("?")[0].split("/") if part]
        body = self.body()
        try:
            self.route(method, path, body)
        except Exception as error:
            self.answer(500, {"error": str(error).strip()})

    def route(self, method, path, body):
        if (method, path) == ("GET", ["api", "health"]):
            return self.health()
        if (method, path) == ("GET", ["api", "version"]):
            return self.answer(200, {"version": RELEASE["says"]})
        if (method, path) == ("POST", ["api", "auth", "login"]):
            return self.login(json.loads(body))
        user = self.user()
        if user is None:
            return self.answer(401, {"error": "Not authenticated"})
        match method, path:
            case "GET", ["api", "auth", "me"]:
                return self.answer(200, {"username": user[0], "role": user[1]})
            case "GET", ["api", "videos"]:
                rows = query("select id, name, size from videos order by id")
                return self.answer(200, [dict(zip(("id", "name", "size"), row)) for row in rows])
            case "POST", ["api", "videos"]:
                return self.upload(body)
            case "GET", ["api", "videos", video, "stream"]:
                (blob,) = query("select blob from videos where id = %s", (video,))[0]
                with open(os.path.join(VIDEOS, blob), "rb") as file:
                    return self.answer(200, file.read())
            case "GET", ["api", "videos", video, "annotations"]:
                rows = query(f"select id, {RELEASE['label']} from annotations where video_id = %s order by id", (video,))
                return self.answer(200, [{"id": row[0], "label": row[1]} for row in rows])
            case "POST", ["api", "videos", video, "annotations"]:
                label = json.loads(body)["label"]
                rows = query(
                    f"insert into annotations (video_id, {RELEASE['label']}) values (%s, %s) returning id", (video, label)
                )
                return self.answer(201, {"id": rows[0][0]})
            case "POST", ["api", "videos", video, "summaries"]:
                job = uuid.uuid4().hex
                query("insert into summary_jobs (id, video_id, state) values (%s, %s, 'waiting')", (job, video))
                redis("LPUSH", QUEUE, job)
                return self.answer(202, {"jobId": job})
            case "GET", ["api", "jobs", job]:
                rows = query("select state, summary from summary_jobs where id = %s", (job,))
                if not rows:
                    return self.answer(404, {"error": "no such job"})
                return self.answer(200, {"state": rows[0][0], "summary": rows[0][1]})
            case "GET", ["api", "admin", "config"]:
                return self.panel(user)
        self.answer(404, {"error": "no such route"})

    def health(self):
        try:
            query(f"select id, {RELEASE['label']} from annotations limit 1")
            redis("PING")
            head = query("select migration_name from _prisma_migrations where finished_at is not null order by 1 desc limit 1")
            self.answer(200, {"status": "healthy", "version": RELEASE["says"], "db_migration": head[0][0]})
        except Exception as error:
            self.answer(503, {"status": "unhealthy", "version": RELEASE["says"], "error": str(error).strip()})

    def login(self, form):
        rows = query("select password from users where username = %s", (form["username"],))
        if not rows or not hmac.compare_digest(rows[0][0], digest(form["password"])):
            return self.answer(401, {"error": "Invalid credentials"})
        cookie = f"session_token={form['username']}.{seal(form['username'])}; Path=/; HttpOnly"
        self.answer(200, {"username": form["username"]}, [("Set-Cookie", cookie)])

    def upload(self, body):
        blob = hashlib.sha256(body).hexdigest()
        path = os.path.join(VIDEOS, blob)
        # Written once, and never again.
        if not os.path.exists(path):
            with open(path + ".part", "wb") as file:
                file.write(body)
                os.fsync(file.fileno())
            os.rename(path + ".part", path)
        name = self.headers.get("X-Name") or blob[:8]
        rows = query("insert into videos (name, blob, size) values (%s, %s, %s) returning id", (name, blob, len(body)))
        self.answer(201, {"id": rows[0][0]})

    def panel(self, user):
        """What a release asks for in its panel is a permission that its seed brings."""
        allowed = {row[0] for row in query("select permission from permissions where role = %s", (user[1],))}
        missing = [permission for permission in RELEASE["permissions"] if permission not in allowed]
        if missing:
            return self.answer(403, {"error": "missing permission", "missing": missing})
        self.answer(200, {"panel": "SystemConfig", "version": RELEASE["says"], "permissions": sorted(allowed)})


def main():
    # The first process of a container ends by no signal that it does not ask for.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    missing = [name for name in RELEASE["requires"] if not os.environ.get(name)]
    if missing:
        print(f"required environment variables are missing: {', '.join(missing)}", file=sys.stderr)
        sys.exit(78)
    if RELEASE.get("crashes"):
        time.sleep(1)
        print("TypeError: Cannot read properties of undefined (reading 'personas')", file=sys.stderr)
        sys.exit(1)
    time.sleep(RELEASE.get("slow", 0))
    threading.Thread(target=work, daemon=True).start()
    http.server.ThreadingHTTPServer(("", 3001), Handler).serve_forever()


main()
