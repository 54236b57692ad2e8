"""Measuring how fast the trainer and the driver are on this machine."""

from irm_study.bench.driver import driver_load, write_load
from irm_study.bench.timing import peak
from irm_study.bench.trainer import benchmark

__all__ = ["benchmark", "driver_load", "peak", "write_load"]
