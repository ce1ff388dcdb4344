"""The tests of this folder share launched_job.py and slurm_cluster.py."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
