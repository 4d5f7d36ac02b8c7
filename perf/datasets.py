"""The files that are backed up in measurements.

`half` alternates 64 KiB of text and 64 KiB of random bytes, so that half of it compresses; `noise` is random bytes; `tigerbeetle` is a real data file, loaded with
TigerBeetle's own benchmark until its newest checkpoint reaches so many bytes of blocks, then left at rest; `more` loads a data file further.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from machine import GIB, MIB
from rig import AMBER, Rig

BLOCK_BYTES = 512 * 1024
PIECE_BYTES = 64 * 1024
# What the benchmark's transfers come to: 14 million made 17 900 live blocks.
BLOCKS_PER_TRANSFER = 17_900 / 14_000_000
# Ids as clients make them, of time and chance: a second load on the same file then has accounts and transfers of its own.
IDS = ["--id-order=tbid"]
WORDS = "the account was debited and credited with an amount of transfers between ledgers in a batch that committed at time".split()


def say(text):
    print(text, file=sys.stderr, flush=True)


def write_pieces(path, size_bytes, piece_of):
    """A file of that size, a MiB at a time; progress every GiB."""
    written = 0
    with open(path, "wb") as out:
        while written < size_bytes:
            out.write(piece_of())
            written += MIB
            if written % GIB == 0:
                say(f"{path}: {written // GIB} GiB of {size_bytes / GIB:.0f}")
        out.flush()
        os.fsync(out.fileno())


def noise(path, size_bytes):
    """Random bytes."""
    write_pieces(path, size_bytes, lambda: os.urandom(MIB))


def half(path, size_bytes, seed=4):
    """64 KiB of text, 64 KiB of random bytes, and so on."""
    chance = random.Random(seed)

    def text():
        words = " ".join(f"{chance.choice(WORDS)} {chance.randrange(100_000)}" for _ in range(PIECE_BYTES // 8))
        return words.encode()[:PIECE_BYTES].ljust(PIECE_BYTES)

    # Texts are dear to make: each of some hundred comes again far behind whatever window a compressor looks back.
    texts = [text() for _ in range(512)]

    def piece():
        return b"".join(chance.choice(texts) + os.urandom(PIECE_BYTES) for _ in range(MIB // PIECE_BYTES // 2))

    write_pieces(path, size_bytes, piece)


def live_blocks(path):
    """Blocks that the newest checkpoint reaches."""
    said = subprocess.run([AMBER, "inspect", path, "--json", "--quiet"], capture_output=True, text=True, check=True)
    return sum(kind["blocks"] for kind in json.loads(said.stdout)["blocks"]["kinds"])


def tigerbeetle(path, live_bytes, batch=1000, clients=8):
    """A data file at rest, with at least so many bytes of live blocks; how many transfers it took. Blocks that compaction lets go are used again only behind the next
    checkpoint, which comes every 960 requests: full ones would make the file three times as large as what lives in it."""
    wanted, transfers = -(-live_bytes // BLOCK_BYTES), 0
    with Rig("data") as rig:
        server = rig.server()
        while True:
            held = live_blocks(rig.data_file) if transfers else 0
            say(f"{path}: {held * BLOCK_BYTES / GIB:.2f} of {live_bytes / GIB:.2f} GiB live after {transfers} transfers")
            if held >= wanted:
                break
            # A tenth more than it will take, and enough for a checkpoint in any case.
            more = max(int((wanted - held) / BLOCKS_PER_TRANSFER * 1.1), 1000 * clients)
            # A checkpoint comes every 960 ops: a small file needs small batches to reach one.
            rig.benchmark(more, min(batch, max(more // 1200, 1)), clients, flags=IDS)
            transfers += more
        settle(rig.data_file)
        rig.end(server)
        shutil.move(rig.data_file, path)
    return transfers


def more(path, transfers, batch, clients=4):
    """Loads a data file further."""
    with Rig("data") as rig:
        server = rig.server_on(Path(path).resolve())
        rig.benchmark(transfers, batch, clients, flags=IDS)
        settle(rig.data_file)
        rig.end(server)


def settle(path):
    """Waits until the server writes no more: what it compacts comes after the last request."""
    seen, quiet = None, 0
    while quiet < 5:
        time.sleep(0.5)
        now = os.stat(path).st_mtime_ns
        seen, quiet = now, quiet + 1 if now == seen else 0
