"""The drawn environments: shares, splits, streams."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from irm_study.config import EnvironmentSpec, TrainSpec
from irm_study.data import Examples, build_environments, paint, stream
from irm_study.data.environments import subsample


def test_flips_and_label_noise_have_the_shares_asked_for(embedded):
    spec = EnvironmentSpec(validation_flip=0.5)
    data = build_environments(embedded, spec, range(4))
    digit = np.repeat(embedded.labels, 4)
    examples = {name: (data.train.rows[:, i], data.train.labels[:, i], data.train.colours[:, i])
                for i, name in enumerate(spec.train_names)}  # fmt: skip
    examples |= {name: (each.rows, each.labels, each.colours) for name, each in data.measured.items()}
    flips = {"train1": 0.2, "train2": 0.1, "heldout": 0.15, "test": 0.9, "validation": 0.5}
    for name, (rows, labels, colours) in examples.items():
        count = labels.numel()
        clean = digit[rows.numpy()] < 5
        noise = (clean != (labels.numpy() > 0.5)).mean()
        flipped = (colours.numpy() != labels.numpy()).mean()
        for share, wanted in ((noise, 0.25), (flipped, flips[name])):
            assert abs(share - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / count), name


def test_a_part_of_each_training_environment_is_held_out_with_its_flip_and_shares_no_digit(embedded):
    spec = EnvironmentSpec(heldout_examples=1000, train_flips=(0.4, 0.1))
    data = build_environments(embedded, spec, [0])
    assert spec.names == ("train1", "train2", "heldout", "test", "heldout1", "heldout2")
    digits = [set((rows[0] // 4).tolist()) for rows in (data.train.rows[:, 0], data.train.rows[:, 1],
              *(data.measured[name].rows for name in ("test", "heldout1", "heldout2")))]  # fmt: skip
    assert sum(map(len, digits)) == len(set.union(*digits)) == 5000
    for name, flip in (("heldout1", 0.4), ("heldout2", 0.1)):
        part = data.measured[name]
        assert part.rows.shape == (1, 1000)
        differ = (part.labels != part.colours).float().mean()
        assert abs(float(differ) - flip) < 4 * (flip * (1 - flip) / 1000) ** 0.5


def test_the_digits_own_test_set_is_an_environment_and_changes_no_other(mnist):
    spec = EnvironmentSpec(unseen_examples=10_000)
    assert spec.names[-1] == "unseen"
    plain, data = (build_environments(mnist, each, [3]) for each in (EnvironmentSpec(), spec))
    folder = Path(os.environ["IRM_STUDY_DATA"]) / "MNIST" / "raw"
    images = np.frombuffer((folder / "t10k-images-idx3-ubyte").read_bytes()[16:], np.uint8).reshape(-1, 28, 28)
    classes = np.frombuffer((folder / "t10k-labels-idx1-ubyte").read_bytes()[8:], np.uint8)
    unseen = data.measured["unseen"]
    assert np.array_equal(data.pixels[unseen.rows[0]].numpy(), images[:, ::2, ::2])
    noisy = (unseen.labels[0].numpy() > 0.5) != (classes < 5)
    flipped = unseen.colours[0] != unseen.labels[0]
    assert abs(noisy.mean() - 0.25) < 4 * (0.25 * 0.75 / 10_000) ** 0.5
    assert abs(float(flipped.float().mean()) - 0.9) < 4 * (0.9 * 0.1 / 10_000) ** 0.5
    for ours, theirs in ((data.train, plain.train), (data.measured["test"], plain.measured["test"])):
        for part in ("rows", "labels", "colours"):
            assert torch.equal(getattr(ours, part), getattr(theirs, part))


def test_unseen_examples_that_cannot_be_are_refused(embedded, mnist):
    with pytest.raises(ValueError, match="embedded digits have no test set of their own; mnist, fashion-mnist, kmnist"):
        build_environments(embedded, EnvironmentSpec(unseen_examples=100), [0])
    with pytest.raises(ValueError, match="at most 10000, which is what mnist's own test set has; got 10001"):
        build_environments(mnist, EnvironmentSpec(unseen_examples=10_001), [0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heldout_examples": 8_000}, "heldout_examples must leave digits to train on; got 8000 of each of 2"),
        ({"heldout_examples": 100, "train_flips": (0.2, 0.2)}, "which must differ; got train_flips"),
    ],
)
def test_held_out_parts_that_cannot_be_are_refused(embedded, changes, message):
    with pytest.raises(ValueError, match=message):
        build_environments(embedded, TrainSpec(environments=EnvironmentSpec(**changes)).environments, [0])


def test_no_digit_is_shared_between_training_validation_and_test(embedded):
    data = build_environments(embedded, EnvironmentSpec(validation_flip=0.5), [0, 1])
    for run in range(2):
        train = [set((data.train.rows[run, i] // 4).tolist()) for i in range(2)]
        validation = set((data.measured["validation"].rows[run] // 4).tolist())
        test = set((data.measured["test"].rows[run] // 4).tolist())
        groups = [*train, validation, test]
        assert len(set().union(*groups)) == sum(len(group) for group in groups)
        assert test == set(range(4000, 5000)) == set((data.measured["heldout"].rows[run] // 4).tolist())


def test_embedded_digits_give_sixteen_thousand_and_four_thousand_images(embedded):
    data = build_environments(embedded, EnvironmentSpec(), [0])
    assert data.train.rows.shape == (1, 2, 8000)
    assert data.measured["test"].rows.shape == (1, 4000)


def test_mnist_is_dealt_as_the_authors_deal_it(mnist):
    data = build_environments(mnist, EnvironmentSpec(), [0])
    assert data.train.rows.shape == (1, 2, 25_000)
    assert sorted(data.train.rows.flatten().tolist()) == list(range(50_000))
    assert data.measured["test"].rows[0].tolist() == list(range(50_000, 60_000))


def test_blocks_are_in_file_order(few):
    data = build_environments(few, EnvironmentSpec(split="blocks", resolution=28, test_examples=200), [9])
    assert data.train.rows[0].tolist() == [list(range(200)), list(range(200, 400))]
    assert data.measured["test"].rows[0].tolist() == list(range(400, 600))


def test_a_seed_draws_the_same_alone_and_beside_others(few):
    alone = build_environments(few, EnvironmentSpec(), [5])
    beside = build_environments(few, EnvironmentSpec(), [1, 5])
    for part in ("rows", "labels", "colours"):
        assert (getattr(alone.train, part)[0] == getattr(beside.train, part)[1]).all()


def test_one_draw_disturbs_no_other(few):
    plain = build_environments(few, EnvironmentSpec(), [5])
    other = build_environments(few, EnvironmentSpec(train_flips=(0.4, 0.1), test_flip=0.5), [5])
    assert (plain.train.rows == other.train.rows).all()
    assert (plain.train.labels == other.train.labels).all()
    assert (plain.train.colours[:, 1] == other.train.colours[:, 1]).all()
    assert (plain.train.colours[:, 0] != other.train.colours[:, 0]).any()


def test_different_seeds_differ(few):
    data = build_environments(few, EnvironmentSpec(), [0, 1])
    assert (data.train.rows[0] != data.train.rows[1]).any()
    assert stream(0, "a").random() != stream(0, "b").random()


def test_the_four_phases_are_four_images_of_one_digit(embedded):
    phases = subsample(embedded.images[:1], 14, 4)
    whole = embedded.images[0]
    for index, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        np.testing.assert_array_equal(phases[index], whole[row::2, column::2])


@pytest.mark.parametrize("channels", ["grey", "two", "rgb"])
@pytest.mark.parametrize("normalise", [False, True])
def test_a_painted_image_lies_in_its_colours_channel(few, channels, normalise):
    spec = EnvironmentSpec(channels=channels, normalise=normalise)
    data = build_environments(few, spec, [0])
    some = Examples(*(getattr(data.train, part)[:, 0, :8] for part in ("rows", "labels", "colours")))
    images = paint(data, some)[0].numpy()
    for image, row, colour in zip(images, some.rows[0], some.colours[0], strict=True):
        expected = np.zeros_like(image)
        expected[0 if channels == "grey" else int(colour)] = data.pixels[row].numpy() / 255
        if normalise:
            mean = np.array([0.1307, 0.1307, 0.0])[: len(expected), None, None]
            expected = (expected - mean) / 0.3081
        np.testing.assert_allclose(image, expected, atol=1e-6)


def test_too_many_test_examples_are_refused_with_their_number(few):
    with pytest.raises(ValueError, match="test_examples must leave digits to train on; got 2400"):
        build_environments(few, EnvironmentSpec(test_examples=2400), [0])
