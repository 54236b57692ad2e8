"""The study file: what is read, what is refused and in which words, and what makes two studies different."""

from __future__ import annotations

import datetime
import tomllib

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irm_study.config import (
    EnvironmentSpec,
    Range,
    RunConfig,
    StudySpec,
    TrainSpec,
    changed_fields,
    is_digest_of,
    read_setting,
    read_stored_study,
    read_study,
    read_train,
    run_digest,
    study_digest,
    study_toml,
    train_toml,
)
from irm_study.errors import ConfigError

# The example of the design, as a user has it in front of him.
EXAMPLE = """
name = "quickstart"
digits = "embedded"                  # embedded | mnist | fashion-mnist | kmnist

[environments]
train_flips = [0.2, 0.1]             # any number of training environments, two at least
test_flip = 0.9
# validation_flip = 0.5              # a fourth environment, cut from the training images
label_noise = 0.25

[run]                                # what all runs share; alone, with [environments], it is a file for `train`
model = "mlp"
hidden = 64
penalty = "irmv1"
epochs = 201
l2_weight = 0.001

[search]                             # what Optuna varies: a range, or a list of choices
penalty_weight = { low = 10.0, high = 1e6, log = true }
ramp = ["step", "linear", "exponential", "cosine"]
anneal_epoch = { low = 5, high = 120 }
learning_rate = { low = 5e-4, high = 2e-2, log = true }

[study]
trials = 12
seeds = 4                            # runs a trial; a number, or a list of seeds
criterion = "oracle_min"             # how a run is scored; printed on every page
aggregate = "mean"
sampler = "tpe"                      # tpe | random | grid
sampler_seed = 0

[confirm]
top = 1
seeds = 8                            # fresh ones
"""


@pytest.fixture
def study_file(tmp_path):
    """Writes a study file; returns its path."""

    def write(content: str | bytes):
        path = tmp_path / "study.toml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def spec_of(**tables) -> StudySpec:
    return StudySpec.model_validate({"name": "a"} | tables)


def test_the_example_of_the_design_reads(study_file):
    spec = read_study(study_file(EXAMPLE))
    assert (spec.name, spec.digits) == ("quickstart", "embedded")
    assert spec.environments == EnvironmentSpec(train_flips=(0.2, 0.1), test_flip=0.9, label_noise=0.25)
    assert spec.run == RunConfig(model="mlp", hidden=64, penalty="irmv1", epochs=201, l2_weight=0.001)
    assert spec.search == {
        "penalty_weight": Range(low=10.0, high=1e6, log=True),
        "ramp": ("step", "linear", "exponential", "cosine"),
        "anneal_epoch": Range(low=5, high=120),
        "learning_rate": Range(low=5e-4, high=2e-2, log=True),
    }
    assert spec.study.trials == 12
    assert spec.study.seed_list == (0, 1, 2, 3)
    assert (spec.study.criterion, spec.study.aggregate) == ("oracle_min", "mean")
    assert (spec.study.sampler, spec.study.sampler_seed) == ("tpe", 0)
    assert (spec.confirm.top, spec.confirm.seeds) == (1, 8)


def test_a_file_with_a_name_alone_has_the_authors_configuration(study_file):
    spec = read_study(study_file('name = "a"'))
    run, environments = spec.run, spec.environments
    assert (run.model, run.hidden, run.layers, run.activation) == ("mlp", 256, 2, "relu")
    assert (run.penalty, run.penalty_weight, run.initial_weight) == ("irmv1", 10_000.0, 1.0)
    assert (run.anneal_epoch, run.ramp, run.epochs) == (100, "step", 501)
    assert (run.learning_rate, run.l2_weight, run.batch_size) == (0.001, 0.001, None)
    assert run.rescale
    assert (environments.train_flips, environments.test_flip) == ((0.2, 0.1), 0.9)
    assert (environments.validation_flip, environments.label_noise) == (None, 0.25)


def test_seeds_may_be_a_list(study_file):
    spec = read_study(study_file('name = "a"\n[study]\nseeds = [7, 3]'))
    assert spec.study.seed_list == (7, 3)


