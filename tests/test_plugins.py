"""Kinds of a user's own: registered by a file, sent to workers, part of digests, kept beside a study, not run there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from irm_study import config, data, load_study, plugin
from irm_study.cli.app import app
from irm_study.config import EnvironmentSpec, RunConfig, TrainSpec, have_loaded, plugins, run_digest, study_digest
from irm_study.errors import ConfigError, ExecutionError
from irm_study.study import Settings, run_study, train_runs
from tests.servers import dask_cluster
from tests.test_study import Silent, few_digits, small

EXAMPLE = Path(__file__).parent.parent / "examples" / "fishr_plugin.py"
FISHR = RunConfig(hidden=8, epochs=6, anneal_epoch=1, learning_rate=0.02, penalty="fishr", penalty_weight=1e5)
DOUBLE = """from irm_study import plugin

@plugin.penalty("double")
def double(logits, labels):
    return 2 * (logits.mean(-1) ** 2).mean(-1)
"""


@pytest.fixture(autouse=True)
def none_left():
    yield
    have_loaded(())


def file(folder: Path, text: str = DOUBLE, name: str = "mine") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def curves(run: RunConfig, settings: Settings) -> np.ndarray:
    table, _ = train_runs(TrainSpec(name="a", run=run), [0, 1], None, settings, Silent())
    return np.array([np.concatenate(row) for row in table.filter(like="curve_nll").to_numpy()])


# Training


def test_fishr_as_a_user_writes_it_trains_in_two_processes_as_the_built_in_one():
    plugin.load(EXAMPLE)
    own = FISHR.model_copy(update={"penalty": "my_fishr"})
    np.testing.assert_allclose(curves(own, Settings(jobs=2)), curves(FISHR, Settings(jobs=1)), atol=1e-5)
    plain = FISHR.model_copy(update={"penalty": "irmv1"})
    assert np.abs(curves(own, Settings(jobs=1)) - curves(plain, Settings(jobs=1))).max() > 1e-3


def test_workers_of_a_cluster_get_the_text_from_the_driver(tmp_path):
    path = file(tmp_path / "here")
    plugin.load(path)
    own = FISHR.model_copy(update={"penalty": "double"})
    here = curves(own, Settings(jobs=1))
    path.unlink()
    with dask_cluster(tmp_path) as cluster:
        there = curves(own, Settings(jobs=1, scheduler=cluster.address))
    np.testing.assert_allclose(there, here, atol=1e-5)


def test_a_worker_has_the_driver_s_plugins_and_no_others(tmp_path):
    plugin.load(file(tmp_path))
    changed = config.Plugin("mine", DOUBLE.replace("2 *", "3 *"), "mine.py")
    other = config.Plugin("other", DOUBLE, "other.py")
    for sent in ([changed], [other], [changed]):
        have_loaded(sent)
        assert config.loaded_plugins() == tuple(sent)
    have_loaded(())
    with pytest.raises(ValueError, match="unknown penalty 'double'"):
        RunConfig(penalty="double")


EVERY_KIND = """
import numpy as np
from irm_study import plugin

@plugin.ramp("at_once", uses=())
def at_once(progress, config):
    return np.full_like(progress, config.penalty_weight)

def initial(config, image, rng):
    pixels = int(np.prod(image))
    return {"weight2": rng.normal(0, 0.05, (pixels, 1)).astype(np.float32), "bias2": np.zeros((1, 1), np.float32)}

@plugin.model("linear", initial=initial)
def linear(config, parameters, images):
    return images.flatten(2)

@plugin.criterion("test_alone", sees="test")
def test_alone(curves, environments):
    return float(curves.accuracy[-1, environments.names.index("test")])

@plugin.stopping_rule("third")
def third(curves, environments, config):
    return curves.epoch[-1] >= 3
