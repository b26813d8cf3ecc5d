"""Memories over several processes: as one, forward and gradient; and a lost process is named."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hopfield import AssociativeMemory
from hopfield.errors import HopfieldError

ROOT = Path(__file__).parents[3]


def free_port():
    """One that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def run(cases, world, folder, allowed=()):
    """Start the processes and wait for them; their errors are the test's."""
    port = free_port()
    processes = []
    for rank in range(world):
        own = {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-m", "tests.memory.sharded.worker", cases, str(folder)]
        environment = os.environ | own | {"OMP_NUM_THREADS": "1"}
        processes.append(
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
        )
    ended = [process.communicate(timeout=300) for process in processes]
    failed = {
        rank: errors[-3000:]
        for rank, (process, (_, errors)) in enumerate(zip(processes, ended, strict=True))
        if process.returncode and rank not in allowed
    }
    assert not failed, "\n".join(f"process {rank}: {errors}" for rank, errors in failed.items())


@pytest.mark.parametrize("world", [2, 4])
def test_several_processes_answer_as_one(tmp_path, world):
    run("forward,partly_indexed,gradients,own_queries,disk,training,wrong", world, tmp_path)


@pytest.mark.parametrize("world", [2, 3])
def test_a_killed_process_is_named_by_all_others(tmp_path, world):
    run("lost", world, tmp_path, allowed=(world - 1,))
    assert len(list(tmp_path.glob("noticed-*"))) == world - 1


def test_a_process_that_does_not_answer_is_named(tmp_path):
    run("silent", 3, tmp_path)


def test_without_torchrun_it_says_what_to_do():
    import torch

    with pytest.raises(HopfieldError, match="start them with torchrun, and call"):
        AssociativeMemory.sharded(torch.eye(3))
