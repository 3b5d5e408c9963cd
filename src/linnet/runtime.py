"""The machine: device, number format, threads, seeds, and what its processor can do.

Nothing is guessed from a model name: bf16 is used where it was measured to be faster.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from linnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DtypeName = Literal["auto", "fp32", "bf16", "fp16"]
MOST_THREADS = 4096
_UNLIMITED = 1 << 60  # what control groups write for no limit is above this


_KEPT = {
    "PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "HOME", "USERPROFILE",
    "APPDATA", "LOCALAPPDATA", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "TEMP", "TMP",
}  # fmt: skip
_KEPT_STARTS = ("PYTHON", "LC_", "DYLD_", "CONDA_")


@dataclass(frozen=True)
class Runtime:
    """Where and how to compute.

    ``dtype`` is what matrix products run in ("fp32", "bf16" or "fp16");
    parameters and optimizer state stay fp32 in training.
    """

    device: str
    dtype: Literal["fp32", "bf16", "fp16"]
    threads: int


def detect(
    device: DeviceName = "auto", dtype: DtypeName = "auto", threads: int | None = None
) -> Runtime:
    """Choose device, number format and threads; what is asked for must exist.

    Raises ConfigError when the device is not on this machine.
    """
    import torch

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": _has_mps()}
    if device == "auto":
        device = "cuda" if present["cuda"] else "mps" if present["mps"] else "cpu"
    if not present.get(device, False):
        there = ", ".join(name for name, is_there in present.items() if is_there)
        raise ConfigError(f"device '{device}' is not on this machine; it has: {there}")
    if dtype == "auto":
        dtype = _best_dtype(device)
    return Runtime(device=device, dtype=dtype, threads=threads or usable_cores())


def usable_cores() -> int:
    """Cores this process may run on (containers and ``taskset`` give fewer than there are)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int | None:
    """Main memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return _windows_memory()[0]


def _windows_memory() -> tuple[int | None, int | None]:
    """Main memory and what is free of it, as Windows tells; None where this is another system."""
    status = (ctypes.c_uint64 * 8)(64)  # a MEMORYSTATUSEX, which begins with its own size
    library = getattr(ctypes, "windll", None)
    if library is None or not library.kernel32.GlobalMemoryStatusEx(status):
        return None, None
    return status[1], status[2]


def available_memory(device: str = "cpu", *, root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take; None where the system does not say.

    On CPU the least of what the machine has free, of what its control groups allow
    (version 1 and 2) and of its own limit on addresses. ``root``: where ``/proc`` and
    ``/sys`` lie.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    found = [*_free_memory(root), *_group_memory(root), *_address_space(root)]
    return min(found) if found else None


def _free_memory(root: Path) -> Iterator[int]:
    """What the machine has free, caches that it would give up included."""
    try:
        for line in (root / "proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024
                return
    except (OSError, ValueError, IndexError):
        pass
    if (free := _windows_memory()[1]) is not None:
        yield free
        return
    whole = memory_bytes()
    if whole is not None:  # macOS: half of it is usually free
        yield whole // 2


def _group_memory(root: Path) -> Iterator[int]:
    """What the control groups of this process leave, the innermost and all around it."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        group = Path(place.lstrip("/"))
        for part in (group, *group.parents):
            limit, used = (_number(top / part / name) for name in names)
            if limit is not None and limit < _UNLIMITED:
                yield max(0, limit - (used or 0))


def _address_space(root: Path) -> Iterator[int]:
    """What ``ulimit -v`` leaves."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY or limit >= _UNLIMITED:
        return
    pages = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int((root / "proc/self/statm").read_text(encoding="utf-8").split()[0])
    yield max(0, limit - pages * resource.getpagesize())


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # "max" is no number
        return None


def worker_environment(*more_starts: str) -> dict[str, str]:
    """The environment for a process that reads strangers' files: no proxies, keys or tokens.

    ``more_starts``: what else is kept, by the beginning of its name.
    """
    starts = (*_KEPT_STARTS, *more_starts)
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _KEPT or name.startswith(starts)
    }


def share_cores() -> None:
    """Let compute threads that wait for each other sleep soon instead of spinning.

    GNU OpenMP, which torch uses on Linux, spins for long; when any other program
    wants a core, training then slows down many times over. Not for what computes a
    token at a time, where waking the threads costs more (docs/experiments.md). Must
    be called before torch is imported. So does OpenBLAS, which numpy uses, and there it must be
    called before numpy is.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # two to this many steps


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with ``count`` CPU threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def torch_dtype(name: str) -> torch.dtype:
    """``"bf16"`` as ``torch.bfloat16``."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


@cache
def cpu_features() -> frozenset[str]:
    """Instruction-set flags by Linux's names (``avx512_bf16``, ``amx_bf16``, ``bf16`` on ARM)."""
    if platform.system() == "Linux":
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return frozenset()
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return frozenset(value.split())
        return frozenset()
    if platform.system() == "Darwin":
        probe = ["sysctl", "-n", "hw.optional.arm.FEAT_BF16"]
        try:
            answer = subprocess.run(probe, capture_output=True, timeout=5, check=False)
        except (OSError, subprocess.SubprocessError):
            return frozenset()
        return frozenset({"bf16"}) if answer.stdout.strip() == b"1" else frozenset()
    return frozenset()


def cpu_has_bf16() -> bool:
    """Whether the processor has instructions that multiply bf16."""
    return bool(cpu_features() & {"avx512_bf16", "amx_bf16", "bf16"})


@cache
def bf16_pays() -> bool:
    """Whether matrix products are faster in bf16 than in fp32 on this processor.

    Measured, in some tens of milliseconds: with the same instructions one kind takes a
    quarter of the time and another twice as long (docs/experiments.md).
    """
    import torch

    if not cpu_has_bf16():
        return False
    best = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, w = torch.ones(512, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        times = []
        for _ in range(7):
            started = time.perf_counter()
            torch.nn.functional.linear(x, w)
            times.append(time.perf_counter() - started)
        best[dtype] = min(times)
    return best[torch.bfloat16] < best[torch.float32]


def miscompiles_slp() -> bool:
    """Whether GCC's superword vectoriser breaks compiled code on this processor.

    GCC 12 with ``-march=native`` on Sapphire Rapids turned gradients of attention into
    not-a-number; without this one optimisation they are right (docs/experiments.md).
    """
    return "avx512_fp16" in cpu_features()


@cache
def has_compiler() -> bool:
    """Whether ``torch.compile`` can work on CPU: it needs a C++ compiler."""
    return shutil.which(os.environ.get("CXX", "g++")) is not None or (
        shutil.which("clang++") is not None
    )


def describe_processor() -> str:
    """The processor's name as a person knows it, for reports."""
    if platform.system() == "Linux":
        try:
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
        except OSError:
            pass
    return platform.processor() or platform.machine()


def _has_mps() -> bool:
    import torch

    return bool(torch.backends.mps.is_available())


def _best_dtype(device: str) -> Literal["fp32", "bf16", "fp16"]:
    import torch

    if device == "cuda":
        # Cards before Ampere emulate bf16; they have fast fp16.
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
    if device == "mps":
        return "fp32"
    return "bf16" if bf16_pays() else "fp32"
