"""The commands: the module of each in ``linnet.cli``, and a line about it."""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "quickstart": ("quickstart", "Build a model from Python's own documentation, then try it."),
    "build": ("build", "Turn files and folders into a model: every stage, within a time budget."),
    "status": ("status", "Show each stage of a project: what it was made from, what is stale."),
    "data": ("data", "Prepare documents, see what became of them, encode them as tokens."),
    "assistant": ("assistant", "Answer questions from documents, on a page of this machine."),
    "index": ("index", "Make documents searchable."),
    "search": ("search", "Find the passages of an index that answer a query."),
    "reranker": ("reranker", "Train what puts the passages of an index in order."),
    "ask": ("ask", "Answer questions from documents, with what the answers rest on."),
    "forget": ("forget", "Remove a document from everything made from it but weights."),
    "tokenizer": ("tokenizer", "Train a tokenizer, or look into one."),
    "plan": ("plan", "Choose a model for the data, this machine and the time allowed."),
    "train": ("train", "Train a language model on encoded documents."),
    "examples": ("examples", "Make questions out of documents, review them, export them."),
    "finetune": ("finetune", "Adapt a model to examples or documents: LoRA, or all weights."),
    "align": ("align", "Align a model with preferences or rewards: DPO, KTO, GRPO."),
    "evaluate": ("evaluate", "Score a model on held-out text, beside simple baselines."),
    "compare": ("compare", "Compare runs of evaluate, or models on the same questions."),
    "route": ("route", "Learn which model a question goes to; explain it, replay the past."),
    "budget": ("budget", "Show what models beyond this machine cost, and what may be spent."),
    "gate": ("gate", "Fit when an index answers and when it does not; show what that promises."),
    "grounding": ("grounding", "Check claims against passages; train what checks them."),
    "distil": ("distil", "Have a smaller model learn what a larger one expects, or writes."),
    "prune": ("prune", "Make a smaller model of one, and distil it from the whole."),
    "compress": ("compress", "Find the smallest file of a model that keeps its quality."),
    "generate": ("generate", "Continue a prompt."),
    "chat": ("chat", "Talk to a model, or let it continue what you type."),
    "serve": ("serve", "Answer over HTTP: OpenAI's interface, and a page to chat."),
    "monitor": ("monitor", "Show what was asked, how well it was answered, and what it cost."),
    "keys": ("keys", "Make, list and revoke the API keys of a server."),
    "health": ("health", "Ask a server whether it works, as a container's health check does."),
    "bench": ("bench", "Measure speed, memory and quality on every engine and number format."),
    "cache": ("cache", "Show or remove the files that are kept to start models faster."),
    "embed": ("embed", "Turn texts into vectors with an encoder."),
    "merge": ("merge", "Put an adapter into the weights of its base model."),
    "export": ("export", "Write a model for llama.cpp and Ollama, and compare it there."),
    "import": ("importing", "Make a checkpoint of a GGUF file."),
    "pull": ("pull", "Fetch a model from the Hugging Face hub."),
    "push": ("push", "Upload a model or adapter to the Hugging Face hub, after asking."),
}

WRITING = {"generate", "chat", "serve", "bench", "assistant"}
"""Commands that compute a token at a time: waking threads would cost more than they save."""
