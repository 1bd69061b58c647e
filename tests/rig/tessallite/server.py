"""The stand-in for Tessallite's services: which one it is says its argument, which release its image.

Only the frontend uses the database. It migrates when it starts, as the product's runbook warns.
"""

import http.server
import json
import os
import signal
import sys
import time

import psycopg2

SERVICE, VERSION = sys.argv[1], os.environ["TESSALLITE_VERSION"]
MIGRATIONS = [
    ("1.3.0", "20260301_tiles", "create table tiles (name text, zoom integer)"),
    ("1.4.0", "20260601_layers", "alter table tiles add column layer text not null default 'base'"),
    ("1.5.0", "20260901_grid", "alter table tiles rename column zoom to level; delete from tiles where level > 1"),
]


def database(*statements):
    connection = psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=3)
    try:
        with connection, connection.cursor() as cursor:
            for statement, values in statements:
                cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def head():
    return database(("select max(version) from schema_migrations", ()))[0][0]


def migrate():
    database(("create table if not exists schema_migrations (version text primary key)", ()))
    for since, name, statement in MIGRATIONS:
        if since <= VERSION and (head() or "") < name:
            database((statement, ()), ("insert into schema_migrations values (%s)", (name,)))
            print(f"migrated to {name}", flush=True)


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        well = "failing" if VERSION == "1.5.0" else "ok"
        text = json.dumps({"status": well, "version": VERSION, "db_migration": head()}).encode()
        self.send_response(200 if self.path == "/api/health" else 404)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(f"{SERVICE} {VERSION} starts", flush=True)
if SERVICE == "optimizer" and VERSION == "1.4.1":
    print("no plan for the optimizer: plan.bin has version 3, wanted 4", flush=True)
    sys.exit(3)
if SERVICE == "frontend":
    migrate()
    http.server.ThreadingHTTPServer(("", 3000), Health).serve_forever()
while True:
    time.sleep(3600)
