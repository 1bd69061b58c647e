CREATE TABLE "summary_jobs" (
    "id" TEXT PRIMARY KEY,
    "video_id" INTEGER NOT NULL REFERENCES "videos" ("id"),
    "state" TEXT NOT NULL,
    "summary" TEXT
);
