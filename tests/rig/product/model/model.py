"""The stand-in for Fovea's model service, in either flavour: the first question brings the weights and is slow."""

import collections
import http.server
import json
import os
import signal
import threading
import time

FLAVOUR = os.environ["MODEL_FLAVOUR"]
CONFIG = {"cpu": "models-cpu.yaml", "gpu": "models.yaml"}[FLAVOUR]
WEIGHTS = os.path.join(os.environ.get("HF_HOME", "/models"), f"weights-{FLAVOUR}")
asked = collections.Counter()
order = []
loading = threading.Lock()


def discover():
    """Brings the weights unless they are there."""
    with loading:
        if not os.path.exists(WEIGHTS):
            time.sleep(float(os.environ.get("MODEL_DOWNLOAD_SECONDS", "3")))
            with open(WEIGHTS, "w", encoding="utf-8") as file:
                file.write("weights\n")


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, format, *arguments):
        pass

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def note(self):
        asked[self.path] += 1
        order.append(self.path)

    def do_GET(self):
        self.note()
        if self.path == "/health":
            self.answer(200, {"status": "healthy", "flavour": FLAVOUR})
        elif self.path == "/api/models/config":
            discover()
            self.answer(200, {"flavour": FLAVOUR, "config": CONFIG, "models": {"summarization": "stand-in"}})
        elif self.path == "/asked":
            self.answer(200, {"counts": asked, "order": order})
        else:
            self.answer(404, {"error": "no such route"})

    def do_POST(self):
        self.note()
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        if self.path != "/api/summarize":
            return self.answer(404, {"error": "no such route"})
        discover()
        self.answer(200, {"summary": f"{len(body['text'].split())} labels, read on the {FLAVOUR}", "flavour": FLAVOUR})


# The first process of a container ends by no signal that it does not ask for.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
