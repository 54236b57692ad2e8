"""`python -m irm_study`: the command line, where no `irm-study` is on the path."""

from irm_study.cli import main

main()
