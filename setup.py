"""Where the packages lie: the top-level folders are installed inside ``edgesparse``.

The links ``edgesparse/passes -> ../passes`` serve editable installs, mypy and editors; wheels are
built from the mapping below and never depend on them. A folder added here needs its link too.
"""

from setuptools import find_packages, setup

FOLDERS = (
    "passes", "runtimes", "devices", "examples",
    "kernels_common", "kernels_arm", "kernels_wasm", "kernels_x86",
)  # fmt: skip

setup(
    packages=find_packages(include=["edgesparse*"], exclude=[f"edgesparse.{f}*" for f in FOLDERS])
    + [f"edgesparse.{name}" for f in FOLDERS for name in (f, *(f"{f}.{sub}" for sub in find_packages(f)))],
    package_dir={"edgesparse": "edgesparse", **{f"edgesparse.{f}": f for f in FOLDERS}},
)
