"""What the measurements share: the servers, the agent and the load as processes in a scratch folder, and what each of them cost.

Flow: a `Rig` makes a scratch folder; `store`, `server` and `agent` start processes in it, `benchmark` loads the server and tells its throughput.
Everything is killed and removed when the rig is left. `Neighbours` watches meanwhile what else uses the machine.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIGERBEETLE = ROOT / ".tools/bin/tigerbeetle"
WEED = ROOT / ".tools/bin/weed"
JUICEFS = ROOT / ".tools/peers/bin/juicefs"
AMBER = ROOT / "target/release/amber"
TICKS = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count()
BUCKET = "amber"
# The largest request of this release: 8189 transfers fill a prepare of 1 MiB.
FULL_BATCH = 8189


def free_ports(count):
    """Ports that nobody listens on now, below those that the system gives to outgoing connections."""
    found, port = [], 12000 + os.getpid() % 8000
    while len(found) < count:
        port += 1
        try:
            for each in (port, port + 10000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", each))
        except OSError:
            continue
        found.append(port)
    return found


def wait_until(what, wanted, seconds=120):
    """Waits until `wanted()` is true; its value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = wanted()
        if value:
            return value
        time.sleep(0.05)
    raise SystemExit(f"waited {seconds} s for {what}")


def listens(port):
    """Whether something listens on this port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def cpu_seconds(pid):
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def percentile(ordered, share):
    """The nearest rank in an ordered list."""
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * share // 100) - 1))]


def ended(*_):
    """SIGTERM ends the program, once: a second one would come in the midst of the tidying."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit("ended by SIGTERM")


