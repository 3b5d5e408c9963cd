"""A program that uses every public function, to be type-checked; nothing runs it.

``make check`` runs mypy on it in strict mode, as a user's editor would see it: had a name no
type, ``assert_type`` would fail. The first function is the README's example, word for word
(``tests/test_api.py`` compares them).
"""

from pathlib import Path
from typing import assert_type

import linnet
from linnet.artifact import Artifact
from linnet.data.inspection import FileStory
from linnet.evaluate import Evaluation
from linnet.generate import Completion
from linnet.generate.embedding import Encoder
from linnet.pipeline import Build
from linnet.respond import LanguageModel


def readme() -> None:
    made = linnet.build(["notes"], "notes-model", budget="5m")
    print(made.evaluation.bits_per_byte, made.report)

    model = linnet.load("notes-model")
    print(model.generate("The ", max_tokens=40, temperature=0.8, seed=1).text)
    for chunk in model.stream("In general, ", max_tokens=40):
        print(chunk.text, end="", flush=True)


def everything(progress: linnet.Progress) -> None:
    assert_type(linnet.__version__, str)
    assert_type(linnet.build("notes", "m", budget=300, progress=progress), Build)
    corpus = linnet.prepare("notes", "corpus", linnet.DataConfig(workers=1))
    assert_type(corpus, Artifact)
    assert_type([d.text for d in linnet.read_documents(corpus.path, "train")], list[str])
    assert_type(linnet.explain_document("corpus", "a.txt"), list[FileStory])
    linnet.plan("corpus", "plan", budget="5m")
    texts = (d.text for d in linnet.read_documents("corpus", "train"))
    linnet.train_tokenizer(texts, "tokenizer", linnet.TokenizerConfig(vocab_size=512))
    linnet.encode("corpus", "tokenizer", "shards", linnet.EncodeConfig())
    linnet.train_model("shards", "model", linnet.TrainConfig(steps=10))
    assert_type(linnet.evaluate_model("model", "shards", None, linnet.EvaluateConfig()), Evaluation)
    linnet.finetune_model("model", "rows.jsonl", "adapter", linnet.FinetuneConfig(steps=10))
    linnet.merge_adapter("adapter", "merged", linnet.MergeConfig())
    assert_type(linnet.import_gguf("m.gguf", "m", linnet.ImportConfig(dtype="bf16")), Artifact)
    assert_type(linnet.export_gguf("merged", "m.gguf", linnet.ExportConfig(type="q8_0")), Path)
    assert_type(linnet.export_ollama("merged", "ollama"), Path)
    for comparison in linnet.check_round_trip("merged"):
        assert_type(comparison.same, bool)
    linnet.forget_documents("m", "a.txt")
    model = linnet.load("merged", engine="torch")
    assert_type(model, linnet.LanguageModel)
    opened = linnet.open_model("merged", linnet.EngineConfig(engine="torch"))
    assert_type(opened, LanguageModel | linnet.Encoder)
    assert_type(model.generate("The", sampling=linnet.Sampling(top_k=5)), Completion)
    assert_type(model.generate("The"), Completion)
    assistant = linnet.open_assistant("notes-index", model="merged")
    assert_type(assistant.ask("When does the lease end?").answer, str)
    encoder = linnet.load_encoder("encoder")
    assert_type(encoder, Encoder)
    try:
        linnet.build("nowhere", budget="1m")
    except linnet.LinnetError as error:
        assert_type(error, linnet.LinnetError)
