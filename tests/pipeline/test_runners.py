"""The same run on every runner publishes the same bytes, and fails with the same one line and exit code."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from pipelines.runners import MOST_DASK_PARTITIONS, reach_loopback_directly, read_beam_options, why_lost
from pipelines.sampling.tickets import write_ticket_sample
from pipelines.verification import verify_run
from schemas.errors import ConfigError, ContractError, RunFailedError
from schemas.tables import CLASSIFICATIONS, PUBLISHED_TABLES
from tests.support.small_runs import listed, published_hashes
from warehouse.lake import LakeWarehouse
from warehouse.objects import ObjectStore

pytestmark = pytest.mark.runners

ROOT = Path(__file__).parents[2]
BUNDLE = Path(__file__).parents[1] / "tiny_bundle"
DOCYARD = (sys.executable, "-c", "from pipelines.cli import main; main()")
# The worker pool starts its workers as `python`.
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
# Nothing listens there: whatever asks the proxy for this very machine fails, or waits for ever.
PROXIES = dict.fromkeys(
    ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    "http://127.0.0.1:9",
)
START_SECONDS, RUN_SECONDS = 40, 90
DASK = "--runner=apache_beam.runners.dask.dask_runner.DaskRunner"
FLINK_JAR = os.environ.get("DOCYARD_FLINK_JOB_SERVER_JAR", "")
MULTI_PROCESSING = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts commands in process groups of their own, which all are killed at the end."""
    folder = tmp_path_factory.mktemp("processes")
    started: list[subprocess.Popen[bytes]] = []

    def start_one(*command: str, log: str) -> subprocess.Popen[bytes]:
        with (
            (folder / f"{len(started)}-{log}.out").open("wb") as out,
            (folder / f"{len(started)}-{log}").open("wb") as err,
        ):
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        process.log = Path(err.name)  # type: ignore[attr-defined]
        started.append(process)
        return process

    yield start_one
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[bytes], seconds: float = START_SECONDS
) -> None:
    """Waits as long as `process` lives."""
    deadline = time.monotonic() + seconds
    while not condition():
        said = process.log.read_text(errors="replace")[-2000:]  # type: ignore[attr-defined]
        assert process.poll() is None, f"ended too early: {process.args}\n{said}"
        assert time.monotonic() < deadline, f"not ready after {seconds} s: {process.args}\n{said}"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def job_service(start: Start) -> str:
    port = free_port()
    service = ("-m", "apache_beam.runners.portability.local_job_service_main", "--port", str(port))
    wait_until(lambda: listens(port), start(sys.executable, *service, log="job-service"))
    return f"--job_endpoint=localhost:{port}"


@pytest.fixture(scope="module")
def worker_pool(start: Start) -> str:
    port = free_port()
    pool = ("-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}")
    wait_until(lambda: listens(port), start(sys.executable, *pool, log="worker-pool"))
    return f"--environment_config=localhost:{port}"


@pytest.fixture(scope="module")
def dask_scheduler(start: Start) -> str:
    port = free_port()
    scheduler = ("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show")
    wait_until(lambda: listens(port), start(sys.executable, "-m", "dask", *scheduler, log="dask-scheduler"))
    return f"tcp://127.0.0.1:{port}"


