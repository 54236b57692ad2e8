"""Trains one configuration over three seeds, and draws how its accuracy went in every environment.

    python examples/train_and_plot.py

writes train_and_plot.png. It is small, to take seconds, and is trained in this process (jobs=1). A real one is the
shipped configuration "authors", on all cores: `train("authors", seeds=10)`.
"""

import seaborn
from matplotlib.figure import Figure

from irm_study import RunConfig, diagnose, train

config = RunConfig(hidden=16, epochs=40, anneal_epoch=20, penalty_weight=1000.0, learning_rate=0.01)
trained = train(config, seeds=3, jobs=1)
print(diagnose(trained)[["seed", "failure_mode", "since", "explanation"]].to_string(index=False))

figure = Figure((6, 3.5), layout="constrained")
axes = figure.subplots()
seaborn.lineplot(trained.curves, x="epoch", y="accuracy", hue="environment", errorbar=("pi", 100), ax=axes)
axes.axvline(config.anneal_epoch, color="grey", linewidth=0.8)
figure.savefig("train_and_plot.png", dpi=150)
