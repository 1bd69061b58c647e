"""The stand-in for a release of Foglet: `bin/foglet_bbs start`, `bin/foglet_bbs eval EXPRESSION`, and the board's screen.

Knows the three functions of `FogletBbs.Release`, each written as the runbook has it, and refuses everything else. Works on the
`schema_migrations` of the database as Ecto does: under a lock, a transaction for each migration, `to` of a way down included.
The board is a real OpenSSH server that lets in whoever offers a key; with an empty key directory it makes a new key. `/up`
answers without asking the database. Which release it is says FOGLET_VERSION.

Told to go wrong by the file `faults` of its volume, a line each, of one release alone where `RELEASE:` comes first:
`migration N`, `seeds`, `seeds-for-tests`, `no-ssh`, `no-screen`, `other-key`, `log LINE`, `restarts`.
"""

import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import psycopg2

VERSION = os.environ.get("FOGLET_VERSION") or open("/run/version").read()
MIGRATIONS = [
    # Since which release, version, up, down.
    ("0.2.0", 20260301090000,
     "create table posts (id int primary key, body text, inserted_at timestamp default now()); "
     "create table users (handle text primary key); create table config (key text primary key, value text); "
     "create table fixtures (board text primary key)",
     "drop table posts, users, config, fixtures"),
    ("0.3.0", 20260512100000,
     "alter table posts add topic text; update posts set topic = 'general'", "alter table posts drop topic"),
]
SEEDS = {
    "config.exs": "insert into config values ('name', 'Foglet') on conflict do nothing",
    "fixtures.exs": "insert into fixtures values ('lobby') on conflict do nothing",
}
# What the first screen needs of the schema.
NEEDS = "select count(*), max(topic) from posts" if VERSION >= "0.3" else "select count(*), max(body) from posts"


def faults():
    found = {}
    for line in open("/data/faults") if os.path.exists("/data/faults") else []:
        release, colon, rest = line.strip().partition(":")
        line = rest if colon and re.fullmatch(r"[0-9.]+", release) and release == VERSION else line.strip()
        word, _, more = line.partition(" ")
        found.setdefault(word, []).append(more)
    return found


def say(line):
    print(line, file=sys.stderr, flush=True)


def die(line):
    say(line)
    sys.exit(1)


def connect(url):
    try:
        return psycopg2.connect(url, connect_timeout=3)
    except psycopg2.Error as error:
        die(f"** (DBConnection.ConnectionError) {error}")


def run(connection, work):
    with connection, connection.cursor() as cursor:
        cursor.execute("create table if not exists schema_migrations (version bigint primary key, inserted_at timestamp default now())")
        cursor.execute("lock table schema_migrations in share update exclusive mode")
        return work(cursor)


def applied(cursor):
    cursor.execute("select version from schema_migrations")
    return {row[0] for row in cursor.fetchall()}


def migrate(connection):
    def one(cursor):
        there = applied(cursor)
        for since, version, up, _ in MIGRATIONS:
            if since <= VERSION and version not in there:
                say(f"== Running {version} FogletBbs.Repo.Migrations.change/0 forward")
                cursor.execute(up)
                if str(version) in faults().get("migration", []):
                    die(f"** (Ecto.MigrationError) migration {version} failed: it does not go")
                cursor.execute("insert into schema_migrations values (%s)", (version,))
                return True
        return False

    while run(connection, one):
        pass


def seed(connection):
    migrate(connection)
    for file, statement in SEEDS.items():
        if file == "fixtures.exs" and "seeds" in faults():
            die(f"** (CompileError) priv/repo/seeds/{file}: it does not go")
        run(connection, lambda cursor: cursor.execute(statement))
    if "seeds-for-tests" in faults():
        run(connection, lambda cursor: cursor.execute("insert into users values ('qa-bot')"))


def rollback(connection, to):
    def all_of(cursor):
        there = applied(cursor)
        for _, version, _, down in reversed(MIGRATIONS):
            if version >= to and version in there:
                say(f"== Running {version} FogletBbs.Repo.Migrations.change/0 backward")
                cursor.execute(down)
                cursor.execute("delete from schema_migrations where version = %s", (version,))

    run(connection, all_of)


def evaluate(expression):
    back = re.fullmatch(r"FogletBbs\.Release\.rollback\(FogletBbs\.Repo, ([0-9]+)\)", expression)
    known = {"FogletBbs.Release.migrate()": migrate, "FogletBbs.Release.seed()": seed}
    if not back and expression not in known:
        die(f"** (UndefinedFunctionError) {expression}")
    connection = connect(os.environ["DATABASE_URL"])
    rollback(connection, int(back[1])) if back else known[expression](connection)


class Up(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/up" else 404)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def screen():
    if "no-screen" in faults():
        time.sleep(60)
    cursor = connect(open("/run/database").read()).cursor()
    try:
        cursor.execute(NEEDS)
    except psycopg2.Error as error:
        die(f"the board is out of order: {error}")
    print(f"Welcome to Foglet {VERSION}: {cursor.fetchone()[0]} posts", flush=True)
    time.sleep(3)


def start():
    for name in ["DATABASE_URL", "SECRET_KEY_BASE"]:
        if not os.environ.get(name):
            die(f"** (RuntimeError) environment variable {name} is missing.")
    for name in ["PHX_HOST", "PORT", "FOGLET_SSH_PORT", "SSH_HOST_KEY_DIR"]:
        os.environ[name]
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    wrong = faults()
    say(f"Running FogletBbsWeb.Endpoint {VERSION}")
    for line in wrong.get("log", []):
        say(line)
    keys = "/run/keys" if "other-key" in wrong else os.environ["SSH_HOST_KEY_DIR"]
    os.makedirs(keys, mode=0o700, exist_ok=True)
    key = keys + "/ssh_host_ed25519_key"
    if not os.path.exists(key):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    # Kept from now on, whatever becomes of the folder: OpenSSH would read it again for each login.
    shutil.copy(key, "/run/host-key")
    for file, text in [("database", os.environ["DATABASE_URL"]), ("version", VERSION)]:
        with open("/run/" + file, "w") as to:
            to.write(text)
        os.chmod("/run/" + file, 0o644)
    with open("/run/sshd_config", "w") as to:
        to.write(f"Port {os.environ['FOGLET_SSH_PORT']}\nHostKey /run/host-key\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
                 "AuthorizedKeysFile none\nAuthorizedKeysCommand /app/bin/any-key %t %k\nAuthorizedKeysCommandUser root\n"
                 "ForceCommand /app/bin/screen\nPidFile none\nPrintMotd no\nMaxStartups 50\n")
    if "no-ssh" not in wrong:
        os.makedirs("/run/sshd", exist_ok=True)
        subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", "/run/sshd_config"])
    if "restarts" in wrong:
        threading.Timer(6, lambda: os._exit(1)).start()
    http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Up).serve_forever()


words = sys.argv[1:]
if words == ["start"]:
    start()
elif words == ["screen"]:
    screen()
elif len(words) == 2 and words[0] == "eval":
    evaluate(words[1])
else:
    die(f"usage: foglet_bbs start | eval EXPRESSION, not {words}")