def test_a_whole_number_will_do_for_a_float_and_is_the_same_study(study_file):
    texts = ("penalty_weight = [10, 100]\nl2_weight = {low = 0, high = 1}",
             "penalty_weight = [10.0, 100.0]\nl2_weight = {low = 0.0, high = 1.0}")  # fmt: skip
    whole, point = (read_study(study_file(f"{NAME}[search]\n{text}")) for text in texts)
    assert study_digest(whole) == study_digest(point)
    assert changed_fields(whole, point) == []


# What is wrong with a file: its text after the name, the key that the message names, and what else the message says.
NAME = 'name = "a"\n'
WRONG = {
    "unknown key at the top": ("colour = 3", "colour", ["unknown key", "3", "environments"]),
    "unknown key in environments": ("[environments]\nflip = 0.5", "environments.flip", ["0.5", "test_flip"]),
    "unknown key in run": ("[run]\nhiden = 390", "run.hiden", ["unknown key", "390", "hidden"]),
    "unknown key in study": ("[study]\ntrial = 3", "study.trial", ["unknown key", "3", "trials"]),
    "unknown key in confirm": ("[confirm]\nbest = 3", "confirm.best", ["unknown key", "3", "top"]),
    "unknown key in a range": (
        "[search]\nhidden = {low = 4, high = 8, steps = 2}", "search.hidden.steps", ["unknown key", "2", "log"],
    ),
    "unknown hyperparameter": ("[search]\nmomentum = [0.9]", "search.momentum", ["0.9", "learning_rate"]),
    "a number for a table": ("run = 3", "run", ["table", "3"]),
    "a list for a table": ("[[run]]\nhidden = 3", "run", ["table"]),
    "a number for the search": ("search = 3", "search", ["table", "3"]),
    "a bool for a whole number": ("[run]\nhidden = true", "run.hidden", ["integer", "True"]),
    "a bool for a number": ("[run]\nlearning_rate = true", "run.learning_rate", ["number", "True"]),
    "a float for a whole number": ("[run]\nhidden = 8.0", "run.hidden", ["integer", "8.0"]),
    "a string for a number": ('[run]\nlearning_rate = "0.1"', "run.learning_rate", ["number", "'0.1'"]),
    "a number for a bool": ("[run]\nrescale = 1", "run.rescale", ["boolean", "1"]),
    "a date for a number": ("[run]\nl2_weight = 1979-05-27", "run.l2_weight", ["number", "1979"]),
    "not a number": ("[run]\nlearning_rate = nan", "run.learning_rate", ["finite", "nan"]),
    "infinity": ("[run]\npenalty_weight = inf", "run.penalty_weight", ["finite", "inf"]),
    "beyond double precision": ("[run]\nlearning_rate = 1e400", "run.learning_rate", ["finite", "inf"]),
    "not above zero": ("[run]\nlearning_rate = 0.0", "run.learning_rate", ["greater than 0", "0.0"]),
    "a negative flip": ("[environments]\ntest_flip = -0.1", "environments.test_flip", ["0", "-0.1"]),
    "a test environment like the training ones": (
        "[environments]\ntest_flip = 0.2", "environments.test_flip", ["0.1 at least", "0.15", "0.2"],
    ),
    "a validation environment like the training ones": (
        "[environments]\nvalidation_flip = 0.15", "environments.validation_flip", ["0.1 at least", "heldout"],
    ),
    "a flip above one": ("[environments]\ntrain_flips = [0.2, 1.5]", "environments.train_flips.1", ["1", "1.5"]),
    "a string for a flip": ('[environments]\ntrain_flips = ["0.2", 0.1]', "environments.train_flips.0", ["'0.2'"]),
    "one training environment": ("[environments]\ntrain_flips = [0.2]", "environments.train_flips", ["2", "[0.2]"]),
    "a number for flips": ("[environments]\ntrain_flips = 0.2", "environments.train_flips", ["list", "0.2"]),
    "label noise of a half": ("[environments]\nlabel_noise = 0.5", "environments.label_noise", ["0.5"]),
    "unknown ramp": ('[run]\nramp = "sine"', "run.ramp", ["'sine'", "step, linear, power"]),
    "unknown penalty": ('[run]\npenalty = "coral"', "run.penalty", ["'coral'", "irmv1"]),
    "unknown model": ('[run]\nmodel = "resnet"', "run.model", ["'resnet'", "mlp"]),
    "unknown stopping rule": ('[run]\nstop = "luck"', "run.stop", ["'luck'", "none"]),
    "unknown criterion": ('[study]\ncriterion = "best"', "study.criterion", ["'best'", "oracle_min"]),
    "unknown aggregate": ('[study]\naggregate = "max"', "study.aggregate", ["'max'", "mean"]),
    "unknown sampler": ('[study]\nsampler = "cma"', "study.sampler", ["'cma'", "tpe"]),
    "unknown digits": ('digits = "svhn"', "digits", ["'svhn'", "embedded"]),
    "a searched ramp that does not exist": ('[search]\nramp = ["step", "sine"]', "search.ramp", ["'sine'", "cosine"]),
    "low above high": ("[search]\nhidden = {low = 8, high = 4}", "search.hidden", ["low", "8", "4"]),
    "log from zero": ("[search]\nl2_weight = {low = 0.0, high = 1.0, log = true}", "search.l2_weight", ["above 0"]),
    "a range without high": ("[search]\nhidden = {low = 8}", "search.hidden.high", ["needed"]),
    "a range to infinity": ("[search]\nl2_weight = {low = 0.0, high = inf}", "search.l2_weight.high", ["inf"]),
    "a range of bools": ("[search]\nhidden = {low = 1, high = true}", "search.hidden.high", ["number", "True"]),
    "a fractional range of whole numbers": (
        "[search]\nhidden = {low = 4.5, high = 8}", "search.hidden.low", ["integer", "4.5"],
    ),
    "a range beyond the rule": ("[search]\nlearning_rate = {low = -1, high = 1}", "search.learning_rate.low", ["-1"]),
    "a range of ramps": ("[search]\nramp = {low = 1, high = 3}", "search.ramp", ["list of choices"]),
    "one value to search": ("[search]\nhidden = 8", "search.hidden", ["range", "list", "8"]),
    "no choices": ("[search]\nramp = []", "search.ramp", ["at least one", "[]"]),
    "the same choice twice": ("[search]\nhidden = [8, 4, 8]", "search.hidden", ["differ", "[8, 4, 8]"]),
    "the same choice as another number": ("[search]\nl2_weight = [1, 1.0]", "search.l2_weight", ["differ"]),
    "a choice of the wrong type": ("[search]\nhidden = [8, '4']", "search.hidden", ["integer", "'4'"]),
    "a choice that is a table": ("[search]\nhidden = [{low = 1}]", "search.hidden", ["integer"]),
    "a grid with a range": (
        '[search]\nhidden = {low = 4, high = 8}\n[study]\nsampler = "grid"', "search.hidden", ["'grid'", "list"],
    ),
    "anneal beyond the epochs": ("[run]\nanneal_epoch = 501", "run.anneal_epoch", ["[0, epochs = 501)", "501"]),
    "searched anneal beyond the epochs": (
        "[search]\nanneal_epoch = {low = 5, high = 600}", "search.anneal_epoch", ["[0, epochs = 501)", "600"],
    ),
    "searched anneal beyond every searched length": (
        "[search]\nepochs = [101, 201]\nanneal_epoch = [50, 201]", "search.anneal_epoch", ["epochs = 101)", "201"],
    ),
    "searched anneal beyond one of the searched lengths": (
        "[search]\nepochs = [1, 20]\nanneal_epoch = [10]\n[study]\nsampler = 'grid'",
        "search.anneal_epoch", ["epochs = 1)", "got 10", "search.epochs = 1"],
    ),
    "searched anneal beyond the lower end of searched lengths": (
        "[search]\nepochs = {low = 50, high = 99}\nanneal_epoch = {low = 0, high = 60}",
        "search.anneal_epoch", ["epochs = 50)", "got 60", "search.epochs = 50"],
    ),
    "the anneal of all runs beyond some of the searched lengths": (
        "[search]\nepochs = [101, 50]", "run.anneal_epoch", ["epochs = 50)", "got 100", "search.epochs = 50"],
    ),
    "a searched network for other images": (
        "[search]\nmodel = ['mlp', 'convnet']", "search.model", ["'convnet'", "environments.resolution = 28", "14"],
    ),
    "a searched stopping rule without its environment": (
        "[search]\nstop = ['none', 'validation_target']", "search.stop", ["environments.validation_flip"],
    ),
    "a step of a log range": (
        "[search]\nhidden = {low = 4, high = 64, log = true, step = 2}", "search.hidden", ["no step", "2"],
    ),
    "a step backwards": ("[search]\nhidden = {low = 4, high = 64, step = -4}", "search.hidden", ["above 0", "-4"]),
    "a step of nothing": ("[search]\nl2_weight = {low = 0, high = 1, step = 0.0}", "search.l2_weight", ["above 0"]),
    "a step wider than the range": (
        "[search]\nhidden = {low = 4, high = 8, step = 5}", "search.hidden", ["no wider", "5"],
    ),
    "a fractional step of whole numbers": (
        "[search]\nhidden = {low = 4, high = 8, step = 1.5}", "search.hidden.step", ["whole", "1.5"],
    ),
    "a step that is no number": (
        "[search]\nhidden = {low = 4, high = 8, step = true}", "search.hidden.step", ["number", "True"],
    ),
    "a log range a few units in the last place wide": (
        "[search]\nlearning_rate = {low = 1e-3, high = 1.0000000000000005e-3, log = true}",
        "search.learning_rate", ["too close", "0.001", "0.0010000000000000005"],
    ),
    "a range of the smallest numbers there are": (
        "[search]\nl2_weight = {low = 0.0, high = 5e-324}", "search.l2_weight", ["too close", "5e-324"],
    ),
    "a range of whole numbers that double precision lacks": (
        "[search]\nbatch_size = {low = 2, high = 9007199254740993}", "search.batch_size.high", ["2147483647"],
    ),
    "neighbours of no winner": (
        "[confirm]\ntop = 0\nneighbours = true", "confirm.top", ["1 at least", "neighbours = true", "0"],
    ),
    "draws of no winner": ("[confirm]\ntop = 0\ndraws = 3", "confirm.top", ["1 at least", "draws = 3", "0"]),
    "first points that are no tables": ("[study]\nenqueue = [3]", "study.enqueue.0", ["table", "3"]),
    "a number for first points": ("[study]\nenqueue = 3", "study.enqueue", ["tables", "3"]),
    "an empty first point": ("[search]\nhidden = [4]\n[[study.enqueue]]", "study.enqueue.0", ["one", "{}"]),
    "a first point of an unknown hyperparameter": (
        "[[study.enqueue]]\nmomentum = 3", "study.enqueue.0.momentum", ["unknown", "3", "hidden"],
    ),
    "a first point of a hyperparameter that is not searched": (
        "[search]\nhidden = [4, 8]\n[[study.enqueue]]\nhidden = 8\n[[study.enqueue]]\nlayers = 3",
        "study.enqueue.1.layers", ["not searched", "3", "hidden"],
    ),
    "a first point of the wrong type": (
        "[search]\nhidden = [4, 8]\n[[study.enqueue]]\nhidden = 8.5", "study.enqueue.0.hidden", ["integer", "8.5"],
    ),
    "a first point beside the choices": (
        "[search]\nhidden = [4, 8]\n[[study.enqueue]]\nhidden = 6", "study.enqueue.0.hidden", ["[4, 8]", "got 6"],
    ),
    "a first point outside a range": (
        "[search]\nhidden = {low = 4, high = 8}\n[[study.enqueue]]\nhidden = 9",
        "study.enqueue.0.hidden", ["4 to 8", "got 9"],
    ),
    "a first point between the steps": (
        "[search]\nhidden = {low = 4, high = 8, step = 2}\n[[study.enqueue]]\nhidden = 5",
        "study.enqueue.0.hidden", ["in steps of 2", "got 5"],
    ),
    "first points of a grid": (
        "[search]\nhidden = [4, 8]\n[study]\nsampler = 'grid'\n[[study.enqueue]]\nhidden = 8",
        "study.enqueue", ["'grid'", "'tpe'"],
    ),
    "seeds twice": ("[study]\nseeds = [3, 1, 3]", "study.seeds", ["differ", "[3, 1, 3]"]),
    "no seeds": ("[study]\nseeds = 0", "study.seeds", ["[1, 10000]", "0"]),
    "an empty list of seeds": ("[study]\nseeds = []", "study.seeds", ["[1, 10000]", "[]"]),
    "a bool for seeds": ("[study]\nseeds = true", "study.seeds", ["number", "True"]),
    "a bool among the seeds": ("[study]\nseeds = [1, true]", "study.seeds", ["whole numbers", "True"]),
    "a negative seed": ("[study]\nseeds = [-1]", "study.seeds", ["[0, 2**32)", "-1"]),
    "a string for seeds": ('[study]\nseeds = "4"', "study.seeds", ["number", "'4'"]),
    "no trials": ("[study]\ntrials = 0", "study.trials", ["1", "0"]),
    "a criterion without its environment": (
        '[study]\ncriterion = "validation_min"', "study.criterion", ["validation_flip"],
    ),
    "a stopping rule without its environment": ('[run]\nstop = "validation_target"', "run.stop", ["validation_flip"]),
    "a network for other images": ('[run]\nmodel = "convnet"', "run.model", ["resolution = 28", "14"]),
    "a huge whole number": ("[study]\ntrials = 0x" + "f" * 6000, "study.trials", ["1000000", "too large to show"]),
    "a huge number for a float": ("[run]\nl2_weight = 0x" + "f" * 6000, "run.l2_weight", ["too large to show"]),
    "a huge end of a range": (
        "[search]\nl2_weight = {low = 1, high = 0x" + "f" * 6000 + "}", "search.l2_weight.high", ["too large"],
    ),
    "more digits than Python reads": ("[study]\ntrials = " + "9" * 6000, None, ["not valid TOML"]),
    "tables nested without end": ("a = " + "[" * 20_000 + "]" * 20_000, None, ["not valid TOML"]),
}  # fmt: skip
WRONG = {case: (NAME + text, *rest) for case, (text, *rest) in WRONG.items()} | {
    "a number for a name": ("name = 3", "name", ["string", "3"]),
    "no name": ("[run]\nhidden = 3", "name", ["needed"]),
    "an empty name": ('name = ""', "name", ["at least 1", "''"]),
    "no TOML": ("name = [[", None, ["not valid TOML"]),
    "a key twice": (NAME + NAME, None, ["not valid TOML"]),
    "an empty file": ("", None, ["empty", "name"]),
    "blanks alone": (" \n\t\n", None, ["empty"]),
    "a binary file": (b"\x89PNG\r\n\x1a\n\x00\x00", None, ["not a text file", "byte 0"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_gives_one_line_with_file_key_value_and_what_is_allowed(study_file, case):
    text, key, said = WRONG[case]
    path = study_file(text)
    with pytest.raises(ConfigError) as caught:
        read_study(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{path}: {key}: " if key else f"{path}: ")
    for part in said:
        assert part in message
    assert len(message) < 600


def test_every_mistake_of_a_file_is_told_at_once_a_line_each(study_file):
    path = study_file(NAME + '[run]\nhiden = 3\nramp = "sine"\n[search]\nl2_weight = []\nhidden = {low = 9, high = 1}')
    with pytest.raises(ConfigError) as caught:
        read_study(path)
    keys = {line.removeprefix(f"{path}: ").partition(":")[0] for line in str(caught.value).splitlines()}
    assert keys == {"run.hiden", "run.ramp", "search.l2_weight", "search.hidden"}


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_study(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="is a folder"):
        read_study(tmp_path)


def test_options_of_the_command_line_replace_single_keys(study_file):
    path = study_file(NAME + "[study]\ntrials = 3\nseeds = [5]\nsampler = 'random'")
    spec = read_study(path, {"study.trials": 7})
    assert (spec.study.trials, spec.study.seeds, spec.study.sampler) == (7, (5,), "random")


def test_a_file_for_train_needs_one_configuration(study_file):
    spec = read_train(study_file("[run]\nhidden = 8"))
    assert (spec.name, spec.run.hidden) == ("study", 8)
    assert read_train(study_file(NAME + "[study]\ntrials = 3\n[confirm]\ntop = 1")).run == RunConfig()
    for text, key in (("[search]\nhidden = [4, 8]", "search"), ("[run]\nanneal_epoch = 501", "run.anneal_epoch")):
        path = study_file(text)
        with pytest.raises(ConfigError) as caught:
            read_train(path)
        assert str(caught.value).startswith(f"{path}: {key}: ")


# Anything at all

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**3000), 2**3000), st.floats(), st.text(max_size=8),
    st.just(datetime.date(2020, 1, 1)), st.just(datetime.time(1, 2)),
    st.sampled_from(["step", "sine", "mlp", "oracle_min", "grid", "embedded"]),
)  # fmt: skip
KEYS = st.one_of(
    st.sampled_from([
        *StudySpec.model_fields, *RunConfig.model_fields, *EnvironmentSpec.model_fields,
        "low", "high", "log", "step", "trials", "seeds", "sampler", "top", "criterion", "enqueue",
    ]),
    st.text(max_size=8),
)  # fmt: skip
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=8,
)
RANGES = st.fixed_dictionaries({"low": SCALARS, "high": SCALARS}, optional={"log": SCALARS, "step": SCALARS})
ENTRIES = st.one_of(RANGES, st.lists(SCALARS, max_size=3), NESTED)
TABLES = st.fixed_dictionaries(
    {"name": st.one_of(st.just("a"), SCALARS)},
    optional={
        "digits": SCALARS,
        "environments": st.one_of(st.dictionaries(st.sampled_from([*EnvironmentSpec.model_fields]), NESTED), NESTED),
        "run": st.one_of(st.dictionaries(st.sampled_from([*RunConfig.model_fields]), SCALARS), NESTED),
        "search": st.one_of(st.dictionaries(st.sampled_from([*RunConfig.model_fields]), ENTRIES), NESTED),
        "study": st.one_of(st.dictionaries(st.sampled_from(["trials", "seeds", "enqueue"]), ENTRIES), NESTED),
        "confirm": NESTED,
        "surprise": NESTED,
    },
)
FUZZ = settings(
    max_examples=3400, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
"""Three kinds of input, 10,200 in all."""


def a_study_or_one_error(path) -> None:
    for read, kind in ((read_study, StudySpec), (read_train, TrainSpec)):
        try:
            spec = read(path)
        except ConfigError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            assert isinstance(spec, kind)


@FUZZ
@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "ignore"))))
def test_any_bytes_are_a_study_or_one_error(study_file, content):
    a_study_or_one_error(study_file(content))


