"""Fills an install with videos and annotations, as its users would: through its own addresses."""

import http.cookiejar
import json
import os
import random
import sys
import urllib.request

BACKEND = "http://localhost:3001"
LABELS = ["car", "tree", "person", "dog", "boat", "ball"]
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))


def post(path, body, **headers):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return json.load(browser.open(urllib.request.Request(BACKEND + path, body, headers)))


chance = random.Random(os.environ.get("SAMPLE", "fovea"))
post("/api/auth/login", {"username": "ada", "password": "ada-password"})
for number in range(3):
    video = post("/api/videos", chance.randbytes(200_000 + number), **{"X-Name": f"video {number + 1}"})["id"]
    # One of them twice, as people do.
    for label in chance.sample(LABELS, 4) + [LABELS[0], LABELS[0]]:
        post(f"/api/videos/{video}/annotations", {"label": label})
