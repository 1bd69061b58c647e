-- The first half stays whatever becomes of the second, which fails wherever an annotation was made twice.
BEGIN;
CREATE TABLE "ontology_types" ("id" SERIAL PRIMARY KEY, "name" TEXT NOT NULL);
ALTER TABLE "annotations" ADD COLUMN "ontology_type_id" INTEGER;
COMMIT;
CREATE UNIQUE INDEX "annotations_once" ON "annotations" ("video_id", "type_name");
