"""Configurations: what a study file may hold, read, checked, written and digested."""

from irm_study.config.digests import changed_fields, run_digest, study_digest
from irm_study.config.run import FROM_ANNEAL, EnvironmentSpec, RunConfig, TrainSpec, is_whole
from irm_study.config.shipped import named_file, shipped_files
from irm_study.config.study import Range, StudySpec
from irm_study.config.toml import (
    checked,
    read_calibration,
    read_setting,
    read_stored_study,
    read_study,
    read_train,
    refuse_repetition,
    study_toml,
    train_toml,
)

__all__ = [
    "FROM_ANNEAL",
    "EnvironmentSpec",
    "Range",
    "RunConfig",
    "StudySpec",
    "TrainSpec",
    "changed_fields",
    "checked",
    "is_whole",
    "named_file",
    "read_calibration",
    "read_setting",
    "read_stored_study",
    "read_study",
    "read_train",
    "refuse_repetition",
    "run_digest",
    "shipped_files",
    "study_digest",
    "study_toml",
    "train_toml",
]
