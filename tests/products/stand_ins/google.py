#!/usr/bin/python3 -IS
"""A stand-in of Google Cloud's REST API: Cloud Run's services and revisions, a Cloud SQL instance, its log entries.

    google.py FILE SERVICE...

Prints its port, and serves until its standard input ends. It answers the requests that `gcloud` makes, those of its
users to the services' addresses (`/at/SERVICE/api/health`), and `/stand-in` for the test. Anything else is refused, and
noted. The state is in FILE after each request.

The test says what is to go wrong by POST to `/stand-in`:
  broken     ["SERVICE:TAG"]  revisions of that image never become ready
  unhealthy  ["SERVICE:TAG"]  they become ready, and say that they are not ok
  private    ["SERVICE"]      their users have to say who they are
  split      ["SERVICE"]      traffic that is sent to the latest revision goes there by half
  backup     "FAILED"         how a backup ends
  hidden     true             the list of backups misses the new ones
  restore    "FAILED"         how a restore ends
  gone       ["SERVICE"]      somebody deletes these as soon as there is a backup
  failing    ["PATH"]         requests to paths with that in them are answered with 503
"""

import http.server
import json
import os
import random
import string
import sys
import threading
from urllib.parse import urlsplit

PROJECT, REGION, INSTANCE = "acme", "europe-west1", "tessallite"
# The schema that a release's frontend brings, when it starts.
MIGRATIONS = {"1.3.0": "20260301_tiles", "1.3.1": "20260301_tiles", "1.4.0": "20260601_layers", "1.4.1": "20260601_layers",
              "1.5.0": "20260901_grid"}
