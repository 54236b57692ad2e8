"""Where batches of runs are trained: in this process, in local processes, on a Dask cluster."""

from irm_study.execution.batch import Batch, check_device, check_work, split, train_batch
from irm_study.execution.cluster import check_cluster
from irm_study.execution.machine import available_cores, default_jobs, processor
from irm_study.execution.precision import bfloat16_instructions, check_precisions
from irm_study.execution.processes import LocalProcesses
from irm_study.execution.workers import Workers, log

__all__ = [
    "Batch",
    "LocalProcesses",
    "Workers",
    "available_cores",
    "bfloat16_instructions",
    "check_cluster",
    "check_device",
    "check_precisions",
    "check_work",
    "default_jobs",
    "log",
    "processor",
    "split",
    "train_batch",
]
