"""Configurations: what a study file may hold, read, checked, written and digested."""

from irm_study.config.digests import (
    changed_fields,
    earlier_run_digest,
    is_digest_of,
    plugins_of,
    run_digest,
    study_digest,
)
from irm_study.config.effect import effective, without_effect
from irm_study.config.plugins import (
    Plugin,
    check_plugins,
    have_loaded,
    load_plugin,
    loaded_plugins,
    place_in_plugin,
    record_plugins,
    register,
)
from irm_study.config.precision import FAST_ACTIVATIONS, takes_fast_network
from irm_study.config.region import RegionSection, StudyRegion
from irm_study.config.run import (
    FROM_ANNEAL,
    NEEDED_KEYS,
    EnvironmentSpec,
    RunConfig,
    Target,
    TrainSpec,
    is_whole,
    obeys_rules,
)
from irm_study.config.shipped import KINDS, named_file, shipped_files
from irm_study.config.space import Range, Space
from irm_study.config.study import StudySpec
from irm_study.config.toml import (
    checked,
    read_calibration,
    read_region,
    read_setting,
    read_stored_study,
    read_study,
    read_train,
    refuse_repetition,
    region_toml,
    study_toml,
    train_toml,
)
from irm_study.config.validation import file_keys

__all__ = [
    "FAST_ACTIVATIONS",
    "FROM_ANNEAL",
    "KINDS",
    "NEEDED_KEYS",
    "EnvironmentSpec",
    "Plugin",
    "Range",
    "RegionSection",
    "RunConfig",
    "Space",
    "StudyRegion",
    "StudySpec",
    "Target",
    "TrainSpec",
    "changed_fields",
    "check_plugins",
    "checked",
    "earlier_run_digest",
    "effective",
    "file_keys",
    "have_loaded",
    "is_digest_of",
    "is_whole",
    "load_plugin",
    "loaded_plugins",
    "named_file",
    "obeys_rules",
    "place_in_plugin",
    "plugins_of",
    "read_calibration",
    "read_region",
    "read_setting",
    "read_stored_study",
    "read_study",
    "read_train",
    "record_plugins",
    "refuse_repetition",
    "region_toml",
    "register",
    "run_digest",
    "shipped_files",
    "study_digest",
    "study_toml",
    "takes_fast_network",
    "train_toml",
    "without_effect",
]
