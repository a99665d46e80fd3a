"""This machine's means for a model: cores, memory, and the processor's instructions for small integers."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

# What to call it -> the flags of /proc/cpuinfo, any of which means it.
_X86 = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f",),
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "AMX int8": ("amx_int8",),
    "AMX bf16": ("amx_bf16",),
    "bf16": ("avx512_bf16",),
}
_ARM = {"dot product": ("asimddp",), "i8mm": ("i8mm",), "bf16": ("bf16",)}


@dataclass(frozen=True)
class Machine:
    """The means that a process here may use.

    Attributes:
        processor: the model's name; "unknown" where the system does not tell.
        architecture: such as x86_64 or aarch64.
        cores: that this process may run on.
        memory_bytes: of the machine, or of the container if that is less; None if unknown.
        features: instructions that matter for int8 -> True where they are there; None if unknown.
    """

    processor: str
    architecture: str
    cores: int
    memory_bytes: int | None
    features: dict[str, bool] | None


def this_machine() -> Machine:
    """Looks at the machine; what the system does not tell is unknown, never guessed."""
    architecture = platform.machine()
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        cpuinfo = ""
    processor, features = parse_cpuinfo(cpuinfo, architecture)
    return Machine(
        processor=processor or platform.processor() or "unknown",
        architecture=architecture or "unknown",
        cores=usable_cores(),
        memory_bytes=_memory_bytes(),
        features=features,
    )


def parse_cpuinfo(content: str, architecture: str) -> tuple[str, dict[str, bool] | None]:
    """The processor's name ("" if not told) and its features (None if not told), of Linux's /proc/cpuinfo."""
    facts: dict[str, str] = {}
    for line in content.splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    known = _ARM if architecture.lower() in ("aarch64", "arm64") else _X86
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    features = {name: not flags.isdisjoint(any_of) for name, any_of in known.items()} if flags else None
    return facts.get("model name", ""), features


def usable_cores() -> int:
    """The number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int | None:
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return None
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return memory
    return min(memory, int(limit)) if limit.isdigit() else memory