WHOLE = EXAMPLE.encode()


@FUZZ
@given(
    cut=st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 30)),
    put=st.one_of(
        st.binary(max_size=8), KEYS.map(str.encode), SCALARS.map(repr).map(lambda text: text.encode("utf-8", "ignore"))
    ),
)
def test_a_study_file_with_anything_put_anywhere_is_a_study_or_one_error(study_file, cut, put):
    start, length = cut
    a_study_or_one_error(study_file(WHOLE[:start] + put + WHOLE[start + length :]))


@FUZZ
@given(data=TABLES)
def test_any_tables_are_a_study_or_one_error(study_file, data):
    try:
        text = tomli_w.dumps(_without_none(data))
    except ValueError:  # a number of too many digits to be written
        return
    a_study_or_one_error(study_file(text))


def _without_none(value):
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return [_without_none(each) for each in value if each is not None] if isinstance(value, list) else value


# Digests

BASE = {
    "digits": "mnist",
    "environments": {"label_noise": 0.2},
    "run": {"hidden": 32},
    "search": {"penalty_weight": {"low": 10.0, "high": 1e6, "log": True}, "ramp": ["step", "linear"]},
    "study": {"trials": 5, "seeds": 3, "sampler_seed": 1},
}
CHANGES = {
    "name": {"name": "b"},
    "digits": {"digits": "kmnist"},
    "environments.label_noise": {"environments": {"label_noise": 0.1}},
    "run.hidden": {"run": {"hidden": 33}},
    "search.penalty_weight.low": {
        "search": BASE["search"] | {"penalty_weight": {"low": 11.0, "high": 1e6, "log": True}},
    },
    "search.penalty_weight.log": {"search": BASE["search"] | {"penalty_weight": {"low": 10.0, "high": 1e6}}},
    "search.ramp": {"search": BASE["search"] | {"ramp": ["step", "cosine"]}},
    "search.hidden": {"search": BASE["search"] | {"hidden": [4, 8]}},
    "study.seeds": {"study": BASE["study"] | {"seeds": [0, 1, 3]}},
    "study.sampler_seed": {"study": BASE["study"] | {"sampler_seed": 2}},
    "study.criterion": {"study": BASE["study"] | {"criterion": "oracle_success"}},
    "study.aggregate": {"study": BASE["study"] | {"aggregate": "median"}},
}  # fmt: skip


