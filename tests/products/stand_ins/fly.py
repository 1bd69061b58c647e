"""A stand-in for flyctl that keeps its state in a folder, refuses what it does not know, and can be told to fail.

    fly.py PLACE COMMAND...

`PLACE/APP` is the folder of an app. Its `state.json` has `token` (or nothing), `app`, `images`, `machines`, `volumes`, `releases`, `secrets`, `logs`. What goes
wrong stands in its `faults`, a word a line: `deploy`, `snapshots`, `TAG:FAULT` for an image (`crashes`, `unhealthy`,
`restarts`, `new-volume`, `logs LINE`). The release command of fly.toml is run as its `release IMAGE COMMAND`; `running` has the tag
of the machine that runs, or nothing. Each call is noted in `calls`.
"""
import fcntl
import json
import os
import sys
import time

WORDS = sys.argv[2:]
FOLDER = sys.argv[1] + "/" + (WORDS[WORDS.index("-a") + 1] if "-a" in WORDS[:-1] else "")
if "-a" not in WORDS[:-1] or not os.path.exists(FOLDER + "/state.json"):
    sys.exit("Error: the config for your app is missing an app name, or there is no such app")
lock = open(FOLDER + "/lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
with open(FOLDER + "/calls", "a") as calls:
    calls.write(" ".join(WORDS) + "\n")
state = json.load(open(FOLDER + "/state.json"))
faults = open(FOLDER + "/faults").read().splitlines() if os.path.exists(FOLDER + "/faults") else []


def die(text, code=1):
    print("Error: " + text, file=sys.stderr)
    sys.exit(code)


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def save():
    running = [m["image_ref"]["tag"] for m in state["machines"] if m["state"] == "started" and not m["cordoned"]]
    for name, text in [("state.json", json.dumps(state)), ("running", "".join(running[:1]))]:
        with open(FOLDER + "/new", "w") as new:
            new.write(text)
        os.rename(FOLDER + "/new", FOLDER + "/" + name)


def options(words, flags=(), values=(), many=False):
    """Splits words into options and the rest; refuses the unknown."""
    found, rest, words = {}, [], list(words)
    while words:
        word = words.pop(0)
        if word in flags:
            found[word] = True
        elif word in values:
            if not words:
                die(f"flag needs an argument: {word}")
            found[word] = words.pop(0)
        elif word.startswith("-"):
            die(f"unknown flag: {word}")
        else:
            rest.append(word)
    if found.get("-a") != state["app"]:
        die(f"Could not find App \"{found.get('-a', '')}\"")
    if rest and not many:
        die(f"unknown argument: {rest[0]}")
    return found, rest


def machine(id):
    for one in state["machines"]:
        if one["id"] == id:
            return one
    die(f"machine {id} not found")


def deploy(words):
    found, _ = options(
        words,
        ["--yes", "--skip-release-command"],
        ["-a", "-c", "--image", "--wait-timeout", "--release-command-timeout"],
    )
    if "--yes" not in found:
        die("prompt: non interactive")
    import subprocess
    import tomllib

    try:
        toml = tomllib.load(open(found["-c"], "rb"))
    except OSError as error:
        die(str(error))
    image = found["--image"]
    plain = image.split("@")[0]
    if plain not in state["images"]:
        die(f"failed to fetch an image or build from source: Could not find image \"{image}\"")
    mounts = toml.get("mounts")
    mounts = mounts[0] if isinstance(mounts, list) else mounts
    if not mounts and any(m["config"]["mounts"] for m in state["machines"]):
        die("machine has a volume mounted but app config does not specify a volume")
    tag = plain.rsplit(":", 1)[1]
    number = state["releases"][0]["Version"] + 1
    release = {"ID": f"r{number}", "Version": number, "Stable": False, "InProgress": False, "Reason": "", "Description": "Release",
               "Status": "running", "DeploymentStrategy": "rolling", "User": {"Email": "x@example.com"}, "CreatedAt": now(), "ImageRef": image}
    state["releases"].insert(0, release)
    command = toml.get("deploy", {}).get("release_command")
    if "deploy" in faults:
        release["Status"] = "failed"
        save()
        die("failed to create release: api is down")
    if command and "--skip-release-command" not in found:
        print(f"Running {state['app']} release_command: {command}")
        if subprocess.run([FOLDER + "/release", plain, command], stdin=subprocess.DEVNULL).returncode:
            release["Status"] = "failed"
            save()
            die("release command failed - aborting deployment. error release_command machine exited with non-zero status of 1")
    for one in state["machines"]:
        if mounts:
            have = [v for v in state["volumes"] if v["name"] == mounts["source"] and f"{tag}:new-volume" not in faults]
            if not have:
                # What is asked for and not there is made, empty, and takes the place of the old one.
                have = [{"id": f"vol_{len(state['volumes']) + 1}", "name": mounts["source"], "state": "created", "size_gb": 1,
                         "region": "ams", "attached_machine_id": one["id"], "snapshots": []}]
                state["volumes"] += have
            one["config"]["mounts"] = [{"volume": have[0]["id"], "path": mounts["destination"], "name": mounts["source"]}]
        one["image_ref"].update({"tag": tag, "digest": "sha256:" + tag.replace(".", "") * 8})
        one["version"] += 1
        one["state"] = "stopped" if f"{tag}:crashes" in faults else "started"
        one["cordoned"] = False
        one["config"]["metadata"]["fly_release_version"] = str(number)
        one["checks"] = [{"name": "up", "status": "critical" if f"{tag}:unhealthy" in faults else "passing", "output": ""}]
        one["events"].append({"type": "start", "status": "started", "timestamp": int(time.time() * 1000)})
    for fault in faults:
        if fault.startswith(f"{tag}:logs "):
            state["logs"].append({"timestamp": now(), "level": "error", "message": fault.split(" ", 1)[1]})
    failed = f"{tag}:crashes" in faults or f"{tag}:unhealthy" in faults
    release["Status"] = "failed" if failed else "complete"
    save()
    if failed:
        die("failed to update machine: timeout reached waiting for health checks to pass")


def main():
    if state.get("token") and state["token"] not in (os.environ.get("FLY_API_TOKEN"), os.environ.get("FLY_ACCESS_TOKEN")):
        die("No access token available. Please login with 'flyctl auth login'")
    area = WORDS[:1]
    if area == ["deploy"]:
        return deploy(WORDS[1:])
    if area == ["releases"]:
        options(WORDS[1:], ["--json"], ["-a"])
        return print(json.dumps(state["releases"][:25]))
    if area == ["logs"]:
        found, _ = options(WORDS[1:], ["--json", "--no-tail"], ["-a"])
        if "--no-tail" not in found:
            die("it would never end")
        for line in state["logs"]:
            print(json.dumps(line) if "--json" in found else f"{line['timestamp']} app[m1] ams [{line['level']}] {line['message']}")
        return None
    if WORDS[:2] == ["secrets", "list"]:
        options(WORDS[2:], ["--json"], ["-a"])
        return print(json.dumps(state["secrets"]))
    if WORDS[:2] == ["volumes", "list"]:
        options(WORDS[2:], ["--json"], ["-a"])
        return print(json.dumps([{k: v for k, v in one.items() if k != "snapshots"} for one in state["volumes"]]))
    if WORDS[:3] == ["volumes", "snapshots", "create"]:
        _, rest = options(WORDS[3:], [], ["-a"], many=True)
        volume = next((v for v in state["volumes"] if [v["id"]] == rest), None) or die("volume not found")
        # It is made later: without an id first, and never where that was asked for.
        count = len(volume["snapshots"])
        status = "waiting" if "snapshots" in faults else "running"
        volume["snapshots"].append({"id": "", "size": 0, "created_at": now(), "status": status, "becomes": f"vs_{count + 1}"})
        save()
        return print(f"Scheduled to snapshot volume {rest[0]}")
    if WORDS[:3] == ["volumes", "snapshots", "list"]:
        _, rest = options(WORDS[3:], ["--json"], ["-a"], many=True)
        volume = next((v for v in state["volumes"] if [v["id"]] == rest), None) or die("volume not found")
        print(json.dumps([{k: v for k, v in one.items() if k != "becomes"} for one in volume["snapshots"]]))
        for one in volume["snapshots"]:
            if one["status"] == "running":
                one.update({"status": "created", "id": one["becomes"], "size": 4096})
        return save()
    if WORDS[:2] == ["machine", "list"]:
        options(WORDS[2:], ["--json"], ["-a"])
        print(json.dumps(state["machines"]))
        for one in state["machines"]:
            # It comes up again each time somebody looks.
            if f"{one['image_ref']['tag']}:restarts" in faults and one["state"] == "started":
                one["events"].append({"type": "exit", "status": "stopped", "timestamp": int(time.time() * 1000)})
        return save()
    if area == ["machine"] and WORDS[1:2] and WORDS[1] in ("stop", "start", "cordon", "uncordon"):
        _, rest = options(WORDS[2:], [], ["-a"], many=True)
        if not rest:
            die("a machine ID must be specified")
        for id in rest:
            one = machine(id)
            if WORDS[1] in ("cordon", "uncordon"):
                one["cordoned"] = WORDS[1] == "cordon"
            else:
                one["state"] = {"stop": "stopped", "start": "started"}[WORDS[1]]
        return save()
    if WORDS[:2] == ["ssh", "console"]:
        import shlex
        import subprocess

        found, _ = options(WORDS[2:], [], ["-a", "-C"])
        if not any(m["state"] == "started" for m in state["machines"]):
            die("app has no started VMs")
        # No shell; the volume of the machine is a folder here.
        words = [word.replace("/data", FOLDER + "/data") for word in shlex.split(found["-C"])]
        if subprocess.run(words, stdin=subprocess.DEVNULL).returncode:
            die("ssh shell: Process exited with status 1")
        return None
    die(f"unknown command \"{' '.join(WORDS[:2])}\" for \"flyctl\"")


main()
