"""When each op came to be on disk, seen from outside: a process of its own that looks at the ring of headers in the data file.

A prepare is written before its header, so what the ring shows is on disk. Reads pass the page cache by (O_DIRECT), as the server's writes do. For each op it
keeps the time of the last look that did not find it: it came to disk after that, so what is measured from then on is never too short.
"""

import mmap
import multiprocessing
import os
import struct
import time

RING_OFFSET, SLOTS, HEADER, SECTOR = 98304, 1024, 256, 4096
SECTOR_SLOTS = SECTOR // HEADER
PAUSE_S = 0.002
# An op is not prepared before the one so far behind it is on disk.
PIPELINE = 8


def parse(header):
    """Op, size of the prepare, and whether there is one."""
    size, = struct.unpack_from("<I", header, 96)
    op, _, _, _, operation = struct.unpack_from("<QQQIB", header, 224)
    return op, size, operation != 0


class Ring:
    def __init__(self, path):
        self.file = os.open(path, os.O_RDONLY | os.O_DIRECT)
        self.buffer = mmap.mmap(-1, SECTOR)

    def sector(self, number):
        """The headers of one sector."""
        os.preadv(self.file, [self.buffer], RING_OFFSET + number * SECTOR)
        return [parse(self.buffer[at:at + HEADER]) for at in range(0, SECTOR, HEADER)]

    def head(self):
        """The newest op."""
        headers = [header for number in range(SLOTS // SECTOR_SLOTS) for header in self.sector(number)]
        return max((op for op, _, is_prepare in headers if is_prepare), default=0)


def observe(path, ready, stop, answer):
    """Until stopped; answers {op: (absent at, seen at, bytes)}, the ops that were overwritten unseen, and the pauses between two looks."""
    ring = Ring(path)
    head = ring.head()
    absent, ops, missed, pauses, before = {}, {}, 0, [], time.time_ns()
    ready.set()
    while True:
        ending = stop.is_set()
        began = time.time_ns()
        pauses.append(began - before)
        before = began
        caught = 0
        for ahead in range(2):
            number = ((head + 1) % SLOTS // SECTOR_SLOTS + ahead) % (SLOTS // SECTOR_SLOTS)
            at = time.time_ns()
            headers = ring.sector(number)
            seen = time.time_ns()
            for op, size, is_prepare in headers:
                if is_prepare and op > head and op not in ops:
                    behind = ops.get(op - PIPELINE)
                    ops[op] = (max(absent.get(number, 0), behind[0] if behind else 0), seen, size)
                    caught += 1
            absent[number] = at
        while head + 1 in ops:
            head += 1
        newest = max(ops, default=head)
        if newest >= head + SLOTS:
            missed += newest - SLOTS + 1 - head
            head = newest - SLOTS + 1
        if caught < SECTOR_SLOTS:
            if ending:
                break
            time.sleep(PAUSE_S)
    answer.put((ops, missed, pauses))


class Observer:
    """An observer in a process of its own."""

    def __init__(self, path):
        self.ready, self.stop, self.answer = multiprocessing.Event(), multiprocessing.Event(), multiprocessing.Queue()
        self.process = multiprocessing.Process(target=observe, args=(str(path), self.ready, self.stop, self.answer), daemon=True)
        self.process.start()
        self.ready.wait()

    def end(self):
        self.stop.set()
        seen = self.answer.get()
        self.process.join()
        return seen
