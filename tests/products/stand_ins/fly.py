"""A stand-in for flyctl that keeps its state in a folder, refuses what it does not know, and can be told to fail.

    fly.py PLACE COMMAND...

`PLACE/APP` is the folder of an app. Its `state.json` has `token` (or nothing), `app`, `images`, `machines`, `volumes`, `releases`, `secrets`, `logs`. What goes
wrong stands in its `faults`, a word a line: `deploy`, `snapshots`, `volumes` (they are never made), `TAG:FAULT` for an image (`crashes`, `unhealthy`,
`restarts`, `new-volume`, `logs LINE`). The release command of fly.toml is run as its `release IMAGE COMMAND`, as is that of a console in a machine of its own, and what a machine does
when it starts as its `starts TAG`, where there is one; with `stays` a deployment leaves a machine stopped that was; `running` has the tag of the machine that runs, or nothing. What the machine's volume
has is in `data`, what others have in `volumes/ID`, and snapshots in `kept/ID`. Each call is noted in `calls`.
"""
import fcntl
import json
import os
import re
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


def replace(one, volume):
    """Puts a new machine with this volume in the place of one, whose volume stays."""
    for other in state["volumes"]:
        if other["attached_machine_id"] == one["id"]:
            other["attached_machine_id"] = None
            os.makedirs(FOLDER + "/volumes", exist_ok=True)
            os.rename(FOLDER + "/data", FOLDER + "/volumes/" + other["id"])
    os.rename(FOLDER + "/volumes/" + volume["id"], FOLDER + "/data")
    one["id"] = volume["attached_machine_id"] = "m" + str(int(one["id"][1:]) + 1)
    one["events"] = []


def run(words):
    """Runs a command, with nobody to ask; whether it ended well. Few calls need it, and loading it takes a while."""
    import subprocess

    return subprocess.run(words, stdin=subprocess.DEVNULL).returncode == 0


def copy(folder, to):
    import shutil

    shutil.copytree(folder, to, symlinks=True)


def create_volume(words):
    found, rest = options(words, ["--json", "--yes"], ["-a", "--snapshot-id", "-s", "-r"], many=True)
    if len(rest) != 1 or not re.fullmatch("[a-z0-9_]{1,30}", rest[0]):
        die("volume names are 1 to 30 letters, digits and underscores")
    if "--yes" not in found or "-r" not in found:
        die("prompt: non interactive")
    id = f"vol_{len(state['volumes']) + 1}"
    volume = {"id": id, "name": rest[0], "state": "creating", "size_gb": int(found.get("-s", 3)), "region": found["-r"],
              "attached_machine_id": None, "snapshots": []}
    snapshot = found.get("--snapshot-id")
    if snapshot and not any(one["id"] == snapshot for other in state["volumes"] for one in other["snapshots"]):
        die(f"snapshot {snapshot} not found")
    if snapshot:
        copy(f"{FOLDER}/kept/{snapshot}", f"{FOLDER}/volumes/{id}")
    else:
        os.makedirs(f"{FOLDER}/volumes/{id}")
    state["volumes"].append(volume)
    save()
    print(json.dumps(volume) if "--json" in found else f"ID: {id}")


