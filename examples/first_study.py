# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first study
#
# From one configuration to a figure. This is a notebook kept as text: open it with Jupytext in Jupyter, or as it is in
# an editor that knows `# %%`. Everything is small here, so that each cell takes seconds; real studies have `hidden` 256
# and hundreds of epochs, and leave out `jobs=1`: starting a process for each core would take longer than these runs.

# %%
# %matplotlib inline
from irm_study import RunConfig, StudySpec, diagnose, figures, run_study, train

# %% [markdown]
# One configuration over three seeds. Shown are its runs, and how often they reached the target zone.

# %%
config = RunConfig(hidden=16, epochs=20, anneal_epoch=8, penalty_weight=1000.0, learning_rate=0.01)
trained = train(config, seeds=3, jobs=1)
trained

# %% [markdown]
# How each run ended, and the numbers that decided; then the accuracies as a tidy table.

# %%
diagnose(trained)

# %%
trained.curves.groupby(["environment", "epoch"])["accuracy"].mean().unstack(0).tail(3)

# %% [markdown]
# A study searches hyperparameters, and confirms the best on seeds that the search never saw.

# %%
spec = StudySpec(
    name="first study",
    run=config,
    search={"penalty_weight": {"low": 10.0, "high": 1e5, "log": True}, "ramp": ["step", "linear"]},
    study={"trials": 4, "seeds": 2},
    confirm={"seeds": 4},
)
record = run_study(spec, jobs=1)
record

# %%
figures.seed_stability(record)
