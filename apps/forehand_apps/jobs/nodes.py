"""Computers that train together: as the options name them, or as SLURM started this step on them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from omegaconf import DictConfig

from forehand.errors import ConfigurationError

PORTS = range(20_000, 30_000)
"""Where they meet, by the number of SLURM's job: below the ports that systems give to connections."""


@dataclass(frozen=True)
class Nodes:
    """Computers that train together: how many, which of them this one is, and host:port of the one of rank 0."""

    count: int = 1
    rank: int = 0
    rendezvous: str | None = None


def nodes_of(launch: DictConfig) -> Nodes:
    """The computers of ``launch``; what it leaves open is SLURM's, or 1. Raises :class:`ConfigurationError`."""
    if launch.nodes is None and (step := _slurm_step()):
        return step
    nodes = Nodes(launch.nodes or 1, launch.node_rank or 0, launch.rendezvous)
    if nodes.count > 1 and nodes.rendezvous is None:
        raise ConfigurationError(
            f"launch.nodes={nodes.count} needs the place where they meet: launch.rendezvous=<host of node 0>:<port>."
        )
    if not 0 <= nodes.rank < nodes.count:
        raise ConfigurationError(f"launch.node_rank must be from 0 to {nodes.count - 1}, not {nodes.rank}.")
    return nodes


def is_first_node() -> bool:
    """Whether this is the first computer of SLURM's step, or the only one."""
    return os.environ.get("SLURM_NODEID", "0") == "0"


def _slurm_step() -> Nodes | None:
    """The computers of the step that srun started here; None where it did not, or on one only."""
    count = int(os.environ.get("SLURM_STEP_NUM_NODES", 1))
    if count == 1:
        return None
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", count))
    if tasks != count:
        raise ConfigurationError(
            f"srun started {tasks} tasks on {count} nodes, and one is needed on each, which starts a process for each "
            f"device there: srun --ntasks-per-node=1."
        )
    port = PORTS[int(os.environ["SLURM_JOB_ID"]) % len(PORTS)]
    return Nodes(count, int(os.environ["SLURM_NODEID"]), f"{first_host(os.environ['SLURM_STEP_NODELIST'])}:{port}")


def first_host(hosts: str) -> str:
    """The first of SLURM's list of hosts: that of ``node[03-05,09],login1`` is node03."""
    found = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\])?([^\[,]*)", hosts)
    if found is None:
        raise ConfigurationError(f"SLURM_STEP_NODELIST={hosts!r} names no host.")
    return "".join(group or "" for group in found.groups())