"""


def test_ramps_models_criteria_and_stopping_rules_are_added_likewise(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load_digits", few_digits)
    plugin.load(file(tmp_path / "here", EVERY_KIND))
    run = {"model": "linear", "layers": 1, "stop": "third", "epochs": 9, "anneal_epoch": 1, "checkpoint_every": 1}
    spec = small(
        2, seeds=1, run=run, search={"ramp": ["at_once", "step"]}, confirm={"top": 0},
        study={"criterion": "test_alone", "sampler": "grid"},
    )  # fmt: skip
    record, _ = run_study(spec, tmp_path / "study", Settings(jobs=1), Silent())
    assert record.runs["epochs_trained"].tolist() == [3, 3]
    assert record.runs["score"].tolist() == record.runs["test_accuracy"].tolist()
    own, step = record.runs["curve_nll_train1"]
    np.testing.assert_array_equal(own, step)


# What a run is


def digest(penalty: str) -> str:
    return run_digest("embedded", EnvironmentSpec(), FISHR.model_copy(update={"penalty": penalty}))


def test_a_plugin_s_text_is_part_of_the_runs_that_use_it_and_of_no_others(tmp_path):
    without = digest("irmv1"), study_digest(small())
    plugin.load(file(tmp_path))
    first = digest("double"), study_digest(small(search={"penalty": ["irmv1", "double"]}))
    assert (digest("irmv1"), study_digest(small())) == without
    have_loaded(())
    plugin.load(file(tmp_path, DOUBLE.replace("2 *", "3 *")))
    second = digest("double"), study_digest(small(search={"penalty": ["irmv1", "double"]}))
    assert not set(first) & set(second)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study's folder, made with a plugin that is not loaded any more."""
    monkeypatch.setattr(data, "load_digits", few_digits)
    plugin.load(file(tmp_path / "here"))
    run_study(double_study(), tmp_path / "study", Settings(jobs=1), Silent())
    have_loaded(())
    return tmp_path / "study"


def double_study():
    return small(1, seeds=1, run={"hidden": 4, "epochs": 3, "anneal_epoch": 1, "penalty": "double"}, confirm={"top": 0})


def test_a_study_says_which_plugin_it_was_made_with(study, tmp_path):
    assert (study / "plugins" / "mine.py").read_text() == DOUBLE
    with pytest.raises(ConfigError, match=r"study: was made with the plugin mine\.py, which is not given"):
        load_study(study)
    plugin.load(tmp_path / "here" / "mine.py")
    assert len(load_study(study).runs) == 1


def test_what_a_study_s_folder_holds_is_never_run(study, tmp_path):
    mark = tmp_path / "mark"
    (study / "plugins" / "mine.py").write_text(f"open({str(mark)!r}, 'w')\n" + DOUBLE)
    with pytest.raises(ConfigError, match="is not given"):
        load_study(study)
    plugin.load(tmp_path / "here" / "mine.py")
    with pytest.raises(ConfigError, match="another text of the plugin"):
        load_study(study)
    assert not mark.exists()


def test_a_changed_plugin_is_never_mixed_with_old_runs_and_the_kept_text_goes_on(study, tmp_path):
    plugin.load(file(tmp_path / "changed", DOUBLE.replace("2 *", "3 *")))
    told = re.escape(f"name a new folder with --out, or the earlier text with --plugin {study / 'plugins' / 'mine.py'}")
    for work in (load_study, lambda folder: run_study(double_study(), folder, Settings(jobs=1), Silent())):
        with pytest.raises(ConfigError, match=told):
            work(study)
    have_loaded(())
    plugin.load(study / "plugins" / "mine.py")
    assert run_study(double_study(), study, Settings(jobs=1), Silent())[1] == 0


