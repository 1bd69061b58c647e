"""Does what a person would do after an upgrade, and prints what came of it: logs in, loads a video, has it summarized, opens
the panel of the administrators. Runs on the host."""

import http.cookiejar
import json
import sys
import time
import urllib.error
import urllib.request

BACKEND = "http://localhost:3001"


def browser(user):
    made = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    form = json.dumps({"username": user, "password": f"{user}-password"}).encode()
    made.open(urllib.request.Request(BACKEND + "/api/auth/login", form), timeout=10).read()
    return lambda path, body=None: made.open(urllib.request.Request(BACKEND + path, body), timeout=10).read()


ada = browser("ada")
videos = json.loads(ada("/api/videos"))
first = videos[0]["id"]
job = json.loads(ada(f"/api/videos/{first}/summaries", b"{}"))["jobId"]
for _ in range(150):
    summary = json.loads(ada(f"/api/jobs/{job}"))
    if summary["state"] in ("completed", "failed"):
        break
    time.sleep(0.2)
try:
    panel = json.loads(browser("admin")("/api/admin/config"))["panel"]
except urllib.error.HTTPError as error:
    panel = f"{error.code} {error.read().decode()}"
json.dump(
    {
        "videos": len(videos),
        "bytes": len(ada(f"/api/videos/{first}/stream")),
        "annotations": len(json.loads(ada(f"/api/videos/{first}/annotations"))),
        "summary": summary["summary"],
        "panel": panel,
    },
    sys.stdout,
)
