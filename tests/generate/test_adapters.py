"""Several adapters on one base, chosen per call, against PEFT; and merged into a directory."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import MakeModel
from typer.testing import CliRunner

import linnet
import linnet.respond
from linnet import artifact
from linnet.cli.merge import app
from linnet.errors import ModelError
from linnet.evaluate import evaluate
from linnet.generate import Request, Sampling
from linnet.generate.engine_kind import model_directory
from linnet.generate.engines import open_engine
from linnet.generate.sampling import Settings
from linnet.generate.torch_engine import TorchEngine
from linnet.model import load_checkpoint, load_model
from linnet.model.adapter import save_adapter
from linnet.model.lora import adapter_parameters, add_adapter
from linnet.model.lora_config import LoRAConfig, MergeConfig
from linnet.model.merging import load_adapted, merge, merge_adapter

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

GREEDY = Sampling(temperature=0, max_tokens=24)


@pytest.fixture(scope="module")
def home(make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base and two adapters for it, side by side."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(make_model("qwen3", context=128), home / "base")
    for seed, name, config in (
        (1, "medical", LoRAConfig(rank=4)),
        (2, "legal", LoRAConfig(rank=2, rslora=True, targets=("q_proj", "down_proj"))),
    ):
        model = load_model(home / "base")
        add_adapter(model, name, config)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in adapter_parameters(model, name).values():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        (home / name).mkdir()
        save_adapter(model, name, home / name, base=home / "base")
    return home


@pytest.fixture(scope="module")
def theirs(home: Path) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(home / "base")
    model = peft.PeftModel.from_pretrained(model, home / "medical", adapter_name="medical")
    model.load_adapter(home / "legal", adapter_name="legal")
    return model.eval()


def open_both(home: Path) -> linnet.respond.LanguageModel:
    return linnet.load(
        home / "base",
        adapters={"medical": home / "medical", "legal": home / "legal"},
        engine="torch",
    )


def greedy(
    theirs: Any, adapter: str | None, prompt: tuple[int, ...], *, several: bool = True
) -> list[int]:
    tokens = torch.tensor([prompt])
    settings = {"do_sample": False, "max_new_tokens": GREEDY.max_tokens, "pad_token_id": 1}
    if adapter is None:
        with theirs.disable_adapter():
            found = theirs.generate(input_ids=tokens, **settings)
    else:
        if several:
            theirs.set_adapter(adapter)
        found = theirs.generate(input_ids=tokens, **settings)
    ends = theirs.generation_config.eos_token_id  # transformers shows the end it stopped at
    written: list[int] = found[0, len(prompt) :].tolist()
    return written[:-1] if written[-1] in (ends if isinstance(ends, list) else [ends]) else written


def test_each_request_gets_its_adapter_in_one_call(home: Path, theirs: Any) -> None:
    engine = open_both(home).engine
    assert isinstance(engine, TorchEngine)
    asked = [
        (adapter, tuple(engine.tokenizer.encode(text)))
        for text in ("Once upon a", "The fox met", "sang")
        for adapter in ("medical", None, "legal")
    ]
    requests = [Request(prompt, GREEDY, adapter=adapter) for adapter, prompt in asked]
    written = [list(completion.tokens) for completion in engine.generate(requests)]
    wanted = [greedy(theirs, adapter, prompt) for adapter, prompt in asked]
    assert written == wanted
    assert len({tuple(tokens) for tokens in written[:3]}) == 3


BEYOND: dict[str, dict[str, dict[str, Any]]] = {
    "qwen3": {
        "dora": {"use_dora": True, "target_modules": "all-linear"},
        "saved": {"target_modules": ["q_proj"], "modules_to_save": ["norm", "lm_head"]},
    },
    "llama": {  # which has one table for both ends
        "dora": {"use_dora": True, "target_modules": ["o_proj", "up_proj"]},
        "saved": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    },
    "granite": {
        "dora": {"use_dora": True, "target_modules": ["o_proj", "down_proj"], "bias": "lora_only"},
        "saved": {"target_modules": ["o_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    },
    "phi": {
        "dora": {"use_dora": True, "target_modules": ["dense", "fc1"]},
        "saved": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "input_layernorm"]},
    },
    "gpt2": {
        "dora": {"use_dora": True, "target_modules": ["c_attn"], "bias": "all"},
        "saved": {"target_modules": ["c_proj"], "modules_to_save": ["wte", "ln_1", "c_fc"]},
    },
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", BEYOND)
def test_adapters_that_do_more_than_add_products(
    family: str, make_model: MakeModel, tmp_path: Path
) -> None:
    """In one batch beside the base, as PEFT computes each alone."""
    base = make_model(family, context=128)
    alone = {}
    for seed, (name, settings) in enumerate(BEYOND[family].items()):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_pretrained(base)
        model = peft.get_peft_model(model, peft.LoraConfig("CAUSAL_LM", r=3, **settings))
        for own, parameter in model.named_parameters():
            if ".base_layer.weight" not in own and parameter.requires_grad:
                parameter.data += torch.randn(parameter.shape) * 0.2
        model.save_pretrained(tmp_path / name)
        alone[name] = model.eval()
    opened = linnet.load(base, adapters={name: tmp_path / name for name in alone}, engine="torch")
    engine = opened.engine
    asked = [
        (adapter, tuple(engine.tokenize(text)))
        for text in ("Once upon a", "The fox met", "sang")
        for adapter in ("dora", None, "saved")
    ]
    requests = [Request(prompt, GREEDY, adapter=adapter) for adapter, prompt in asked]
    written = [list(completion.tokens) for completion in engine.generate(requests)]
    for (adapter, prompt), found in zip(asked, written, strict=True):
        if adapter is not None:
            assert found == greedy(alone[adapter], adapter, prompt, several=False)
    assert len({tuple(tokens) for tokens in written[:3]}) == 3
    plain = linnet.load(base, engine="torch")
    assert opened.generate("The fox", sampling=GREEDY) == plain.generate("The fox", sampling=GREEDY)
    one = linnet.load(tmp_path / "saved", engine="torch").generate("The fox met", sampling=GREEDY)
    assert list(one.tokens) == written[5]
    with pytest.raises(ModelError, match=r"cannot put this adapter beside .*linnet merge"):
        linnet.load(base, engine="llama.cpp", adapters={"dora": tmp_path / "dora"})
    chosen = open_engine(base, adapters={"dora": tmp_path / "dora"})
    assert isinstance(chosen, TorchEngine)
    if family == "llama":  # alone it is merged, and the two ends have a table each
        merged = linnet.load(tmp_path / "saved", engine="llama.cpp", precision="f32")
        assert merged.generate("The fox met", sampling=GREEDY).tokens == one.tokens
        wanted = opened.generate("The fox met", sampling=GREEDY, adapter="saved", logprobs=True)
        ours = merged.score("The fox met" + wanted.text).logprobs
        theirs = (
            linnet.load(tmp_path / "saved", engine="torch")
            .score("The fox met" + wanted.text)
            .logprobs
        )
        assert ours == pytest.approx(theirs, abs=1e-3)
        merged.engine.close()


def test_streams_with_different_adapters_do_not_disturb_each_other(home: Path) -> None:
    model = open_both(home)
    names = ("medical", None, "legal")
    alone = [model.generate("The fox", sampling=GREEDY, adapter=name).text for name in names]
    streams = [model.stream("The fox", sampling=GREEDY, adapter=name) for name in names]
    texts = [""] * 3
    for _ in range(GREEDY.max_tokens + 1):
        for place, stream in enumerate(streams):
            chunk = next(stream, None)
            texts[place] += chunk.text if chunk else ""
    assert texts == alone
    assert (
        model.score("The fox").logprobs
        == linnet.load(home / "base", engine="torch").score("The fox").logprobs
    )


def test_an_adapter_directory_opens_as_its_base_with_the_adapter(home: Path) -> None:
    several, one = open_both(home), linnet.load(home / "medical", engine="torch")
    wanted = several.generate("The fox", sampling=GREEDY, adapter="medical")
    assert one.generate("The fox", sampling=GREEDY) == wanted
    base = several.generate("The fox", sampling=GREEDY)
    assert one.generate("The fox", sampling=GREEDY, adapter="base") == base != wanted
    assert one.score("The fox") != several.score("The fox")
    project = home / "project"
    shutil.copytree(home / "medical", project / "model")
    assert model_directory(project) == project / "model"
    config = project / "model" / "adapter_config.json"
    config.write_text(config.read_text().replace('"../base"', '"../../base"'))
    assert linnet.load(project, engine="torch").generate("The fox", sampling=GREEDY) == wanted


def test_names_that_no_adapter_has(home: Path) -> None:
    model = open_both(home)
    with pytest.raises(ModelError, match="no adapter 'cooking'; it has: legal, medical"):
        model.stream("The fox", adapter="cooking")
    with pytest.raises(ModelError, match="no adapter 'cooking'; it has none"):
        linnet.load(home / "base", engine="torch").generate("The fox", adapter="cooking")
    with pytest.raises(ModelError, match="expected an adapter directory"):
        linnet.load(home / "base", adapters={"x": home / "base"}, engine="torch")
    merged = load_adapted(home / "medical")
    merge(merged.model, "default")
    with pytest.raises(ModelError, match="'default' is merged"):
        TorchEngine(merged).generate([Request("The fox", GREEDY, adapter="base")])


def test_a_tokenizer_beside_the_adapter_goes_before_that_of_the_base(
    home: Path, tmp_path: Path
) -> None:
    shutil.copytree(home / "medical", tmp_path / "chatty")
    for file in (home / "base").glob("tokenizer*"):
        shutil.copy(file, tmp_path / "chatty")
    plain = load_checkpoint(home / "base")
    (tmp_path / "chatty" / "generation_config.json").write_text('{"eos_token_id": [0, 7]}')
    loaded = load_adapted(tmp_path / "chatty", base=home / "base")
    assert loaded.stop_ids == (*plain.stop_ids, 7)
    merged = merge_adapter(tmp_path / "chatty", tmp_path / "whole", base=home / "base")
    assert (merged.path / "tokenizer.json").is_file()


@torch.inference_mode()
def test_merged_directories_are_ordinary_models(home: Path, theirs: Any, tmp_path: Path) -> None:
    out = tmp_path / "whole"
    done = CliRunner().invoke(app, [str(home / "legal"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "parameters" in done.stdout
    tokens = torch.tensor([[5, 9, 30, 77, 3]])
    theirs.set_adapter("legal")
    wanted = theirs(tokens).logits
    whole = transformers.AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(whole(tokens).logits, wanted, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(load_model(out)(tokens), wanted, atol=1e-4, rtol=1e-5)
    before = json.loads((home / "base" / "config.json").read_text())
    assert json.loads((out / "config.json").read_text()) == before
    assert linnet.load(out, engine="torch").generate("The fox", sampling=GREEDY).text
    first = artifact.read(out, kind="model", verify=True)
    assert set(first.manifest.inputs) == {"base", "adapter"}
    again = merge_adapter(home / "legal", out)
    assert again.manifest.created == first.manifest.created
    halved = merge_adapter(
        home / "legal", tmp_path / "half", MergeConfig(strength=0.5, dtype="bf16")
    )
    assert halved.content != first.content
    stored = load_model(halved.path, dtype=torch.bfloat16)
    assert all(parameter.dtype == torch.bfloat16 for parameter in stored.parameters())


def test_evaluation_sees_the_adapter(home: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "fox.txt").write_text("The fox met the hen. " * 20)
    whole = merge_adapter(home / "medical", tmp_path / "whole").path
    found = [
        evaluate(model, tmp_path / "texts").bits_per_byte
        for model in (home / "medical", whole, home / "base")
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[0] != pytest.approx(found[2], rel=1e-2)


def test_the_settings_by_name_are_those_of_sampling() -> None:
    assert set(Settings.__annotations__) == {
        field.name for field in dataclasses.fields(Sampling)
    } - {"logit_bias", "ignore_eos", "min_tokens"}
