"""The process that llama.cpp runs in; started by ``linnet.export.llama_cpp_process``.

Reads its settings as one line of JSON from standard input, says ``ready`` (or what is
wrong) on standard output, and serves on a socket until standard input ends. What
llama.cpp itself says goes to standard error, as it will.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any


def main() -> None:
    """Serve one model until the other side hangs up."""
    settings = json.loads(sys.stdin.readline())
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # llama.cpp may write to either
    try:
        import xllamacpp  # type: ignore[import-untyped]
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=replies, flush=True)
        return
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, settings))
    except Exception as error:
        print(json.dumps({"error": str(error)}), file=replies, flush=True)
        return
    ready = {"ready": server.listening_address, "system": xllamacpp.get_system_info()}
    print(json.dumps(ready), file=replies, flush=True)
    sys.stdin.read()
    shutil.rmtree(settings["place"], ignore_errors=True)  # if whoever made it was killed
    os._exit(0)  # at once: nothing is left to save


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
    parameters.cache_ram_mib = settings["prompt_cache"]
    parameters.cache_idle_slots = False  # copies everything at each new request
    parameters.verbosity = 2  # warnings and errors
    if settings["adapters"]:
        parameters.lora_adapters = [
            xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in settings["adapters"]
        ]
    if settings["exact"]:
        parameters.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if settings["embedding"]:
        parameters.embedding = True
        parameters.embd_normalize = -1
        parameters.n_ubatch = parameters.n_batch = max(settings["batch"], settings["context"])
    return parameters


if __name__ == "__main__":
    main()
