"""LeRobotDatasets on the Hugging Face hub: the revision to read, and the folder that holds it on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from forehand.data.features import INFO_FILE
from forehand.data.lerobot.formats import FORMATS

FILES = ["meta/*", "data/*", "videos/*"]
"""What is fetched of a repository."""

_VERSION = re.compile(r"v(\d+)\.(\d+)")


def download_dataset(repository: str, revision: str | None = None) -> Path:
    """The folder of the dataset ``repository`` (``owner/name``): where LeRobot keeps it, else fetched from the hub.

    revision: a branch, tag or commit; None: that of the latest format that can be read, or ``main`` where no revision is
    named after a format. Where the hub cannot be asked (``HF_HUB_OFFLINE=1``), copies in the caches of LeRobot and of
    the hub's client are taken. Raises what the hub's client raises.
    """
    from huggingface_hub import snapshot_download
    from lerobot.utils.constants import HF_LEROBOT_HOME, HF_LEROBOT_HUB_CACHE

    local = HF_LEROBOT_HOME / repository
    if revision is None and (local / INFO_FILE).is_file():
        return Path(local)
    try:
        chosen = revision or latest_format(_revisions(repository))
        cache = HF_LEROBOT_HUB_CACHE
        return Path(
            snapshot_download(repository, repo_type="dataset", revision=chosen, cache_dir=cache, allow_patterns=FILES)
        )
    except Exception:  # the hub's client fails in many ways where there is no network
        if cached := _cached(repository, revision):
            return cached
        raise


def latest_format(names: Iterable[str]) -> str:
    """Of a repository's branches and tags, that of the latest format that can be read; ``main`` where there is none."""
    found = [(int(match[1]), int(match[2]), name) for name in names if (match := _VERSION.fullmatch(name))]
    return max((one for one in found if f"v{one[0]}" in FORMATS), default=(0, 0, "main"))[2]


def _revisions(repository: str) -> list[str]:
    from huggingface_hub import HfApi

    refs = HfApi().list_repo_refs(repository, repo_type="dataset")
    return [ref.name for ref in [*refs.branches, *refs.tags]]


def _cached(repository: str, revision: str | None) -> Path | None:
    """The folder in a cache of ``revision``, or of the latest format, if there is one."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import LocalEntryNotFoundError
    from lerobot.utils.constants import HF_LEROBOT_HUB_CACHE

    for cache in (HF_LEROBOT_HUB_CACHE, Path(HF_HUB_CACHE)):
        refs = cache / f"datasets--{repository.replace('/', '--')}" / "refs"
        chosen = revision or latest_format(path.name for path in refs.glob("*"))
        try:
            found = snapshot_download(
                repository, repo_type="dataset", revision=chosen, cache_dir=cache, local_files_only=True
            )
        except LocalEntryNotFoundError:
            continue
        return Path(found)
    return None
