"""The published files of MNIST and its look-alikes, in torchvision's layout, with the checksums that identify them.

How they are found, downloaded, read and checked is in `digits`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RawFile:
    """One file of torchvision's layout, and what identifies the published one."""

    name: str
    shape: tuple[int, ...]
    md5: str | None
    """Of the raw file; None where it is not published."""
    packed_md5: str
    """Of the .gz file, as in torchvision's `resources`."""


@dataclass(frozen=True)
class Source:
    """The files of one set of digits. torchvision_class: its class in `torchvision.datasets`, and the folder's name."""

    torchvision_class: str
    images: RawFile
    labels: RawFile
    unseen_images: RawFile
    unseen_labels: RawFile
    """Of its own test set."""


DIGITS_FILES, UNSEEN_FILES = ("images", "labels"), ("unseen_images", "unseen_labels")
"""Fields of `Source` whose files are read together."""


def _source(
    torchvision_class: str,
    images: tuple[str | None, str],
    labels: tuple[str | None, str],
    unseen_images: tuple[str | None, str],
    unseen_labels: tuple[str | None, str],
) -> Source:
    return Source(
        torchvision_class,
        RawFile("train-images-idx3-ubyte", (60_000, 28, 28), *images),
        RawFile("train-labels-idx1-ubyte", (60_000,), *labels),
        RawFile("t10k-images-idx3-ubyte", (10_000, 28, 28), *unseen_images),
        RawFile("t10k-labels-idx1-ubyte", (10_000,), *unseen_labels),
    )


SOURCES = {
    "mnist": _source(
        "MNIST",
        images=("6bbc9ace898e44ae57da46a324031adb", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        labels=("a25bea736e30d166cdddb491f175f624", "d53e105ee54ea40749a09fcbcd1e9432"),
        unseen_images=("2646ac647ad5339dbf082846283269ea", "9fb629c4189551a2d022fa330f9573f3"),
        unseen_labels=("27ae3e4e09519cfbb04c329615203637", "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    "fashion-mnist": _source(
        "FashionMNIST",
        images=(None, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        labels=(None, "25c81989df183df01b3e8a0aad5dffbe"),
        unseen_images=(None, "bef4ecab320f06d8554ea6380940ec79"),
        unseen_labels=(None, "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
    "kmnist": _source(
        "KMNIST",
        images=(None, "bdb82020997e1d708af4cf47b453dcf7"),
        labels=(None, "e144d726b3acfaa3e44228e80efcd344"),
        unseen_images=(None, "5c965bf0a639b31b8f53240b1b52f4d7"),
        unseen_labels=(None, "7320c461ea6c1c855c0b718fb2a4b134"),
    ),
}