def deploy(words):
    found, _ = options(
        words,
        ["--yes", "--skip-release-command"],
        ["-a", "-c", "--image", "--wait-timeout", "--release-command-timeout"],
    )
    if "--yes" not in found:
        die("prompt: non interactive")
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
        if not run([FOLDER + "/release", plain, command]):
            release["Status"] = "failed"
            save()
            die("release command failed - aborting deployment. error release_command machine exited with non-zero status of 1")
    for one in state["machines"]:
        if mounts:
            old = one["config"]["mounts"][0]
            if f"{tag}:new-volume" in faults:
                state["volumes"].append({"id": f"vol_{len(state['volumes']) + 1}", "name": mounts["source"], "state": "created", "size_gb": 1,
                                         "region": "ams", "attached_machine_id": one["id"], "snapshots": []})
                old = dict(old, volume=state["volumes"][-1]["id"])
            elif old["name"] != mounts["source"]:
                # A volume is never swapped below a machine: another machine takes its place, with the volume of that name.
                free = [v for v in state["volumes"] if v["name"] == mounts["source"] and v["region"] == one["region"] and not v["attached_machine_id"]]
                if not free:
                    die(f"machine in group 'app' needs an unattached volume named '{mounts['source']}' in region '{one['region']}'")
                replace(one, free[0])
                old = dict(old, volume=free[0]["id"])
            one["config"]["mounts"] = [dict(old, path=mounts["destination"], name=mounts["source"])]
        one["image_ref"].update({"tag": tag, "digest": "sha256:" + tag.replace(".", "") * 8})
        one["version"] += 1
        if "stays" not in faults:
            one["state"] = "stopped" if f"{tag}:crashes" in faults else "started"
            one["cordoned"] = False
        one["config"]["metadata"]["fly_release_version"] = str(number)
        one["checks"] = [{"name": "up", "status": "critical" if f"{tag}:unhealthy" in faults else "passing", "output": ""}]
        one["events"].append({"type": "start", "status": "started", "timestamp": int(time.time() * 1000)})
        if os.path.exists(FOLDER + "/starts") and not run([FOLDER + "/starts", tag]):
            die("the machine does not start")
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
        print(json.dumps([{k: v for k, v in one.items() if k != "snapshots"} for one in state["volumes"]]))
        for one in state["volumes"] if "volumes" not in faults else []:
            one["state"] = "created"
        return save()
    if WORDS[:2] == ["volumes", "create"]:
        return create_volume(WORDS[2:])
    if WORDS[:3] == ["volumes", "snapshots", "create"]:
        _, rest = options(WORDS[3:], [], ["-a"], many=True)
        volume = next((v for v in state["volumes"] if [v["id"]] == rest), None) or die("volume not found")
        # It is made later: without an id first, and never where that was asked for.
        count = sum(len(one["snapshots"]) for one in state["volumes"])
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
                copy(FOLDER + "/data", f"{FOLDER}/kept/{one['id']}")
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
            elif WORDS[1] == "start" and one["state"] != "started":
                one["state"] = "started"
                tag = one["image_ref"]["tag"]
                if os.path.exists(FOLDER + "/starts") and not run([FOLDER + "/starts", tag]):
                    die("the machine does not start")
            elif WORDS[1] == "stop":
                one["state"] = "stopped"
        return save()
    if area == ["console"]:
        found, _ = options(WORDS[1:], [], ["-a", "-c", "--image", "-C"])
        if found.get("-c") and not os.path.exists(found["-c"]):
            die(f"open {found['-c']}: no such file or directory")
        image = found["--image"].split("@")[0]
        if image not in state["images"]:
            die(f"failed to get image: could not find image \"{image}\"")
        # Its machine has no volume, and goes with it.
        if not run([FOLDER + "/release", image, found["-C"]]):
            die("ssh shell: Process exited with status 1")
        return None
    if area == ["ssh"] and WORDS[1:2] and WORDS[1] in ("console", "sftp"):
        import shlex

        flags = [] if WORDS[1] == "console" else ["-m"]
        found, rest = options(WORDS[2:], [], ["-a", "-C", "--machine", *flags], many=WORDS[1] == "sftp")
        started = [m["id"] for m in state["machines"] if m["state"] == "started"]
        if not started:
            die("app has no started VMs")
        if found.get("--machine", started[0]) not in started:
            die(f"--machine=\"{found['--machine']}\" not found/started")
        if WORDS[1] == "sftp":
            if len(rest) != 3 or rest[0] != "put" or not rest[2].startswith("/data/"):
                die(f"unknown command for \"flyctl ssh sftp\": {' '.join(rest)}")
            remote = FOLDER + rest[2]
            if os.path.exists(remote):
                die(f"remote file {rest[2]} already exists. flyctl sftp doesn't overwrite existing files for safety")
            with open(rest[1], "rb") as local, open(remote, "xb") as to:
                to.write(local.read())
            os.chmod(remote, int(found.get("-m", "0644"), 8))
            return print(f"{os.path.getsize(remote)} bytes uploaded to {rest[2]}")
        # No shell; the volume of the machine is a folder here.
        words = [word.replace("/data", FOLDER + "/data") for word in shlex.split(found["-C"])]
        if not run(words):
            die("ssh shell: Process exited with status 1")
        return None
    die(f"unknown command \"{' '.join(WORDS[:2])}\" for \"flyctl\"")


main()
