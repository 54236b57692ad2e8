"""The search by itself, without training: what the sampler sees, how a grid is ordered, who loses a race."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial
from scipy.stats import wilcoxon

from irm_study.config import StudySpec, read_stored_study, study_digest, study_toml
from irm_study.search import Search, open_search
from irm_study.search.racing import loses
from irm_study.search.sampler import search_space
from irm_study.search.trials import KnownTrials
from tests.servers import HERE
from tests.test_study import in_optuna, small


def opened(spec: StudySpec, folder: Path) -> Search:
    return open_search(spec, folder, None)


def test_of_many_trials_the_sampler_is_shown_the_fifty_best_and_the_two_hundred_latest(monkeypatch):
    shown: list[set[int]] = []

    class Watching(optuna.samplers.RandomSampler):
        def infer_relative_search_space(self, study, trial):
            shown.append({each.number for each in study.get_trials(states=(TrialState.COMPLETE,))})
            return {}

    monkeypatch.setattr("irm_study.search.trials.sampler_for", lambda spec, space, number: Watching(seed=number))
    known = KnownTrials(small())
    values = np.random.default_rng(0).permutation(400) / 400
    for number, value in enumerate(values):
        known.finish(known.sample(number, None).number, value, [value], pruned=False)
    known.sample(400, None)
    best, latest = set(np.argsort(values)[-50:]), set(range(200, 400))
    assert shown[250] == set(range(250))
    assert shown[400] == best | latest
    assert len(known.all()) == 401  # nothing is forgotten
    assert known.best == np.argmax(values)


def test_a_trial_that_was_interrupted_is_told_under_its_own_number_in_the_storage(tmp_path):
    """Another's trial in the same study: numbers there are not the numbers here."""
    search = opened(small(), tmp_path)
    in_optuna(tmp_path).add_trial(create_trial(state=TrialState.FAIL))
    first = [search.ask() for _ in range(3)]
    search.tell(first[1], 0.5, {}, [0.5, 0.5])
    search.close()
    search = opened(small(), tmp_path)
    again = [search.ask() for _ in range(2)]
    assert [(each.number, each.digest) for each in again] == [(each.number, each.digest) for each in first[::2]]
    for each, value in zip(again, (0.1, 0.9), strict=True):
        search.tell(each, value, {}, [value, value])
    search.close()
    stored = [trial for trial in in_optuna(tmp_path).get_trials() if trial.state is TrialState.COMPLETE]
    assert [(trial.number, trial.user_attrs["trial"], trial.value) for trial in stored] == [
        (1, 0, 0.1),
        (2, 1, 0.5),
        (3, 2, 0.9),
    ]
    assert [trial.user_attrs["digest"] for trial in stored] == [each.digest for each in first]


def test_the_best_value_is_a_complete_trial_s(tmp_path):
    search = opened(small(study={"seeds": 4, "rungs": [2, 4]}), tmp_path)
    assert search.best_value is None
    told = [(0.9, [0.9, 0.9], True), (0.2, [0.2] * 4, False), (0.6, [0.6] * 4, False), (0.4, [0.4] * 4, False)]
    for value, scores, pruned in told:
        search.tell(search.ask(), value, {}, scores, pruned)
    search.close()
    again = opened(small(study={"seeds": 4, "rungs": [2, 4]}), tmp_path)
    for each in (search, again):
        assert (each.best_value, each.finished, len(each.pruned_digests)) == (0.6, 4, 1)
        assert [trial.seeds for trial in each.finished_trials()] == [2, 4, 4, 4]
    again.close()


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_trial_loses_where_scipy_s_test_finds_its_scores_below_the_best_trial_s(seeds):
    draws = np.random.default_rng(seeds)
    verdicts = []
    for _ in range(60):
        best, scores = draws.uniform(0.3, 0.9, 6), draws.uniform(0.1, 0.8, seeds)
        below = wilcoxon(scores - best[:seeds], alternative="less", zero_method="zsplit").pvalue < 0.3
        expected = below and scores.mean() < best.mean()  # a better mean than the best's is never given up
        verdicts.append(expected)
        assert loses(list(scores), list(best), 0.3) == expected
    assert 0 < sum(verdicts) < len(verdicts)


def test_points_of_a_grid_that_share_their_first_epochs_follow_each_other():
    search = {"penalty_weight": [1.0, 10.0], "learning_rate": [0.01, 0.1], "anneal_epoch": [1, 2], "hidden": [4, 5]}
    points = small(search=search, study={"sampler": "grid", "trials": 99}).grid()
    combinations = {tuple(zip(search, values, strict=True)) for values in itertools.product(*search.values())}
    assert {tuple((key, point[key]) for key in search) for point in points} == combinations
    assert len(points) == 16
    alike = [group for group, _ in itertools.groupby((point["learning_rate"], point["hidden"]) for point in points)]
    assert len(alike) == len(set(alike)) == 4


def test_the_search_space_is_as_the_study_file_has_it():
    search = {
        "penalty_weight": {"low": 1.0, "high": 10.0, "log": True},
        "hidden": {"low": 4, "high": 9},
        "batch_size": {"low": 10, "high": 105, "step": 10},
        "l2_weight": {"low": 0.1, "high": 0.35, "step": 0.1},
        "ramp": ["step", "linear"],
    }
    distributions = optuna.distributions
    assert search_space(small(search=search)) == {
        "penalty_weight": distributions.FloatDistribution(1.0, 10.0, log=True),
        "hidden": distributions.IntDistribution(4, 9),
        "batch_size": distributions.IntDistribution(10, 100, step=10),
        "l2_weight": distributions.FloatDistribution(0.1, 0.3, step=0.1),
        "ramp": distributions.CategoricalDistribution(("step", "linear")),
    }


