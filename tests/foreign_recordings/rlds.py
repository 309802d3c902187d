"""RLDS datasets as TensorFlow Datasets lays them out, written without it."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tests.foreign_recordings.pictures import scene

Example = dict[str, tuple[Any, str]]
FEATURES = "tensorflow_datasets.core.features"


def tensor(dtype: str, *shape: int) -> dict[str, Any]:
    dimensions = {"dimensions": [str(n) for n in shape]} if shape else {}
    return {
        "pythonClassName": f"{FEATURES}.tensor_feature.Tensor",
        "tensor": {"shape": dimensions, "dtype": dtype, "encoding": "none"},
    }


def image(*shape: int, encoding: str = "jpeg") -> dict[str, Any]:
    about = {"shape": {"dimensions": [str(n) for n in shape]}, "dtype": "uint8", "encodingFormat": encoding}
    return {"pythonClassName": f"{FEATURES}.image_feature.Image", "image": about}


def text() -> dict[str, Any]:
    return {"pythonClassName": f"{FEATURES}.text_feature.Text", "text": {}}


def features(entries: dict[str, Any]) -> dict[str, Any]:
    return {"pythonClassName": f"{FEATURES}.features_dict.FeaturesDict", "featuresDict": {"features": entries}}


def steps(entries: dict[str, Any]) -> dict[str, Any]:
    return {
        "pythonClassName": f"{FEATURES}.dataset_feature.Dataset",
        "sequence": {"feature": features(entries), "length": "-1"},
    }


def encoded(picture: NDArray[np.uint8], kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, quality=95)
    return file.getvalue()


def numbers(values: Any) -> tuple[Any, str]:
    flat = np.asarray(values)
    return flat.reshape(-1).tolist(), "int" if flat.dtype.kind in "biu" else "float"


def words(values: Iterable[str]) -> tuple[Any, str]:
    return [value.encode() for value in values], "byte"


def write_rlds(root: Path, name: str, schema: dict[str, Any], shards: list[list[Example]]) -> Path:
    """One split ``train``; returns the folder of the version."""
    from tfrecord.writer import TFRecordWriter

    folder = root / name / "1.0.0"
    folder.mkdir(parents=True)
    for i, shard in enumerate(shards):
        writer = TFRecordWriter(str(folder / f"{name}-train.tfrecord-{i:05d}-of-{len(shards):05d}"))
        for episode in shard:
            writer.write(episode)
        writer.close()
    split = {
        "name": "train",
        "shardLengths": [str(len(shard)) for shard in shards],
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    info = {"name": name, "version": "1.0.0", "fileFormat": "tfrecord", "splits": [split]}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "features.json").write_text(json.dumps(schema))
    return folder


DROID = features(
    {
        "steps": steps(
            {
                "observation": features(
                    {
                        **{
                            f"{view}_left": image(180, 320, 3)
                            for view in ("exterior_image_1", "exterior_image_2", "wrist_image")
                        },
                        "cartesian_position": tensor("float64", 6),
                        "joint_position": tensor("float64", 7),
                        "gripper_position": tensor("float64", 1),
                    }
                ),
                "action_dict": features(
                    {
                        "cartesian_position": tensor("float64", 6),
                        "cartesian_velocity": tensor("float64", 6),
                        "joint_position": tensor("float64", 7),
                        "joint_velocity": tensor("float64", 7),
                        "gripper_position": tensor("float64", 1),
                        "gripper_velocity": tensor("float64", 1),
                    }
                ),
                "action": tensor("float64", 7),
                **{f"language_instruction{i}": text() for i in ("", "_2", "_3")},
                "is_last": tensor("bool"),
            }
        ),
        "episode_metadata": features({"file_path": text(), "recording_folderpath": text()}),
    }
)


def droid_episode(length: int, sentences: tuple[str, str, str], outcome: str = "success") -> Example:
    """Every quantity has numbers of its own: 100 × its place in ``action_dict``, and then the step."""
    step, o = np.arange(length), "steps/observation"
    sizes = {"cartesian_position": 6, "cartesian_velocity": 6, "joint_position": 7, "joint_velocity": 7}
    sizes |= {"gripper_position": 1, "gripper_velocity": 1}
    picture = np.zeros((180, 320, 3), np.uint8)
    frames = []
    for i in step:
        picture[:, :180] = scene(180, int(i))
        frames.append(encoded(picture))
    return {
        **{f"{o}/{view}_left": (frames, "byte") for view in ("exterior_image_1", "exterior_image_2", "wrist_image")},
        f"{o}/cartesian_position": numbers(np.repeat(0.1 * step, 6)),
        f"{o}/joint_position": numbers(np.repeat(0.2 * step, 7)),
        f"{o}/gripper_position": numbers(0.01 * step),
        **{
            f"steps/action_dict/{name}": numbers(np.repeat(100.0 * i + step, size))
            for i, (name, size) in enumerate(sizes.items())
        },
        "steps/action": numbers(np.repeat(-1.0 - step, 7)),
        **{
            f"steps/language_instruction{i}": words([sentence] * length)
            for i, sentence in zip(("", "_2", "_3"), sentences, strict=True)
        },
        "steps/is_last": numbers((step == length - 1).astype(int)),
        "episode_metadata/file_path": words([f"/nfs/lab/{outcome}/2023-01-01/trajectory.h5"]),
        "episode_metadata/recording_folderpath": words(["/nfs/lab"]),
    }


BRIDGE = features(
    {
        "steps": steps(
            {
                "observation": features(
                    {"image_0": image(64, 64, 3), "image_1": image(64, 64, 3), "state": tensor("float32", 7)}
                ),
                "action": tensor("float32", 7),
                "language_instruction": text(),
            }
        ),
        "episode_metadata": features({"has_image_1": tensor("bool")}),
    }
)


def bridge_episode(length: int, sentence: str, second: bool = True) -> Example:
    frames = [encoded(scene(64, i), "PNG") for i in range(length)]
    return {
        "steps/observation/image_0": (frames, "byte"),
        "steps/observation/image_1": (frames, "byte"),
        "steps/observation/state": numbers(np.arange(7.0 * length)),
        "steps/action": numbers(0.01 * np.arange(7.0 * length)),
        "steps/language_instruction": words([sentence] * length),
        "episode_metadata/has_image_1": numbers(np.array([int(second)])),
    }
