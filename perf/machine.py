"""The machine that a measurement was taken on, in words, and how its results are written: a markdown table and the raw runs as JSON."""

import json
import os
import platform
import re
import statistics
import subprocess
import time
from pathlib import Path

MIB, GIB = 1 << 20, 1 << 30


def machine():
    """Processor, cores, memory, disk and system."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    flags = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    known = [("avx512f", "AVX-512"), ("vaes", "VAES"), ("sha_ni", "SHA-NI")]
    held = [name for flag, name in known if flags and flag in flags.group(1).split()]
    memory = int(re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.M).group(1)) * 1024
    words = [f"{os.cpu_count()} cores ({cpu.group(1) if cpu else platform.machine()}{', ' if held else ''}{', '.join(held)})"]
    return ", ".join(words + [f"{memory / GIB:.0f} GiB", f"Linux {platform.release()}", time.strftime("%Y-%m-%d", time.gmtime())])


def commit(root):
    """Which state of the project ran."""
    said = subprocess.run(["git", "-C", root, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return said.stdout.strip() or "unknown"


def table(header, rows):
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def write(folder, name, document, raw):
    """Writes `name`.md and `name`.json."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(document)
    # Where the project lies on this machine is nobody's business.
    project = f"{Path(__file__).resolve().parent.parent}/"
    (folder / f"{name}.json").write_text(json.dumps(raw, indent=1).replace(project, "") + "\n")


def median(values):
    """The median of what was measured; nothing of nothing."""
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None
