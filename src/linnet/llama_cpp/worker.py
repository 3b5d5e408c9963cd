"""The process that llama.cpp runs in; started by ``linnet.llama_cpp.process``.

Reads its settings as one line of JSON from standard input, says ``ready`` (or what is
wrong) on standard output, and serves on a socket until standard input ends. What
llama.cpp itself says goes to standard error, as it will.

llama.cpp runs in a child of this process. Native code may hang, and while it loads a file
it lets no other Python thread run; a process without native code always sees its input
end, and ends the child whatever that is doing. On Linux the child also ends with it.
Signals of a terminal or a service manager are left to whoever started this process.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
import threading
from typing import Any

_GROWTH = 2 << 30  # bytes of memory that requests may take beyond what loading took
_MATCH = 4  # tokens that must have stood before, for what followed them to be a draft
_MOST_DRAFTED = 16
_PLAIN_TEMPLATE = "{{ messages[0].content }}"
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve one model until the other side hangs up."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    settings = json.loads(sys.stdin.readline())
    if not hasattr(os, "fork"):
        if _serve(settings):
            _wait_for_hang_up(settings, None, threading.Event())
        return
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        _end_with(supervisor)
        if _serve(settings):
            threading.Event().wait()
        os._exit(0)
    hung_up = threading.Event()
    watching = threading.Thread(
        target=_wait_for_hang_up, args=(settings, child, hung_up), daemon=True
    )
    watching.start()
    _, status = os.waitpid(child, 0)
    if hung_up.is_set():
        watching.join()  # it still has to clear up
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _wait_for_hang_up(
    settings: dict[str, Any], child: int | None, hung_up: threading.Event
) -> None:
    """End everything when standard input does."""
    sys.stdin.read()
    hung_up.set()
    if child is not None:
        os.kill(child, signal.SIGKILL)
    shutil.rmtree(settings["place"], ignore_errors=True)  # if whoever made it was killed
    os._exit(0)  # at once: nothing is left to save


def _end_with(supervisor: int) -> None:
    """Have the kernel end this process when its supervisor ends, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:  # it ended before
        os._exit(0)


def _serve(settings: dict[str, Any]) -> bool:
    """Load the file and answer on the socket, in threads of llama.cpp; False: it refused."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # llama.cpp may write to either
    try:
        import xllamacpp  # type: ignore[import-untyped]
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=replies, flush=True)
        return False
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, settings))
    except Exception as error:
        print(json.dumps({"error": str(error)}), file=replies, flush=True)
        return False
    _limit_memory(settings)
    ready = {
        "ready": server.listening_address,
        "system": xllamacpp.get_system_info(),
        "id": os.getpid(),
    }
    print(json.dumps(ready), file=replies, flush=True)
    _KEPT.append(server)
    return True


_KEPT: list[Any] = []
"""The server, which ends when nothing refers to it."""


def _limit_memory(settings: dict[str, Any]) -> None:
    """Have a request that takes memory without end fail before the machine runs out of it."""
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        taken = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData"))
    limit = taken + _GROWTH + (settings["prompt_cache"] << 20)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _parameters(xllamacpp: Any, settings: dict[str, Any]) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings["model"]
    parameters.hostnames = [settings["socket"] or "127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [settings["key"]]
    parameters.n_ctx = settings["context"]
    parameters.n_parallel = settings["slots"]
    parameters.kv_unified = settings["unified"]
    parameters.cpuparams.n_threads = settings["threads"]
    parameters.cpuparams_batch.n_threads = settings["threads"]
    parameters.n_threads_http = settings["slots"] + 4
    parameters.n_batch = parameters.n_ubatch = settings["batch"]
    parameters.n_gpu_layers = 0
    parameters.warmup = False
    parameters.ui = False
    parameters.fit_params = False
    parameters.ctx_shift = False
    parameters.swa_full = True  # windowed attention could not go back to a shared beginning
    parameters.endpoint_slots = False
    parameters.sse_ping_interval = -1  # a sign of life that says nothing of what computes
    parameters.cache_ram_mib = settings["prompt_cache"]
    parameters.cache_idle_slots = False  # copies everything at each new request
    parameters.verbosity = 2  # warnings and errors
    if not settings["own_template"]:  # it would run the file's while it loads, without limits
        parameters.chat_template = _PLAIN_TEMPLATE
    if settings["adapters"]:
        parameters.lora_adapters = [
            xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in settings["adapters"]
        ]
    _speculate(xllamacpp, parameters.speculative, settings)
    if settings["exact"]:
        parameters.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if settings["embedding"]:
        parameters.embedding = True
        parameters.embd_normalize = -1
        parameters.n_ubatch = parameters.n_batch = max(settings["batch"], settings["context"])
    return parameters


def _speculate(xllamacpp: Any, parameters: Any, settings: dict[str, Any]) -> None:
    """What drafts tokens, which the model then verifies in one pass."""
    kinds = xllamacpp.common_speculative_type
    types = []
    if settings["lookup"]:
        types.append(kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE)
        parameters.ngram_simple.size_n = _MATCH
        parameters.ngram_simple.size_m = _MOST_DRAFTED
    if settings["draft"]:
        types.append(kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE)
        parameters.draft.mparams.path = settings["draft"]
        parameters.draft.n_gpu_layers = 0
        parameters.draft.cpuparams.n_threads = settings["threads"]
        parameters.draft.cpuparams_batch.n_threads = settings["threads"]
    if types:
        parameters.types = types


if __name__ == "__main__":
    main()