RUN = f"/apis/serving.knative.dev/v1/namespaces/{PROJECT}"
SQL = f"/sql/v1beta4/projects/{PROJECT}"


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Cloud:
    def __init__(self, file, names):
        self.file, self.lock, self.port = file, threading.RLock(), 0
        self.faults = {}
        self.asked, self.refused = [], []
        self.services = {}
        self.sql = {"head": MIGRATIONS["1.3.0"], "rows": ["a", "b"], "backups": {}, "operations": {}}
        for name in names:
            self.services[name] = {"generation": 0, "template": None, "traffic": [], "revisions": {}, "number": 0}
            self.put(name, {"spec": {"template": self.template(f"registry.test/tessallite/{name}:1.3.0"),
                                     "traffic": [{"latestRevision": True, "percent": 100}]}})

    @staticmethod
    def template(image):
        return {"metadata": {"annotations": {}, "labels": {}}, "spec": {"containers": [{"image": image}]}}

    def save(self):
        with open(self.file + ".new", "w") as file:
            json.dump({"services": self.services, "sql": self.sql, "asked": self.asked, "refused": self.refused}, file)
        os.rename(self.file + ".new", self.file)

    # Cloud Run

    def service(self, name):
        if name not in self.services:
            raise Refused(404, f"Resource '{name}' of kind 'SERVICE' in region '{REGION}' in project '{PROJECT}' does not exist.")
        return self.services[name]

    @staticmethod
    def tag(image):
        return image.rsplit(":", 1)[-1]

    def is_in(self, fault, name, image):
        return f"{name}:{self.tag(image)}" in self.faults.get(fault, [])

    def put(self, name, body):
        """Takes a service's description over: another template is another revision."""
        one = self.services[name]
        spec = body["spec"]
        template = spec["template"]
        image = template["spec"]["containers"][0]["image"]
        one["generation"] += 1
        if one["template"] is None or "name" not in template.get("metadata", {}):
            one["number"] += 1
            word = "".join(random.choices(string.ascii_lowercase, k=3))
            revision = f"{name}-{one['number']:05}-{word}"
            ready = not self.is_in("broken", name, image)
            one["revisions"][revision] = {"image": image, "ready": ready, "number": one["number"]}
            template = json.loads(json.dumps(template))
            template.setdefault("metadata", {})["name"] = revision
            one["template"] = template
            if ready and name == "frontend" and MIGRATIONS[self.tag(image)] > self.sql["head"]:
                self.sql["head"] = MIGRATIONS[self.tag(image)]
                self.sql["rows"] = [row + "'" for row in self.sql["rows"]]
        for target in spec["traffic"]:
            if "revisionName" in target and target["revisionName"] not in one["revisions"]:
                raise Refused(400, f"spec.traffic.revision_name: revision {target['revisionName']} does not exist")
        if sum(target.get("percent") or 0 for target in spec["traffic"]) != 100:
            raise Refused(400, "spec.traffic: the percents do not add up to 100")
        one["traffic"] = spec["traffic"]
        self.users_of(name)

    def latest(self, name, ready=False):
        revisions = self.services[name]["revisions"]
        return max((r for r in revisions if revisions[r]["ready"] or not ready), key=lambda r: revisions[r]["number"], default=None)

    def served(self, name):
        """Which revisions get how much."""
        targets = []
        for target in self.services[name]["traffic"]:
            percent = target.get("percent") or 0
            if target.get("latestRevision"):
                latest = self.latest(name, ready=True)
                if name in self.faults.get("split", []) and self.services[name]["number"] > 1:
                    before = sorted(self.services[name]["revisions"])[-2]
                    targets += [{"revisionName": latest, "percent": 50, "latestRevision": True}, {"revisionName": before, "percent": 50}]
                else:
                    targets.append({"revisionName": latest, "percent": percent, "latestRevision": True})
            else:
                targets.append({"revisionName": target["revisionName"], "percent": percent})
        return targets

    def users_of(self, name):
        return max(self.served(name), key=lambda target: target["percent"])["revisionName"]

    def describe(self, name):
        one = self.service(name)
        created, ready = self.latest(name), self.latest(name, ready=True)
        well = created == ready
        why = {} if well else {"reason": "HealthCheckContainerError", "message":
                               f"Revision '{created}' is not ready and cannot serve traffic. The user-provided container failed to start."}
        # The routes lead to a revision that is ready, whatever became of the latest.
        conditions = [{"type": "RoutesReady", "status": "True"}]
        conditions += [{"type": kind, "status": "True" if well else "False", **why} for kind in ("Ready", "ConfigurationsReady")]
        return {
            "apiVersion": "serving.knative.dev/v1", "kind": "Service",
            "metadata": {"name": name, "namespace": PROJECT, "generation": one["generation"], "annotations": {},
                         "labels": {"cloud.googleapis.com/location": REGION}, "uid": f"uid-{name}", "selfLink": f"{RUN}/services/{name}",
                         "resourceVersion": str(one["generation"])},
            "spec": {"template": one["template"], "traffic": one["traffic"]},
            "status": {"observedGeneration": one["generation"], "latestCreatedRevisionName": created,
                       "latestReadyRevisionName": ready, "url": f"http://127.0.0.1:{self.port}/at/{name}", "conditions": conditions,
                       "traffic": self.served(name)},
        }

    def revision(self, name):
        for service, one in self.services.items():
            if name in one["revisions"]:
                of = one["revisions"][name]
                return {"apiVersion": "serving.knative.dev/v1", "kind": "Revision",
                        "metadata": {"name": name, "namespace": PROJECT, "labels": {
                            "serving.knative.dev/service": service, "cloud.googleapis.com/location": REGION}},
                        "spec": {"containers": [{"image": of["image"]}]},
                        "status": {"conditions": [{"type": "Ready", "status": str(of["ready"])}]}}
        raise Refused(404, f"Revision {name} not found")

    # Cloud SQL

    def operation(self, kind, status="DONE", **more):
        name = f"operation-{len(self.sql['operations']) + 1}"
        error = {} if status == "DONE" else {"error": {"kind": "sql#operationErrors", "errors": [
            {"kind": "sql#operationError", "code": "INTERNAL", "message": f"the {kind} failed"}]}}
        made = {"kind": "sql#operation", "name": name, "status": "DONE", "operationType": kind, "targetId": INSTANCE,
                "targetProject": PROJECT, "startTime": "2026-11-21T10:00:00Z", "endTime": "2026-11-21T10:00:01Z", **more}
        self.sql["operations"][name] = {**made, **error}
        # It has only just begun, as far as the one who asked for it is told.
        return {**made, "status": "PENDING"}

    def back_up(self, description):
        status = self.faults.get("backup", "SUCCESSFUL")
        number = str(1763000000000 + len(self.sql["backups"]))
        self.sql["backups"][number] = {"status": status, "head": self.sql["head"], "rows": list(self.sql["rows"]), "description": description}
        for name in self.faults.pop("gone", []):
            del self.services[name]
        return self.operation("BACKUP_VOLUME", "DONE" if status == "SUCCESSFUL" else status, backupContext={"backupId": number, "kind": "sql#backupContext"})

    def backups(self):
        if self.faults.get("hidden"):
            return []
        return [{"kind": "sql#backupRun", "id": number, "status": of["status"], "type": "ON_DEMAND", "instance": INSTANCE,
                 "description": of["description"], "windowStartTime": "2026-11-21T10:00:00Z", "startTime": "2026-11-21T10:00:00Z",
                 "endTime": "2026-11-21T10:00:01Z"} for number, of in reversed(self.sql["backups"].items())]

    def restore(self, body):
        number = body["restoreBackupContext"]["backupRunId"]
        if body["restoreBackupContext"]["instanceId"] != INSTANCE or number not in self.sql["backups"]:
            raise Refused(404, "The Cloud SQL backup run does not exist.")
        if self.faults.get("restore") == "FAILED":
            return self.operation("RESTORE_VOLUME", "FAILED")
        of = self.sql["backups"][number]
        self.sql["head"], self.sql["rows"] = of["head"], list(of["rows"])
        self.sql["restored"] = self.sql.get("restored", []) + [number]
        return self.operation("RESTORE_VOLUME")

    # Requests

    def answer(self, method, path, body, user):
        for failing in self.faults.get("failing", []):
            if failing in path:
                raise Refused(503, "The service is currently unavailable.")
        parts = path.strip("/").split("/")
        if path == "/stand-in":
            if method == "POST":
                self.faults = body
            return {}
        if parts[0] == "at" and method == "GET" and len(parts) == 4 and parts[2:] == ["api", "health"]:
            if parts[1] in self.faults.get("private", []) and user != "Bearer identity-of-the-test":
                raise Refused(403, "Your client does not have permission to get URL from this server.")
            image = self.services[parts[1]]["revisions"][self.users_of(parts[1])]["image"]
            return {"status": "degraded" if self.is_in("unhealthy", parts[1], image) else "ok", "db_migration": self.sql["head"]}
        if (method, path) == ("GET", f"/v1/projects/{PROJECT}/locations"):
            return {"locations": [{"locationId": REGION, "name": f"projects/{PROJECT}/locations/{REGION}"}]}
        if (method, path) == ("GET", f"{RUN}/services"):
            return {"apiVersion": "serving.knative.dev/v1", "kind": "ServiceList", "metadata": {}, "items": [self.describe(name) for name in self.services]}
        if (method, path) == ("GET", f"{RUN}/revisions"):
            names = [name for one in self.services.values() for name in one["revisions"]]
            return {"apiVersion": "serving.knative.dev/v1", "kind": "RevisionList", "metadata": {}, "items": [self.revision(name) for name in names]}
        if method == "GET" and path.startswith(f"{RUN}/revisions/"):
            return self.revision(parts[-1])
        if path.startswith(f"{RUN}/services/") and method in ("GET", "PUT"):
            self.service(parts[-1])
            if method == "PUT":
                self.put(parts[-1], body)
            return self.describe(parts[-1])
        if (method, path) == ("POST", f"{RUN}/services"):
            name = body["metadata"]["name"]
            self.services[name] = {"generation": 0, "template": None, "traffic": [], "revisions": {}, "number": 0}
            body["spec"].setdefault("traffic", [{"latestRevision": True, "percent": 100}])
            self.put(name, body)
            return self.describe(name)
        if (method, path) == ("GET", f"{SQL}/instances/{INSTANCE}"):
            return {"kind": "sql#instance", "name": INSTANCE, "project": PROJECT, "state": "RUNNABLE", "databaseVersion": "POSTGRES_15"}
        if (method, path) == ("POST", f"{SQL}/instances/{INSTANCE}/backupRuns"):
            return self.back_up(body.get("description", ""))
        if (method, path) == ("GET", f"{SQL}/instances/{INSTANCE}/backupRuns"):
            return {"kind": "sql#backupRunsList", "items": self.backups()}
        if (method, path) == ("POST", f"{SQL}/instances/{INSTANCE}/restoreBackup"):
            return self.restore(body)
        if method == "GET" and path.startswith(f"{SQL}/operations/") and parts[-1] in self.sql["operations"]:
            return self.sql["operations"][parts[-1]]
        if (method, path) == ("POST", "/v2/entries:list"):
            return {"entries": []}
        self.refused.append(f"{method} {path}")
        raise Refused(404, f"the stand-in does not know {method} {path}")


class Handler(http.server.BaseHTTPRequestHandler):
    cloud = None

    def handle_one(self):
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        url = urlsplit(self.path)
        with self.cloud.lock:
            try:
                code, answer = 200, self.cloud.answer(self.command, url.path, body, self.headers.get("authorization"))
            except Refused as refused:
                code, answer = refused.code, {"error": {"code": refused.code, "message": str(refused), "status": "REFUSED"}}
            if url.path != "/stand-in":
                self.cloud.asked.append(f"{self.command} {url.path}")
            self.cloud.save()
        text = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

    def log_message(self, *_):
        pass


def main():
    file, *names = sys.argv[1:]
    cloud = Cloud(file, names)
    Handler.cloud = cloud
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    cloud.port = server.server_address[1]
    cloud.save()
    print(cloud.port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


main()