# What is wrong with a plugin


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import irm_study\ndef f(:\n", "mine.py, line 2: invalid syntax"),
        ("x = 1\n\ny = x / 0\n", "mine.py, line 3: ZeroDivisionError: division by zero"),
        (DOUBLE.replace('"double"', '"irmv1"'), "mine.py, line 3: penalty 'irmv1' is taken already, by irm-study"),
        (DOUBLE.replace('"double"', '"a b"'), "mine.py, line 3: penalty 'a b': a name is letters, digits and _"),
        (DOUBLE.replace('"double"', '"d", needs="labels"'), "mine.py, line 3: penalty 'd': needs 'labels', which is"),
        ("import not_there\n", "mine.py, line 1: ModuleNotFoundError: No module named 'not_there'"),
    ],
)  # fmt: skip
def test_an_error_in_a_plugin_is_one_message_with_file_and_line(tmp_path, text, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        plugin.load(file(tmp_path, text))
    assert not config.loaded_plugins()


def test_a_file_that_fails_registers_nothing(tmp_path):
    with pytest.raises(ConfigError, match="line 6"):
        plugin.load(file(tmp_path, DOUBLE + "\n1 / 0\n".lstrip("\n")))
    plugin.load(file(tmp_path))
    assert RunConfig(penalty="double").penalty == "double"


def test_names_of_plugins_and_of_their_files_are_taken_once(tmp_path):
    plugin.load(file(tmp_path / "one"))
    plugin.load(tmp_path / "one" / "mine.py")  # the same once more
    with pytest.raises(ConfigError, match=f"penalty 'double' is taken already, by {tmp_path / 'one' / 'mine.py'}"):
        plugin.load(file(tmp_path / "two", name="other"))
    with pytest.raises(ConfigError, match=f"another plugin has this name, {tmp_path / 'one' / 'mine.py'}"):
        plugin.load(file(tmp_path / "two", DOUBLE + "\n"))


def test_a_decorator_outside_of_a_plugin_s_file_says_where_it_belongs():
    with pytest.raises(
        ConfigError, match=r'put it into a file, for --plugin FILE\.py, or .*plugin\.load\("FILE\.py"\)'
    ):
        plugin.penalty("mine")(lambda logits, labels: logits.sum((1, 2)))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mine.txt", "needs a file of Python"),
        ("my-own.py", "needs a file of Python"),
        ("mine.py", "cannot be read: No"),
    ],
)
def test_what_is_no_plugin_is_refused(tmp_path, name, told):
    with pytest.raises(ConfigError, match=told):
        plugin.load(tmp_path / name)


def test_a_penalty_that_fails_in_a_worker_is_one_message_with_file_and_line(tmp_path):
    path = file(tmp_path, DOUBLE.replace("logits.mean(-1)", "logits.maen(-1)"))
    plugin.load(path)
    for jobs in (1, 2):
        with pytest.raises(ExecutionError) as caught:
            curves(FISHR.model_copy(update={"penalty": "double"}), Settings(jobs=jobs))
        assert str(caught.value) == f"{path}, line 5: AttributeError: 'Tensor' object has no attribute 'maen'"


# Where a plugin is named


def test_every_command_takes_plugins_and_loads_them_before_it_reads_anything(tmp_path):
    for name, command in typer.main.get_command(app).commands.items():
        assert "--plugin" in [option for parameter in command.params for option in parameter.opts], name
    for name in ("run", "train", "report", "status", "confirm"):
        loaded = CliRunner().invoke(app, [name, "absent-folder", "--plugin", str(tmp_path / "absent.py")])
        assert isinstance(loaded.exception, ConfigError) and "absent.py: cannot be read" in str(loaded.exception)


def test_an_installed_package_s_plugin_is_known_without_being_named(tmp_path, monkeypatch):
    file(tmp_path, name="their_module")
    monkeypatch.syspath_prepend(tmp_path)
    point = plugins.EntryPoint("theirs", "their_module", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == plugins.GROUP else [])
    monkeypatch.setattr(plugins, "_looked_for_installed", [])
    assert RunConfig(penalty="double").penalty == "double"
    assert [each.name for each in config.loaded_plugins()] == ["theirs"]