@pytest.mark.parametrize("field", CHANGES)
def test_every_change_but_of_the_budget_makes_another_study_and_is_listed_alone(field):
    before, after = spec_of(**BASE), spec_of(**BASE | CHANGES[field])
    assert study_digest(before) != study_digest(after)
    assert [line.partition(": ")[0] for line in changed_fields(before, after)] == [field]


def test_a_changed_field_is_told_with_both_values():
    before, after = spec_of(run={"hidden": 32}), spec_of(run={"hidden": 33, "layers": 3})
    assert changed_fields(before, after) == ["run.hidden: 32 → 33", "run.layers: default → 3"]


def test_trials_and_confirmation_may_be_extended_in_the_same_study():
    before = spec_of(**BASE)
    after = spec_of(**BASE | {"study": BASE["study"] | {"trials": 99}, "confirm": {"top": 3, "seeds": 50}})
    assert study_digest(before) == study_digest(after)
    assert changed_fields(before, after) == []


def test_the_order_of_keys_makes_no_other_study():
    def turned(table):
        return {key: turned(table[key]) for key in reversed(table)} if isinstance(table, dict) else table

    assert study_digest(spec_of(**BASE)) == study_digest(spec_of(**turned(BASE)))


def test_a_default_written_out_makes_no_other_study():
    written = {"study": BASE["study"] | {"sampler": "tpe"}, "run": {"hidden": 32, "ramp": "step"}}
    assert study_digest(spec_of(**BASE)) == study_digest(spec_of(**BASE | written))


