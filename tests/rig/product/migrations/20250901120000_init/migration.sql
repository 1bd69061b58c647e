CREATE TABLE "users" ("username" TEXT PRIMARY KEY, "password" TEXT NOT NULL, "role" TEXT NOT NULL);
CREATE TABLE "permissions" ("role" TEXT NOT NULL, "permission" TEXT NOT NULL, PRIMARY KEY ("role", "permission"));
CREATE TABLE "videos" ("id" SERIAL PRIMARY KEY, "name" TEXT NOT NULL, "blob" TEXT NOT NULL, "size" BIGINT NOT NULL);
CREATE TABLE "annotations" (
    "id" SERIAL PRIMARY KEY,
    "video_id" INTEGER NOT NULL REFERENCES "videos" ("id"),
    "label" TEXT NOT NULL
);
