"""A study from its folder: run, confirmed, trained, calibrated."""

from irm_study.study.calibration import calibrate
from irm_study.study.folder import results_folder
from irm_study.study.run import confirm_study, run_study, train_runs
from irm_study.study.settings import Settings, Watcher, usable_settings

__all__ = [
    "Settings",
    "Watcher",
    "calibrate",
    "confirm_study",
    "results_folder",
    "run_study",
    "train_runs",
    "usable_settings",
]