@pytest.fixture
def start_dask_worker(start: Start, dask_scheduler: str, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a worker, with the words of another command before its own."""

    def start_one(*before: str) -> subprocess.Popen[bytes]:
        options = ("--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0")
        folder = ("--local-directory", str(tmp_path / "dask"))
        command = (*before, sys.executable, "-m", "dask", "worker", dask_scheduler, *options, *folder)
        worker = start(*command, log="dask-worker")
        wait_until(lambda: b"Registered to" in worker.log.read_bytes(), worker)  # type: ignore[attr-defined]
        return worker

    return start_one


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand made-up tickets, broken ones and duplicates among them, in many small shards."""
    folder = tmp_path_factory.mktemp("corpus")
    write_ticket_sample(folder / "tickets", 1000, seed=11)
    return write_config(folder, folder / "tickets", "[reading]\nshard_bytes = 4000\n")


@pytest.fixture(scope="module")
def failing_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three documents, one of them broken, where the contract allows none."""
    folder = tmp_path_factory.mktemp("failing")
    (folder / "three.jsonl").write_text('{"id": "1", "text": "refund"}\n{"id": "2", "text": "parcel"}\n{"id": "3"}\n')
    return write_config(folder, folder / "three.jsonl", "[quality]\nmax_rejected_share = 0.0\n")


def write_config(folder: Path, source: Path | str, more: str) -> Path:
    path = folder / "docyard.toml"
    item = f'[[inputs]]\npaths = ["{source}"]\ndocument_type = "ticket"\nbundle = "{BUNDLE}"\n'
    path.write_text(f'run_date = "2026-11-22"\nwarehouse = "none"\n{item}{more}')
    return path


def classify_command(config: Path, warehouse: Path | str, beam_options: Sequence[str]) -> tuple[str, ...]:
    return *DOCYARD, "classify", "--config", str(config), "--warehouse", str(warehouse), "--", *beam_options


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, where the environment names a proxy."""
    environment = ENVIRONMENT | PROXIES
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=RUN_SECONDS)


def run_id(warehouse: Path) -> str:
    (only,) = (warehouse / "runs").iterdir()
    return only.name


def receipts(warehouse: Path) -> int:
    return len(list(warehouse.glob("_staging/*/receipts/part-*.json")))


