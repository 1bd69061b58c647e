"""The seed: users and the catalog of permissions. As often as one likes: what is there stays as it is."""

import hashlib
import json
import os
import sys

import psycopg2

if sys.argv[1:] != ["run", "seed"]:
    sys.exit(f"npm: unknown command: {' '.join(sys.argv[1:])}")

RELEASE = json.load(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "release.json")))
USERS = [("admin", "admin"), ("ada", "annotator")]

connection = psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=5)
with connection, connection.cursor() as cursor:
    for name, role in USERS:
        password = hashlib.sha256(f"fovea {name}-password".encode()).hexdigest()
        cursor.execute(
            "insert into users (username, password, role) values (%s, %s, %s) on conflict do nothing", (name, password, role)
        )
    for permission in RELEASE["permissions"]:
        cursor.execute("insert into permissions (role, permission) values ('admin', %s) on conflict do nothing", (permission,))
    cursor.execute("select count(*) from permissions")
    print(f"permission catalog: {cursor.fetchone()[0]} permissions")