def test_runs_are_told_apart_by_configuration_digits_and_environments():
    digests = {
        run_digest("mnist", EnvironmentSpec(), RunConfig()),
        run_digest("kmnist", EnvironmentSpec(), RunConfig()),
        run_digest("mnist", EnvironmentSpec(test_flip=0.8), RunConfig()),
        run_digest("mnist", EnvironmentSpec(), RunConfig(learning_rate=0.0011)),
    }
    assert len(digests) == 4
    assert run_digest("mnist", EnvironmentSpec(), RunConfig(hidden=256)) in digests


def test_digests_stay_as_they_were_but_for_a_letter_when_hyperparameters_are_added():
    # Of version 0.1.0, which had no letter and no reset_optimizer.
    assert run_digest("embedded", EnvironmentSpec(), RunConfig(reset_optimizer=False)) == "refaa9c56f9cafad3"
    turned = RunConfig(hidden=390, ramp="linear", rescale=False)
    assert run_digest("mnist", EnvironmentSpec(test_flip=0.8), turned) == "r4c0247cf8fe77a7b"
    earlier = StudySpec.model_validate({"name": "a", "study": {"criterion": "oracle_min"}})  # its default then
    assert study_digest(earlier) == "sd9d719b27480b55c" != study_digest(StudySpec(name="a"))
    assert run_digest("embedded", EnvironmentSpec(), RunConfig(reset_optimizer=True)) != "refaa9c56f9cafad3"
    assert is_digest_of("d9d719b27480b55c", earlier)
    assert is_digest_of("sd9d719b27480b55c", earlier)
    assert not is_digest_of("d9d719b27480b55c", StudySpec(name="b"))


