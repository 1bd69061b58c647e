-- Comes with a patch, whose notes do not say so.
ALTER TABLE "videos" ADD COLUMN "seconds" INTEGER;
