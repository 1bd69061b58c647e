"""Migrations in the manner of `prisma migrate`: the same table, folders, words and exit codes, from platforms' facts."""

import hashlib
import os
import sys
import uuid

import psycopg2

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "prisma", "migrations")
TABLE = """create table if not exists _prisma_migrations (
    id varchar(36) primary key, checksum varchar(64) not null, finished_at timestamptz, migration_name varchar(255) not null,
    logs text, rolled_back_at timestamptz, started_at timestamptz not null default now(),
    applied_steps_count integer not null default 0)"""
LOCK = 72707369


def connect():
    try:
        # So that whoever asks can tell this work from others.
        name = os.environ.get("PGAPPNAME", "prisma migrate")
        return psycopg2.connect(os.environ["DATABASE_URL"], connect_timeout=5, application_name=name)
    except psycopg2.OperationalError as error:
        sys.exit(f"Error: P1001\n\nCan't reach database server: {error}")


def folders():
    return sorted(name for name in os.listdir(FOLDER) if os.path.isdir(os.path.join(FOLDER, name)))


def state(cursor):
    """Names that are applied, and names that failed and were not resolved."""
    cursor.execute("select to_regclass('_prisma_migrations')")
    if cursor.fetchone()[0] is None:
        return set(), []
    cursor.execute("select migration_name, finished_at is not null from _prisma_migrations where rolled_back_at is null")
    rows = cursor.fetchall()
    return {name for name, done in rows if done}, [name for name, done in rows if not done]


def deploy():
    connection = connect()
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("set lock_timeout = '10s'")
    try:
        cursor.execute("select pg_advisory_lock(%s)", (LOCK,))
    except psycopg2.Error:
        sys.exit("Error: P1002\n\nTimed out trying to acquire a postgres advisory lock")
    cursor.execute(TABLE)
    applied, failed = state(cursor)
    print(f"{len(folders())} migrations found in prisma/migrations\n")
    if failed:
        sys.exit(f"Error: P3009\n\nmigrate found failed migrations in the target database: The `{failed[0]}` migration failed")
    waiting = [name for name in folders() if name not in applied]
    if not waiting:
        print("No pending migrations to apply.")
        return
    for name in waiting:
        apply(cursor, name)
    print("All migrations have been successfully applied.")


def apply(cursor, name):
    with open(os.path.join(FOLDER, name, "migration.sql"), encoding="utf-8") as file:
        text = file.read()
    print(f"Applying migration `{name}`", flush=True)
    own = str(uuid.uuid4())
    cursor.execute(
        "insert into _prisma_migrations (id, checksum, migration_name) values (%s, %s, %s)",
        (own, hashlib.sha256(text.encode()).hexdigest(), name),
    )
    try:
        cursor.execute(text)
    except psycopg2.Error as error:
        cursor.execute("rollback")
        cursor.execute("update _prisma_migrations set logs = %s where id = %s", (str(error), own))
        sys.exit(f"Error: P3018\n\nA migration failed to apply. Migration name: {name}\n\nDatabase error:\n{error}")
    cursor.execute("update _prisma_migrations set finished_at = now(), applied_steps_count = 1 where id = %s", (own,))


def status():
    applied, failed = state(connect().cursor())
    waiting = [name for name in folders() if name not in applied and name not in failed]
    if failed:
        sys.exit(f"Following migration have failed:\n{failed[0]}")
    if waiting:
        names = "\n".join(waiting)
        sys.exit(f"Following migrations have not yet been applied:\n{names}")
    print("Database schema is up to date!")


def resolve(how, name):
    connection = connect()
    with connection, connection.cursor() as cursor:
        column = {"--rolled-back": "rolled_back_at", "--applied": "finished_at"}[how]
        cursor.execute(
            f"update _prisma_migrations set {column} = now() where migration_name = %s and finished_at is null", (name,)
        )
        if cursor.rowcount == 0:
            sys.exit("Error: P3011\n\nMigration cannot be resolved because it was never applied")


match sys.argv[1:]:
    case ["prisma", "migrate", "deploy"]:
        deploy()
    case ["prisma", "migrate", "status"]:
        status()
    case ["prisma", "migrate", "resolve", how, name] if how in ("--rolled-back", "--applied"):
        resolve(how, name)
    case other:
        sys.exit(f"npx: unknown command: {' '.join(other)}")
