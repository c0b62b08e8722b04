"""What `import sklearn_mdm` loads: what torch, skorch and scikit-learn load for a fit, and little else."""

import json
import subprocess
import sys

# Of scikit-learn and skorch, beside what the first imports brought. The heavy parts are imported where they are used.
SMALL = {"sklearn.pipeline", "sklearn.utils", "skorch.helper", "skorch.cli", "skorch._doctor"}
REPORT = """
import json, sys
import torch, skorch, sklearn.base, sklearn.model_selection, sklearn.utils
before = set(sys.modules)
import sklearn_mdm
after = set(sys.modules)
import sklearn_mdm.datasets, sklearn_mdm.fusion, sklearn_mdm.inspection, sklearn_mdm.metrics
print(json.dumps([sorted(each - before) for each in (after, set(sys.modules))]))
"""


def test_import__loads__no_package_that_torch_skorch_and_sklearn_do_not():
    run = subprocess.run([sys.executable, "-c", REPORT], capture_output=True, text=True, check=True)
    package, public = json.loads(run.stdout)
    for loaded in (package, public):  # such as transformers, matplotlib, polars, pyarrow, h5py and safetensors
        roots = {name.partition(".")[0] for name in loaded} - {"sklearn_mdm"}
        assert roots - sys.stdlib_module_names <= {"sklearn", "skorch", "scipy", "torch", "pandas", "numpy", "tqdm"}
    heavy = {".".join(name.split(".")[:2]) for name in package if name.startswith(("sklearn.", "skorch.", "scipy."))}
    assert heavy <= SMALL
