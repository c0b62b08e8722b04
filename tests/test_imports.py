"""What `import sklearn_mdm` loads: what torch, skorch and scikit-learn load for a fit, and little else."""

import json
import subprocess
import sys

# Unless torch, skorch or scikit-learn bring them: what is imported where it is used.
OPTIONAL = {"h5py", "IPython", "matplotlib", "polars", "pyarrow", "safetensors", "tokenizers", "transformers", "xarray"}
HEAVY = {f"sklearn.{name}" for name in ("cluster", "covariance", "decomposition", "feature_selection", "linear_model")}
HEAVY |= {"sklearn.mixture", "sklearn.neighbors", "sklearn.tree", "torch._dynamo", "torch._inductor"}
REPORT = """
import json, sys
import torch, skorch, sklearn.base, sklearn.model_selection, sklearn.utils
before = set(sys.modules)
import sklearn_mdm
after = set(sys.modules)
import sklearn_mdm.datasets, sklearn_mdm.fusion, sklearn_mdm.inspection, sklearn_mdm.metrics
print(json.dumps([sorted(each - before) for each in (after, set(sys.modules))]))
"""


def test_import__loads__nothing_heavy_that_torch_skorch_and_sklearn_do_not():
    run = subprocess.run([sys.executable, "-c", REPORT], capture_output=True, text=True, check=True)
    package, with_all_public = map(set, json.loads(run.stdout))
    assert "sklearn_mdm.net" in package  # or nothing would have been loaded at all
    assert not package & HEAVY
    assert not with_all_public & OPTIONAL
