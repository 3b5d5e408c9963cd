"""The process that llama.cpp runs in; started by :class:`linnet.export.llama_cpp.LlamaCpp`.

Reads its settings as one line of JSON from standard input, says ``ready`` (or what is
wrong) on standard output, and serves on a socket of the file system until standard
input ends. What llama.cpp itself says goes to standard error, as it will.
"""

from __future__ import annotations

import json
import os
import sys


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
    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings["model"]
    parameters.hostnames = [settings["socket"]]
    parameters.n_ctx = settings["context"]
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = settings["threads"]
    parameters.cpuparams_batch.n_threads = settings["threads"]
    parameters.n_threads_http = 2
    parameters.n_gpu_layers = 0
    parameters.warmup = False
    parameters.ui = False
    parameters.fit_params = False
    parameters.ctx_shift = False
    parameters.cache_ram_mib = 0
    # To compare with exact weights: nothing rounded on the way.
    parameters.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if settings["embedding"]:
        parameters.embedding = True
        parameters.embd_normalize = -1
        parameters.n_ubatch = parameters.n_batch = max(512, settings["context"])
    try:
        server = xllamacpp.Server(parameters)
    except Exception as error:
        print(json.dumps({"error": str(error)}), file=replies, flush=True)
        return
    print(json.dumps({"ready": server.listening_address}), file=replies, flush=True)
    sys.stdin.read()
    os._exit(0)  # at once: nothing is left to save


if __name__ == "__main__":
    main()