# There and back


def test_a_stored_study_reads_back_as_it_was(tmp_path):
    spec = spec_of(**BASE | {"study": BASE["study"] | {"seeds": [4, 2]}, "environments": {"validation_flip": 0.5}})
    path = tmp_path / "study.toml"
    path.write_text(study_toml(spec))
    assert read_stored_study(path) == spec
    assert tomllib.loads(path.read_text())["digest"] == study_digest(spec)


def test_a_configuration_for_train_reads_back_as_it_was(tmp_path):
    spec = TrainSpec(
        name='quote " and \\ and \n line', digits="mnist", environments=EnvironmentSpec(validation_flip=0.5),
        run=RunConfig(batch_size=200, learning_rate=0.0004898536566546834, penalty_weight=91257.18613115903),
    )  # fmt: skip
    path = tmp_path / "best.toml"
    path.write_text(train_toml(spec, "Two lines\nof a comment."))
    assert read_train(path) == spec
    assert path.read_text().startswith("# Two lines\n# of a comment.\n")


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("study.rungs=[2, 4]", "study.rungs", [2, 4]), ("study.sampler=random", "study.sampler", "random"),
        ("run.learning_rate = 1e-3", "run.learning_rate", 1e-3), ("run.ramp='step'", "run.ramp", "step"),
        ("name=a=b", "name", "a=b"),
    ],
)  # fmt: skip
def test_a_setting_of_the_command_line_is_a_key_and_a_toml_value(text, key, value):
    assert read_setting(text) == (key, value)


