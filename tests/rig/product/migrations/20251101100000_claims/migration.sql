-- The release before cannot run on this: it knows the column by its old name.
CREATE TABLE "claims" ("id" SERIAL PRIMARY KEY, "annotation_id" INTEGER NOT NULL REFERENCES "annotations" ("id"), "text" TEXT NOT NULL);
INSERT INTO "claims" ("annotation_id", "text") SELECT "id", 'seen: ' || "label" FROM "annotations";
ALTER TABLE "annotations" RENAME COLUMN "label" TO "type_name";
-- Long enough to be interrupted.
SELECT pg_sleep(2);