class Rig:
    """A scratch folder and the processes in it."""

    def __init__(self, name, store=None):
        """`store`: where the S3 server keeps its objects, if not in the scratch folder."""
        self.folder = Path(tempfile.mkdtemp(prefix=f"perf-{name}-", dir=ROOT / "target"))
        self.store_folder = Path(tempfile.mkdtemp(prefix=f"perf-{name}-", dir=store)) if store else self.folder
        self.processes, self.store_ports, self.s3_port = [], [], None
        self.environment = dict(os.environ, AMBER_PASSPHRASE="perf")
        # So that the servers and the folder go then, too.
        signal.signal(signal.SIGTERM, ended)

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        if failure:
            self.tell()
        for process in self.processes:
            process.kill()
            process.wait()
        for port in self.store_ports:
            for part in ("master", "volume", "filer", "s3", "admin"):
                Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock").unlink(missing_ok=True)
        for folder in (self.folder, self.store_folder):
            shutil.rmtree(folder, ignore_errors=True)

    def tell(self):
        """What a failure may come from: the end of each log, and the status."""
        for process in self.processes:
            print(f"{Path(process.args[0]).name} {process.pid}: {process.poll() if process.poll() is not None else 'runs'}", file=sys.stderr)
        for name in ("agent.log", "load.log", "server.log"):
            lines = (self.folder / name).read_text().splitlines() if (self.folder / name).exists() else []
            print(f"{name}:", *lines[-25:], sep="\n  ", file=sys.stderr)
        print(json.dumps(self.status()), file=sys.stderr)

    def spawn(self, command, log, **more):
        """Starts a process; what it says goes to a file."""
        with open(self.folder / log, "ab") as out:
            process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)
        self.processes.append(process)
        return process

    def end(self, process):
        """SIGKILL."""
        process.kill()
        process.wait()
        self.processes.remove(process)

    def store(self):
        """A SeaweedFS with an empty bucket, and a repository in it."""
        process = self.seaweed()
        self.repository("perf")
        return process

    def seaweed(self):
        """A SeaweedFS with an empty bucket."""
        names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"]
        ports = free_ports(len(names) + 2)
        self.s3_port, self.metrics_port, admin = ports[6], ports[9], ports[8]
        self.store_ports = ports + [admin + 10000]
        key, secret = "amber-perf-key", "amber-perf-secret"
        self.environment.update(AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret, AWS_REGION="us-east-1")
        shutil.rmtree(self.store_folder / "weed", ignore_errors=True)
        (self.store_folder / "weed").mkdir()
        (self.folder / "weed.log").unlink(missing_ok=True)
        command = [WEED, "-logdir=.", "mini", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"]
        command += ["-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-bucket={BUCKET}"]
        command += ["-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock", f"-metricsPort={self.metrics_port}"]
        command += [f"-{name}={port}" for name, port in zip(names, ports)] + [f"-admin.port={admin}", f"-admin.port.grpc={admin + 10000}"]
        process = self.spawn(command, "weed.log", cwd=self.store_folder / "weed", env=self.environment)
        wait_until("SeaweedFS", lambda: "All enabled components are running" in (self.folder / "weed.log").read_text())
        return process

    def juicefs(self):
        """A JuiceFS gateway with no bucket yet: the S3 server that is cheapest to load, so that the clients are what is measured."""
        place, log = self.store_folder / "juicefs", self.folder / "juicefs.log"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        log.unlink(missing_ok=True)
        self.s3_port, self.metrics_port = free_ports(2)
        key, secret = "amber-perf-key", "amber-perf-secret"
        self.environment.update(AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret, AWS_REGION="us-east-1")
        environment = dict(self.environment, MINIO_ROOT_USER=key, MINIO_ROOT_PASSWORD=secret, HOME=str(place))
        format_it = [JUICEFS, "format", "--storage", "file", "--bucket", f"{place}/blob/", "--trash-days", "0", f"sqlite3://{place}/meta.db", "vol"]
        subprocess.run([str(part) for part in format_it], check=True, capture_output=True, env=environment)
        command = [JUICEFS, "gateway", "--multi-buckets", "--keep-etag", "--no-usage-report", "--cache-size", "0", "--cache-dir", place / "cache"]
        # Its default place is one that only root may write to.
        command += ["--log", place / "gateway.log"]
        command += ["--metrics", f"127.0.0.1:{self.metrics_port}", f"sqlite3://{place}/meta.db", f"127.0.0.1:{self.s3_port}"]
        process = self.spawn(command, log.name, env=environment)
        wait_until("JuiceFS", lambda: listens(self.s3_port))
        return process

    def repository(self, prefix):
        """A new repository in the bucket, and a state directory of its own for the agent that ships there."""
        shutil.rmtree(self.folder / "state", ignore_errors=True)
        self.url = f"s3://{BUCKET}/{prefix}"
        self.environment.update(AMBER_REPO=self.url, AMBER_ENDPOINT=f"http://127.0.0.1:{self.s3_port}")
        self.amber("init")

    def requests(self):
        """S3 requests that SeaweedFS has answered, by kind."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        counts = {}
        for line in lines:
            if line.startswith("SeaweedFS_s3_request_total{"):
                kind = re.search(r'type="([^"]*)"', line).group(1)
                counts[kind] = counts.get(kind, 0) + int(float(line.rsplit(" ", 1)[1]))
        return counts

    def server(self):
        """A TigerBeetle of one replica on a newly formatted file."""
        file = self.folder / "0_0.tigerbeetle"
        file.unlink(missing_ok=True)
        subprocess.run([TIGERBEETLE, "format", "--cluster=0", "--replica=0", "--replica-count=1", file], check=True, capture_output=True)
        return self.server_on(file)

    def server_on(self, file):
        """A TigerBeetle of one replica on a data file that is there."""
        log = self.folder / "server.log"
        log.unlink(missing_ok=True)
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        process = self.spawn([TIGERBEETLE, "start", f"--addresses={self.address}", "--cache-grid=1GiB", file], log.name)
        wait_until("TigerBeetle", lambda: "listening on" in log.read_text())
        self.data_file = file
        return process

    def load(self, transfers, batch, clients, delay_us=0, flags=()):
        """Starts TigerBeetle's benchmark on the server that runs; a second run wants ids of its own (`--id-order`)."""
        command = [TIGERBEETLE, "benchmark", f"--addresses={self.address}", f"--transfer-count={transfers}", "--query-count=0"]
        command += [f"--transfer-batch-count={batch}", f"--clients={clients}", f"--transfer-batch-delay={delay_us}us", *flags]
        (self.folder / "load.log").unlink(missing_ok=True)
        return self.spawn(command, "load.log")

    def benchmark(self, transfers, batch, clients, delay_us=0, flags=()):
        """Runs the benchmark to its end: transfers a second, as it says; the latencies of its batches stay in `latencies`."""
        process = self.load(transfers, batch, clients, delay_us, flags)
        code = process.wait()
        self.processes.remove(process)
        said = (self.folder / "load.log").read_text()
        found = re.search(r"load accepted = (\d+) tx/s", said)
        if code or not found:
            raise SystemExit(f"the benchmark ended with {code}: {said}")
        # Whole milliseconds, as it prints them.
        self.latencies = {int(share): int(ms) for share, ms in re.findall(r"batch latency p(\d+) *= *(\d+) ms", said)}
        return int(found.group(1))

    def amber(self, *arguments, check=True):
        """Calls the program; its JSON."""
        done = subprocess.run([AMBER, *map(str, arguments), "--json"], env=self.environment, capture_output=True, text=True)
        if check and done.returncode:
            raise SystemExit(f"amber {arguments}: {done.stdout} {done.stderr}")
        return json.loads(done.stdout)

    def agent(self, more=""):
        """Starts the agent on the server's data file; its state directory stays from start to start."""
        config = f'data_file = "{self.data_file}"\nstate_directory = "{self.folder}/state"\n[repository]\nurl = "{self.url}"\n'
        config += f'endpoint = "{self.environment["AMBER_ENDPOINT"]}"\n{more}'
        (self.folder / "amber.toml").write_text(config)
        return self.spawn([AMBER, "agent", "--config", self.folder / "amber.toml"], "agent.log", env=self.environment)

    def status(self, process=None):
        """The agent's status document; that of this process, or nothing."""
        try:
            status = json.loads((self.folder / "state/status.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return status if process is None or status["pid"] == process.pid else {}

    def wait_leading(self, process):
        """Waits until the agent leads and has a checkpoint."""

        def wanted():
            if process.poll() is not None:
                raise SystemExit(f"the agent has ended: {(self.folder / 'agent.log').read_text()}")
            status = self.status(process)
            return status if status and (status["lease"] or {}).get("is_ours") and status["last_checkpoint"] else None

        return wait_until("an agent that leads", wanted)

    def head(self):
        """The newest op in the data file's log."""
        return self.amber("inspect", "--no-blocks", self.data_file)["log"]["head_op"]

    def wait_durable(self, op, process):
        """Waits until everything up to an op is durable."""
        return wait_until(f"op {op} to be durable", lambda: (s := self.status(process)) and s["durable_op"] >= op and s)


class CpuSeries:
    """What a process used, second by second, as shares of the machine."""

    WINDOW_S = 10

    def __init__(self, pid):
        self.pid, self.stop, self.seen = pid, threading.Event(), []
        self.look()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop.wait(1):
            self.look()

    def look(self):
        try:
            self.seen.append((time.monotonic(), cpu_seconds(self.pid)))
        except OSError:
            self.stop.set()

    def end(self):
        """The fullest ten seconds, and every second. The time before the first look counts as nothing used."""
        self.stop.set()
        self.thread.join()
        shares = [(spent - before) / (at - then) / CORES for (then, before), (at, spent) in zip(self.seen, self.seen[1:])]
        windows = [(spent - self.spent_at(at - self.WINDOW_S)) / self.WINDOW_S / CORES for at, spent in self.seen]
        return max(windows), shares

    def spent_at(self, time_s):
        """What it had used at a time between two looks, as if it had used it evenly."""
        for (then, before), (at, spent) in zip(self.seen, self.seen[1:]):
            if then <= time_s < at:
                return before + (spent - before) * (time_s - then) / (at - then)
        return 0


class Neighbours:
    """What else used the machine: CPU time of processes that are not of this measurement, by name."""

    def __init__(self):
        self.seen, self.spent, self.stop = {}, {}, threading.Event()
        self.began = time.monotonic()
        self.look(first=True)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop.wait(1):
            self.look()

    def look(self, first=False):
        stats = {}
        for entry in os.listdir("/proc"):
            try:
                head, tail = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1) if entry.isdigit() else ("", "")
            except OSError:
                continue
            fields = tail.split()
            if fields:
                stats[int(entry)] = (head.split("(", 1)[1], int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS)

        def is_ours(pid):
            while pid in stats and pid != os.getpid():
                pid = stats[pid][1]
            return pid == os.getpid()

        for pid, (name, _, seconds) in stats.items():
            if not is_ours(pid):
                # What was there before the first look is not of this time; what came later is, all of it.
                before = self.seen.get(pid, seconds if first else 0)
                self.spent[name] = self.spent.get(name, 0) + seconds - before
                self.seen[pid] = seconds

    def end(self):
        """In words."""
        self.stop.set()
        self.thread.join()
        self.look()
        machine = (time.monotonic() - self.began) * CORES
        most = sorted(self.spent.items(), key=lambda item: -item[1])[:4]
        names = ", ".join(f"{name} {100 * seconds / machine:.0f} %" for name, seconds in most if seconds / machine >= 0.005)
        return f"{100 * sum(self.spent.values()) / machine:.0f} % of the machine" + (f" ({names})" if names else "")