@pytest.fixture(scope="module")
def in_memory(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warehouse of a run on the default runner."""
    warehouse = tmp_path_factory.mktemp("in-memory")
    ended = run(*classify_command(config, warehouse, ()))
    assert (ended.returncode, ended.stderr) == (0, "")
    return warehouse


def check_same(warehouse: Path, expected: Path) -> None:
    """The same data files with the same bytes, nothing beside them, and `docyard verify` agrees."""
    hashes = published_hashes(expected)
    assert len(hashes) > 8
    assert published_hashes(warehouse) == hashes
    names = [path.replace(run_id(warehouse), "RUN") for path in listed(warehouse)]
    assert names == [path.replace(run_id(expected), "RUN") for path in listed(expected)]
    assert not list((warehouse / "_staging").iterdir())
    verified = run(*DOCYARD, "verify", run_id(warehouse), "--warehouse", str(warehouse))
    assert verified.returncode == 0, verified.stderr


def check_run(config: Path, warehouse: Path, beam_options: Sequence[str], expected: Path) -> None:
    ended = run(*classify_command(config, warehouse, beam_options))
    assert (ended.returncode, ended.stderr) == (0, "")
    check_same(warehouse, expected)


def check_failure(config: Path, warehouse: Path, beam_options: Sequence[str]) -> None:
    ended = run(*classify_command(config, warehouse, beam_options))
    assert ended.returncode == ContractError.exit_code, ended.stderr
    assert ended.stderr.startswith("error: the data contract failed")
    assert ended.stderr.count("\n") == 1
    assert not published_hashes(warehouse)
    assert not list((warehouse / "_staging").iterdir())


def test_worker_processes_publish_the_same_bytes(config: Path, in_memory: Path, tmp_path: Path) -> None:
    check_run(config, tmp_path / "warehouse", MULTI_PROCESSING, in_memory)


def test_the_job_service_with_external_workers_publishes_the_same_bytes(
    config: Path, in_memory: Path, tmp_path: Path, job_service: str, worker_pool: str
) -> None:
    options = ("--runner=PortableRunner", job_service, "--environment_type=EXTERNAL", worker_pool)
    check_run(config, tmp_path / "warehouse", options, in_memory)


def test_the_job_service_with_loopback_workers_publishes_the_same_bytes(
    config: Path, in_memory: Path, tmp_path: Path, job_service: str
) -> None:
    options = ("--runner=PortableRunner", job_service, "--environment_type=LOOPBACK")
    check_run(config, tmp_path / "warehouse", options, in_memory)


@pytest.mark.skipif(
    not FLINK_JAR, reason="needs java, and the jar of Beam's Flink job server: DOCYARD_FLINK_JOB_SERVER_JAR"
)
def test_flink_publishes_the_same_bytes(config: Path, in_memory: Path, tmp_path: Path, start: Start) -> None:
    port = free_port()
    server = ("--flink-master=[local]", "--job-host=localhost", f"--job-port={port}", "--artifact-port=0")
    server += ("--expansion-port=0", f"--artifacts-dir={tmp_path / 'artifacts'}")
    wait_until(lambda: listens(port), start("java", "-jar", FLINK_JAR, *server, log="flink-job-server"))
    options = ("--runner=PortableRunner", f"--job_endpoint=localhost:{port}", "--environment_type=LOOPBACK")
    check_run(config, tmp_path / "warehouse", options, in_memory)


def test_two_dask_workers_one_killed_in_the_middle_publish_the_same_bytes(
    config: Path,
    in_memory: Path,
    tmp_path: Path,
    start: Start,
    dask_scheduler: str,
    start_dask_worker: Callable[[], subprocess.Popen[bytes]],
) -> None:
    warehouse = tmp_path / "warehouse"
    victim, survivor = start_dask_worker(), start_dask_worker()
    options = (DASK, f"--dask_client_address={dask_scheduler}")
    job = start(*classify_command(config, warehouse, options), log="docyard")
    wait_until(lambda: receipts(warehouse) >= 4, job)
    victim.kill()
    victim.wait(10)
    staged = receipts(warehouse)
    total = len({path.name for path in in_memory.rglob("part-*.parquet")})
    assert 4 <= staged < total
    assert job.wait(RUN_SECONDS) == 0
    assert victim.returncode == -signal.SIGKILL
    assert survivor.poll() is None
    check_same(warehouse, in_memory)
    survivor.kill()
    survivor.wait(10)


@pytest.fixture
def hidden(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The words before a command that keep its process from seeing any folder of the launcher's."""
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("a mount namespace of its own needs root and unshare")
    folders = [str(tmp_path_factory.getbasetemp()), str(BUNDLE)]
    cover = 'for folder in "$1" "$2"; do mount -t tmpfs hidden "$folder" || exit 1; done; shift 2; exec "$@"'
    return "unshare", "--mount", "--propagation", "private", "sh", "-c", cover, "sh", *folders


@pytest.fixture
def config_on_a_store(lake_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three hundred tickets, read from an object store."""
    write_ticket_sample(tmp_path / "tickets", 300, seed=11)
    inputs = ObjectStore(f"{lake_uri}-inputs")
    for path in sorted((tmp_path / "tickets").iterdir()):
        inputs.write(path.name, path.read_bytes())
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.setitem(ENVIRONMENT, name, os.environ[name])
    monkeypatch.setitem(ENVIRONMENT, "DOCYARD_CACHE_DIR", str(tmp_path / "machine"))
    return write_config(tmp_path, f"{inputs.uri}/", "[reading]\nshard_bytes = 8000\n")


def check_same_on_a_store(uri: str, expected: Path) -> None:
    """The same bytes in every table as in a folder, and nothing is left of the run."""
    lake = LakeWarehouse(uri)
    (run_id,) = lake.run_ids()
    wanted = published_hashes(expected)
    names = [name for table in PUBLISHED_TABLES for name in lake.files(table)]
    found = {name: hashlib.sha256(lake.read(name)).hexdigest() for name in names}
    assert len(wanted) > 8
    assert {name.replace(f".00000001.{run_id}", ""): digest for name, digest in found.items()} == wanted
    verify_run(lake, run_id)
    assert not ObjectStore(uri).list("_staging/")


@pytest.mark.parametrize("runner", ["dask", "job service"])
def test_workers_that_share_no_disk_with_the_launcher_publish_the_same_bytes_and_one_may_be_killed(
    runner: str,
    config_on_a_store: Path,
    lake_uri: str,
    hidden: tuple[str, ...],
    tmp_path: Path,
    start: Start,
    request: pytest.FixtureRequest,
) -> None:
    expected = tmp_path / "expected"
    ended = run(*classify_command(config_on_a_store, expected, ()))
    assert (ended.returncode, ended.stderr) == (0, "")
    if runner == "dask":
        scheduler, start_worker = (request.getfixturevalue(name) for name in ("dask_scheduler", "start_dask_worker"))
        workers = [start_worker(*hidden), start_worker(*hidden)]
        options: tuple[str, ...] = (DASK, f"--dask_client_address={scheduler}")
    else:
        port = free_port()
        pool = ("-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}")
        workers = [start(*hidden, sys.executable, *pool, log="hidden-pool")]
        wait_until(lambda: listens(port), workers[0])
        service = request.getfixturevalue("job_service")
        options = ("--runner=PortableRunner", service, "--environment_type=EXTERNAL")
        options += (f"--environment_config=localhost:{port}",)
    job = start(*classify_command(config_on_a_store, lake_uri, options), log="docyard")
    if runner == "dask":
        staged = f"_staging/{{}}/staged/{CLASSIFICATIONS.name}/"
        store = ObjectStore(lake_uri)
        wait_until(lambda: any(len(store.list(staged.format(run))) >= 4 for run in store.folders("_staging/")), job)
        workers[0].kill()
    assert job.wait(RUN_SECONDS) == 0
    check_same_on_a_store(lake_uri, expected)
    for worker in workers:  # no later run must meet one that sees no folder
        worker.kill()
        worker.wait(10)


def test_an_error_on_the_job_service_reaches_the_user_as_one_line(
    failing_config: Path, tmp_path: Path, job_service: str, worker_pool: str
) -> None:
    options = ("--runner=PortableRunner", job_service, "--environment_type=EXTERNAL", worker_pool)
    check_failure(failing_config, tmp_path / "warehouse", options)


def test_an_error_on_a_dask_worker_reaches_the_user_as_one_line(
    failing_config: Path,
    tmp_path: Path,
    dask_scheduler: str,
    start_dask_worker: Callable[[], subprocess.Popen[bytes]],
) -> None:
    worker = start_dask_worker()
    check_failure(failing_config, tmp_path / "warehouse", (DASK, f"--dask_client_address={dask_scheduler}"))
    worker.kill()
    worker.wait(10)


def test_an_error_in_a_worker_process_reaches_the_user_as_one_line(failing_config: Path, tmp_path: Path) -> None:
    check_failure(failing_config, tmp_path / "warehouse", MULTI_PROCESSING)


@pytest.mark.parametrize("staged", [0, 3], ids=["before its first shard", "between shards"])
def test_a_killed_worker_process_ends_the_run_with_one_line(
    config: Path, tmp_path: Path, start: Start, staged: int
) -> None:
    warehouse = tmp_path / "warehouse"
    job = start(*classify_command(config, warehouse, MULTI_PROCESSING), log="docyard")
    workers: list[psutil.Process] = []

    def both_run() -> bool:
        children = psutil.Process(job.pid).children(recursive=True)
        workers[:] = [child for child in children if child.name() != "sh"]
        return len(workers) == 2 and receipts(warehouse) >= staged

    wait_until(both_run, job)
    workers[0].kill()
    assert job.wait(RUN_SECONDS) == RunFailedError.exit_code
    said = job.log.read_text()  # type: ignore[attr-defined]
    assert said.startswith("error: a worker process was lost: SIGKILL ended it; out of memory?")
    assert said.count("\n") == 1
    assert not published_hashes(warehouse)
    assert not workers[1].is_running()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "localhost,127.0.0.1,::1"),
        ({"no_proxy": "*"}, "*,localhost,127.0.0.1,::1"),
        ({"no_proxy": "intranet", "no_grpc_proxy": "grpc.intranet,localhost"}, "grpc.intranet,localhost,127.0.0.1,::1"),
    ],
    ids=["no exception", "one for everything", "one of its own"],
)
def test_exceptions_from_the_proxy_stay_and_loopback_is_one_of_them(
    before: dict[str, str], after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = "no_grpc_proxy"
    for name in ("no_proxy", ours):
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):  # a second run in the same process adds nothing
        reach_loopback_directly()
        assert os.environ[ours] == after
    assert os.environ.get("no_proxy") == before.get("no_proxy")
    monkeypatch.delenv(ours)


@pytest.mark.parametrize(
    ("code", "said"),
    [(-9, "SIGKILL ended it; out of memory?"), (137, "SIGKILL ended it; out of memory?"), (143, "SIGTERM ended it"),
     (1, "it ended by itself with code 1"), (255, "it ended by itself with code 255")],
)  # fmt: skip
def test_memory_is_blamed_only_for_a_worker_that_was_killed(code: int, said: str) -> None:
    assert why_lost(code).split("; `docyard")[0] == said


def test_a_job_service_that_is_not_there_ends_the_run_with_one_line(failing_config: Path, tmp_path: Path) -> None:
    endpoint = f"--job_endpoint=localhost:{free_port()}"
    options = ("--runner=PortableRunner", endpoint, "--environment_type=LOOPBACK", "--job_server_timeout=2")
    ended = run(*classify_command(failing_config, tmp_path / "warehouse", options))
    assert ended.returncode == RunFailedError.exit_code
    assert ended.stderr.startswith("error: no job service answers at localhost:")
    assert ended.stderr.count("\n") == 1


def test_a_dask_scheduler_that_is_not_there_ends_the_run_with_one_line(failing_config: Path, tmp_path: Path) -> None:
    options = (DASK, f"--dask_client_address=tcp://127.0.0.1:{free_port()}", "--dask_connection_timeout=2")
    ended = run(*classify_command(failing_config, tmp_path / "warehouse", options))
    assert ended.returncode == RunFailedError.exit_code
    assert ended.stderr.startswith("error: no Dask scheduler: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runnerr=PortableRunner"], "did you mean --runner?"),
        (["--no_such_option"], "Beam knows no option '--no_such_option'"),
        (["--direct_num_workers=two"], "--direct_num_workers: invalid int value"),
        (["--runner=PortableRunner", "stray"], "found 'stray'"),
        (["--runner=Nope"], "--runner=Nope: Unexpected pipeline runner"),
        (["--runner=no.such.Runner"], "--runner=no.such.Runner: No module named 'no'"),
        (["--job_endpoint=localhost:1"], "need a --runner"),
        ([DASK, "--dask_npartitions=2", "--dask_partition_size=2"], "not allowed with"),
    ],
)
def test_an_option_beam_cannot_use_is_one_line_before_anything_is_written(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_beam_options(arguments, 3)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "n_shards", "partitions"),
    [
        ([], 3, 3),
        ([], 10**6, MOST_DASK_PARTITIONS),
        (["--dask_npartitions=7"], 3, 7),
        (["--dask_partition_size", "2"], 3, None),
    ],
)
def test_every_shard_is_a_dask_partition_unless_the_options_say_otherwise(
    arguments: list[str], n_shards: int, partitions: int | None
) -> None:
    beam_options = read_beam_options([DASK, *arguments], n_shards)
    assert beam_options.on_dask
    assert beam_options.options.get_all_options()["npartitions"] == partitions