@pytest.mark.parametrize("text", ["study.rungs", "=3", "a b=1", "study..seeds=1", ""])
def test_a_setting_without_key_or_value_is_refused(text):
    with pytest.raises(ConfigError, match="needs KEY=VALUE"):
        read_setting(text)


def test_a_setting_without_a_value_is_told_how_a_key_is_left_out():
    with pytest.raises(
        ConfigError, match=r"--set 'study.rungs=': has no value; --unset study.rungs leaves the key out"
    ):
        read_setting("study.rungs=")


def test_keys_that_are_left_out_have_their_defaults(study_file, tmp_path):
    file = study_file('name = "a"\n[environments]\nvalidation_flip = 0.5\n[study]\nseeds = 3\ntrials = 5')
    assert read_study(file).environments.validation_flip == 0.5
    spec = read_study(file, {"study.trials": 6}, ["environments.validation_flip", "study.seeds"])
    assert (spec.environments.validation_flip, spec.study.seeds, spec.study.trials) == (None, 4, 6)
    assert read_study(file, unset=["study"]).study.trials == 12
    for key, said in (
        ("environments.validation", r"--unset 'environments.validation': .* does not set it; environments has: valida"),
        ("enviroments.validation_flip", "does not set it$"),
        ("run", "does not set it; it has: name, environments, study"),
        ("name.first", "does not set it$"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_study(file, unset=[key])


def test_a_configuration_s_keys_are_changed_and_left_out_as_a_study_s(tmp_path):
    path = tmp_path / "one.toml"
    path.write_text("[run]\nhidden = 4\nepochs = 300\n[search]\nhidden = [4, 5]\n[study]\nseeds = 3")
    spec = read_train(path, {"run.hidden": 5, "digits": "mnist"}, ["search", "run.epochs"])
    assert (spec.run.hidden, spec.run.epochs, spec.digits) == (5, 501, "mnist")
    with pytest.raises(ConfigError, match="study: unknown key"):
        read_train(path, {"study.seeds": 3}, ["search"])


def test_overrides_change_single_keys_at_any_depth(study_file):
    overrides = {"name": "b", "study.seeds": 3, "search.learning_rate": {"low": 0.1, "high": 0.2}}
    spec = read_study(study_file(EXAMPLE), overrides)
    assert (spec.name, spec.study.seeds, spec.search["learning_rate"].low) == ("b", 3, 0.1)
    assert spec.run == read_study(study_file(EXAMPLE)).run
    with pytest.raises(ConfigError, match="study: must be a table"):
        read_study(study_file('name = "a"\nstudy = 3'), {"study.seeds": 3})


def test_a_key_of_an_earlier_version_is_read_under_its_present_name_and_said_so(study_file, caplog):
    old, new = (
        f'name = "a"\n[study]\ncriterion = "oracle_min"\nseeds = 4\n{key} = [2, 4]' for key in ("waves", "rungs")
    )
    read = read_study(study_file(old))
    assert read.study.rungs == (2, 4)
    assert "study.waves is called study.rungs now" in caplog.text
    caplog.clear()
    again = read_study(study_file(new))
    assert caplog.text == ""
    assert again == read
    # As version 0.1 digested it, but for the letter.
    assert study_digest(again) == "sb71ffd067e3b8c81"


@pytest.mark.parametrize("aggregate", ["worst_seed", "lower_quartile", "lower_decile"])
def test_racing_is_refused_with_an_aggregate_that_is_higher_of_fewer_seeds(study_file, aggregate):
    text = f'name = "a"\n[study]\nseeds = 4\nrungs = [2, 4]\naggregate = "{aggregate}"'
    with pytest.raises(
        ConfigError, match=f"study.aggregate: '{aggregate}' of a pruned trial .* one of: mean, median, iqm"
    ):
        read_study(study_file(text))
    assert read_study(study_file(text.replace("rungs = [2, 4]\n", ""))).study.aggregate == aggregate
