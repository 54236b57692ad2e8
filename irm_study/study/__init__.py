"""A study from its folder: run, confirmed, its region proven; trained, calibrated; advice tried."""

from irm_study.study.advice import Source, read_sources, tried_in, try_changes
from irm_study.study.calibration import calibrate
from irm_study.study.costs import Estimate, estimate, product_speed
from irm_study.study.folder import results_folder
from irm_study.study.ideals import configuration_ideals, study_ideals
from irm_study.study.run import confirm_study, prove_region, run_study, train_runs
from irm_study.study.settings import Settings, Watcher, usable_settings, with_precision

__all__ = [
    "Estimate",
    "Settings",
    "Source",
    "Watcher",
    "calibrate",
    "configuration_ideals",
    "confirm_study",
    "estimate",
    "product_speed",
    "prove_region",
    "read_sources",
    "results_folder",
    "run_study",
    "study_ideals",
    "train_runs",
    "tried_in",
    "try_changes",
    "usable_settings",
    "with_precision",
]
