"""Kill processes that write a memory at random moments: `python -m tests.memory.disk.kills FOLDER KILLS SEED`.

A process is forked that goes on where the last one was killed, and tells through a pipe what has returned. Whenever it
is killed, the memory must open, with every pattern whose `add` had returned and none whose `remove` had. Prints how
often it was killed doing what.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import torch

from hopfield import AssociativeMemory
from hopfield.errors import HopfieldError
from hopfield.memory.disk import build as building

SIZE = 4


def rows(start, stop):
    """Patterns that say which they are."""
    numbers = torch.arange(start, stop).float().unsqueeze(-1)
    return torch.cat([numbers, -numbers, numbers % 7, torch.ones_like(numbers)], -1)


def blocks(count):
    return (rows(start, min(start + 37, count)) for start in range(0, count, 37))


def build(folder, tell):
    building._PORTION = 1000
    tell("start", 0)
    memory = AssociativeMemory.build(folder / "built", blocks(20_000), storage="float32")
    tell("built", len(memory))


def add(folder, tell):
    path = folder / "added"
    there = (path / "memory.json").exists()
    memory = AssociativeMemory.open(path) if there else AssociativeMemory.build(path, [rows(0, 1)])
    tell("start", len(memory))
    while True:
        memory.add(rows(len(memory), len(memory) + 1 + len(memory) % 5))
        tell("added", len(memory))


def remove(folder, tell):
    try:
        memory = AssociativeMemory.build(folder / "removed", blocks(30_000))
    except HopfieldError:  # some are removed, so it was whole
        memory = AssociativeMemory.open(folder / "removed")
    tell("start", 0)
    while len(memory) > 10:
        first = int(memory[0][0])
        memory.remove([0, 1, 2])
        tell("removed", first + 3)


def save(folder, tell):
    tell("start", 0)
    for number in range(10**6):
        AssociativeMemory(rows(number, number + 3000)).save(folder / "saved.safetensors")
        tell("saved", number)


def check(folder, doing, told):
    """The memory after a kill, given the last number that was told."""
    if doing == "save":
        if told is not None:
            first = int(AssociativeMemory.load(folder / "saved.safetensors").patterns[0, 0])
            assert first in (told, told + 1), (first, told)
        return
    path = folder / {"build": "built", "add": "added", "remove": "removed"}[doing]
    if not (path / "memory.json").exists():
        assert told in (None, 0), told
        return
    memory = AssociativeMemory.open(path)
    numbers = memory[:][:, 0]
    if doing == "remove":
        if len(memory) and told:
            assert numbers[0] in (told, told + 3), (numbers[0], told)
        assert torch.equal(numbers, numbers[:1] + torch.arange(len(numbers))), "some are missing in between"
    else:
        assert len(memory) >= (told or 0), (len(memory), told)
        assert torch.equal(memory[:], rows(0, len(memory)))
    memory.retrieve(torch.ones(1, SIZE), steps=1)


def killed(folder, doing, delay):
    """Fork, wait, kill, and check; whether the child was still at work."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)

        def tell(what, number):
            os.write(writer, f"{json.dumps([what, number])}\n".encode())

        try:
            {"build": build, "add": add, "remove": remove, "save": save}[doing](folder, tell)
            os._exit(0)
        except Exception as error:  # noqa: BLE001  # whatever it is, the parent has to know
            os.write(writer, f"{json.dumps(['failed', repr(error)])}\n".encode())
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        lines = [pipe.readline()]  # it has begun
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        lines += pipe.readlines()
    os.waitpid(child, 0)
    told = [json.loads(line) for line in lines if line.endswith(b"\n")]
    failed = [number for what, number in told if what == "failed"]
    assert not failed, failed
    numbers = [number for what, number in told if what != "start" or doing == "add"]
    check(folder, doing, numbers[-1] if numbers else None)
    return not any(what == "built" for what, _ in told)


def main(folder, kills, seed):
    torch.set_num_threads(1)  # a forked process has no threads but its own
    draw = random.Random(seed)
    folder = Path(folder)
    count = Counter()
    while sum(count.values()) < kills:
        doing = draw.choice(["build", "add", "remove", "save"])
        # a new memory now and then, for beginnings are moments too
        if draw.random() < 0.1:
            folder = folder.parent / f"{folder.name}x"
        folder.mkdir(exist_ok=True)
        if killed(folder, doing, draw.random() ** 2 * 0.06):
            count[doing] += 1
    sys.stdout.write(json.dumps(count))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
