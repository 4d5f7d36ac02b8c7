"""The programs that perf/compare runs in turn, each as: how to make its place, back a file up into it, and restore from it.

Every one of them gets the same S3 server and bucket, empty, and its own defaults, but for what names the server. Amber, restic and rclone's crypt encrypt with a passphrase;
s5cmd and plain rclone do not encrypt at all.
"""

import json
import os
import subprocess
import time
from pathlib import Path

from rig import AMBER, BUCKET, ROOT

PEERS = ROOT / ".tools/peers/bin"


def measured(command, environment, log):
    """Runs a command to its end: seconds, CPU seconds and peak memory of it and whatever it started."""
    began = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen([str(part) for part in command], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    said = Path(log).read_text(errors="replace")
    if process.returncode:
        raise SystemExit(f"{command}: ended with {process.returncode}: {said[-2000:]}")
    cost = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * 1024}
    return cost, said


class Tool:
    """One program, on the rig's server."""

    name, encrypts, programs = "", False, ()

    def __init__(self, rig, kind):
        self.rig, self.kind, self.folder = rig, kind, rig.folder
        self.environment = dict(rig.environment, HOME=str(rig.folder))
        self.endpoint = f"http://127.0.0.1:{rig.s3_port}"

    @classmethod
    def is_there(cls):
        return all(Path(program).exists() for program in cls.programs)

    def prepare(self):
        """What is made once, before the clock runs."""

    def backup(self, file):
        raise NotImplementedError

    def restore(self, file, output):
        raise NotImplementedError

    def restores_otherwise(self):
        """Whether it can also restore with, or without, reading back what it wrote: otherwise than it does by default."""
        return False

    def restore_otherwise(self, file, output):
        raise NotImplementedError

    def timed(self, command):
        cost, said = measured(command, self.environment, self.folder / f"{self.name}.log")
        return dict(cost, said=self.facts(said))

    def facts(self, said):
        return None

    def quietly(self, command):
        done = subprocess.run([str(part) for part in command], env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{command}: {done.stdout} {done.stderr}")
        return done.stdout


class Amber(Tool):
    name, encrypts, programs = "amber", True, (AMBER,)

    def prepare(self):
        self.environment.update(AMBER_REPO=f"s3://{BUCKET}/amber", AMBER_ENDPOINT=self.endpoint)
        self.quietly([AMBER, "init"])

    def backup(self, file):
        if self.kind == "tigerbeetle":
            return self.timed([AMBER, "backup", "tigerbeetle", "--data-file", file, "--json"])
        return self.timed([AMBER, "backup", "file", file, "--name", "file", "--json"])

    def restore(self, file, output):
        what = ["tigerbeetle"] if self.kind == "tigerbeetle" else ["file", "file"]
        return self.timed([AMBER, "restore", *what, "--output", output, "--json"])

    def restores_otherwise(self):
        return self.kind == "file"

    def restore_otherwise(self, file, output):
        return self.timed([AMBER, "restore", "file", "file", "--output", output, "--no-read-back", "--json"])

    def facts(self, said):
        return json.loads(said)


class S5cmd(Tool):
    name, programs = "s5cmd", (PEERS / "s5cmd",)

    def call(self, *words):
        return [self.programs[0], "--endpoint-url", self.endpoint, *words]

    def backup(self, file):
        return self.timed(self.call("cp", file, f"s3://{BUCKET}/s5cmd/file"))

    def restore(self, file, output):
        return self.timed(self.call("cp", f"s3://{BUCKET}/s5cmd/file", output))


class Rclone(Tool):
    """Plain, and what the other two begin with."""

    name, programs, remote = "rclone", (PEERS / "rclone",), "store:" + BUCKET + "/rclone"

    def prepare(self):
        def remote(name, **settings):
            self.environment.update({f"RCLONE_CONFIG_{name}_{key}".upper(): value for key, value in settings.items()})

        key, secret = self.environment["AWS_ACCESS_KEY_ID"], self.environment["AWS_SECRET_ACCESS_KEY"]
        remote("store", type="s3", provider="Other", endpoint=self.endpoint, access_key_id=key, secret_access_key=secret, force_path_style="true")
        self.environment["RCLONE_CONFIG"] = str(self.folder / "rclone.conf")
        Path(self.environment["RCLONE_CONFIG"]).touch()
        password = self.quietly([self.programs[0], "obscure", "perf"]).strip()
        remote("sealed", type="crypt", remote=f"store:{BUCKET}/rclone", password=password)
        remote("packed", type="compress", remote="sealed:", mode="zstd", level="1")

    def backup(self, file):
        return self.timed([self.programs[0], "copyto", file, f"{self.remote}/file"])

    def restore(self, file, output):
        return self.timed([self.programs[0], "copyto", f"{self.remote}/file", output])


class RcloneCrypt(Rclone):
    name, encrypts, remote = "rclone crypt", True, "sealed:"

    def backup(self, file):
        return self.timed([self.programs[0], "copyto", file, f"{self.remote}file"])

    def restore(self, file, output):
        return self.timed([self.programs[0], "copyto", f"{self.remote}file", output])


class RcloneCompress(RcloneCrypt):
    name, remote = "rclone compress, crypt", "packed:"


class Restic(Tool):
    name, encrypts, programs = "restic", True, (PEERS / "restic",)

    def prepare(self):
        self.environment.update(RESTIC_REPOSITORY=f"s3:{self.endpoint}/{BUCKET}/restic", RESTIC_PASSWORD="perf", RESTIC_CACHE_DIR=str(self.folder / "restic-cache"))
        self.quietly([self.programs[0], "init"])

    def backup(self, file):
        return self.timed([self.programs[0], "backup", file])

    def restore(self, file, output):
        # It restores below a folder, under the file's whole path.
        return self.timed([self.programs[0], "restore", "latest", "--target", f"{output}.d"])

    def restores_otherwise(self):
        return self.kind == "file"

    def restore_otherwise(self, file, output):
        return self.timed([self.programs[0], "restore", "latest", "--verify", "--target", f"{output}.d"])

    def restored(self, file, output):
        return Path(f"{output}.d") / Path(file).relative_to("/")


TOOLS = [Amber, S5cmd, Rclone, RcloneCrypt, RcloneCompress, Restic]