REFUSING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* mmap as on a file system that has no shared memory maps: refused for SQLite's index of its write-ahead log. */
void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
    void *(*real)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t length_of_path = file < 0 ? 0 : readlink(name, path, sizeof path);
    if ((flags & MAP_SHARED) && length_of_path > 4 && !strncmp(path + length_of_path - 4, "-shm", 4)) {
        errno = ENODEV;
        return MAP_FAILED;
    }
    return real(address, length, protection, flags, file, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int file, off_t offset) {
    return mmap(address, length, protection, flags, file, offset);
}
"""
ELSEWHERE = """
from pathlib import Path
from irm_study.search import open_search
from tests.test_study import small

search = open_search(small(), Path("."), None)
assert search.finished == 2
with search.storage.database.engine.connect() as connection:
    assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
search.tell(search.ask(), 0.3, {}, [0.3, 0.3])
"""


def test_a_folder_moved_to_a_file_system_without_shared_memory_maps_goes_on_there(tmp_path):
    """As those of clusters, where a write-ahead log is a `disk I/O error`; its driver is killed there, and back here
    nothing is lost."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    (tmp_path / "refusing.c").write_text(REFUSING)
    library = tmp_path / "refusing.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "refusing.c", "-ldl"], check=True)
    search = opened(small(), tmp_path)
    for value in (0.1, 0.2):
        search.tell(search.ask(), value, {}, [value, value])
    assert (tmp_path / "study.db-shm").exists()
    search.close()
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    code = f"{ELSEWHERE}\nimport os\nos._exit(0)"
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=tmp_path, env=environment | {"LD_PRELOAD": str(library)}, check=True)
    search = opened(small(), tmp_path)
    assert (search.finished, search.best_value) == (3, 0.3)
    search.close()


# First points, steps


POINTS = [{"penalty_weight": 1000, "ramp": "linear", "learning_rate": 0.01}, {"ramp": "step"}, {"penalty_weight": 20.0}]


def test_the_first_trials_are_those_given_by_hand_and_the_rest_of_them_is_sampled(tmp_path, tmp_path_factory):
    spec, elsewhere = small(study={"enqueue": POINTS}), tmp_path_factory.mktemp
    search = opened(spec, tmp_path)
    first = [search.ask().config for _ in range(2)]
    search.close()
    search = opened(spec, tmp_path)  # with two that were interrupted
    asked = [search.ask() for _ in range(5)]
    search.close()
    assert [each.number for each in asked] == [0, 1, 2, 3, 4]
    configs = [each.config for each in asked]
    assert configs[:2] == first
    for point, config in zip(POINTS, configs[:3], strict=True):
        assert {key: getattr(config, key) for key in point} == point
    whole = opened(spec, elsewhere("other"))
    assert [whole.ask().config for _ in range(5)] == configs
    plain = opened(small(), elsewhere("plain"))
    assert [plain.ask().config for _ in range(5)][3:] == configs[3:]
    whole.close()
    plain.close()


def test_first_points_are_a_part_of_what_a_study_is():
    one, other = small(study={"enqueue": POINTS}), small(study={"enqueue": POINTS[:2]})
    assert len({study_digest(spec) for spec in (one, other, small())}) == 3
    assert study_digest(small(study={"enqueue": []})) == study_digest(small())
    written = small(
        study={"enqueue": [{"learning_rate": 0.01, "ramp": "linear", "penalty_weight": 1000.0}, *POINTS[1:]]}
    )
    assert study_digest(one) == study_digest(written)
    assert read_stored_study_text(study_toml(one)) == one


def read_stored_study_text(text: str) -> StudySpec:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.toml"
        path.write_text(text)
        return read_stored_study(path)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_range_with_a_step_gives_its_steps_alone_and_all_of_them(tmp_path, sampler):
    search = {"hidden": {"low": 3, "high": 14, "step": 4}, "l2_weight": {"low": 0, "high": 1, "step": 0.25}}
    search_ = opened(small(search=search, study={"sampler": sampler}), tmp_path)
    configs = []
    for number in range(60):
        asked = search_.ask()
        configs.append(asked.config)
        search_.tell(asked, number % 7 / 7, {}, [])
    search_.close()
    assert {config.hidden for config in configs} == {3, 7, 11}
    assert {config.l2_weight for config in configs} == {0.0, 0.25, 0.5, 0.75, 1.0}


@pytest.mark.parametrize("low", [1e-300, 1e-4, 1.0, 1e300])
def test_the_narrowest_log_range_that_is_allowed_can_be_sampled(tmp_path, low):
    entry = {"low": low, "high": low * (1 + 1.1e-9), "log": True}
    search = opened(small(search={"learning_rate": entry}), tmp_path)
    for number in range(30):
        asked = search.ask()
        assert entry["low"] <= asked.config.learning_rate <= entry["high"]
        search.tell(asked, number % 7 / 7, {}, [])
    search.close()
