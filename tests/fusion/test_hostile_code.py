"""Directories of transformers that name code, or files elsewhere: nothing runs, and nothing else is read."""

import json
import pickle

import pytest
from numpy.testing import assert_array_equal

from sklearn_mdm.fusion import MAGFusion

pytest.importorskip("transformers")

from . import transformer_models as tiny
from .hostile_backbones import INDEX, WEIGHTS, edit, output, refused


@pytest.fixture
def trap(folder):
    """A file that code in the directory makes if it runs, and that code."""
    path = folder.parent / "ran"
    code = f"open({str(path)!r}, 'w').close()\nclass Model: pass\n"
    for name in ("evil.py", "configuration_evil.py", "modeling_evil.py", "tokenization_evil.py"):
        (folder / name).write_text(code)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(code)
    yield path
    assert not path.exists()


@pytest.mark.parametrize("kind", ["evil", "", None, 3, [], {}, "../bert"])
def test_an_unknown_architecture__error_does_not_advise_to_run_code(kind, folder, trap):
    auto_map = {"AutoConfig": "configuration_evil.Model", "AutoModel": "modeling_evil.Model"}
    edit(folder / "config.json", model_type=kind, auto_map=auto_map)
    refused(folder, "model_type=.* does not know. Code that comes with a model is never run")


@pytest.mark.parametrize("where", ["evil.Model", "someone/else--evil.Model"])
def test_modules_that_a_configuration_names__are_not_run(where, folder, trap, expected):
    auto_map = dict.fromkeys(["AutoConfig", "AutoModel", "AutoTokenizer"], where)
    edit(folder / "config.json", auto_map=auto_map, custom_pipelines={"x": {"impl": where}})
    assert_array_equal(output(folder), expected)
    for auto_map in ({"AutoTokenizer": [where, where]}, [where, where]):
        edit(folder / "tokenizer_config.json", auto_map=auto_map)
        try:
            assert_array_equal(output(folder), expected)
        except ValueError:
            refused(folder, "cannot be loaded")


def test_modules_that_a_passed_configuration_names__are_not_run(folder, trap):
    config = tiny.make_config("bert")
    config.auto_map = {"AutoModel": "evil.Model"}
    config._name_or_path = str(folder)
    assert output(config, tokenizer=tiny.make_tokenizer()).shape == (4, 1)


@pytest.mark.parametrize("name", ["EvilTokenizer", "os.system", "", "../evil.Model", "evil"])
def test_unknown_classes_of_tokenizers__are_no_code(name, folder, trap, expected):
    edit(folder / "tokenizer_config.json", tokenizer_class=name)
    try:
        assert_array_equal(output(folder), expected)
    except ValueError:
        refused(folder, "cannot be loaded")


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


PICKLES = ["pytorch_model.bin", "adapter_model.bin", "training_args.bin", "model.pt", "tf_model.h5", "model.pkl"]


def test_pickles__are_not_read(folder, trap, expected):
    for name in PICKLES:
        (folder / name).write_bytes(pickle.dumps(Trap(trap)))
    edit(folder / "config.json", transformers_weights="pytorch_model.bin", architectures=["evil.Model"])
    assert_array_equal(output(folder), expected)
    (folder / WEIGHTS).write_bytes(pickle.dumps(Trap(trap)))
    refused(folder, "cannot be loaded")
    (folder / WEIGHTS).unlink()
    refused(folder, "cannot be loaded: it has no model.safetensors.* may run code, are not read")
    trap_index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": "pytorch_model.bin"}}
    for name in (INDEX, "pytorch_model.bin.index.json"):
        (folder / name).write_text(json.dumps(trap_index))
    refused(folder, "names 'pytorch_model.bin', which is not a safetensors file")


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"])
@pytest.mark.parametrize("value", ["someone/kernel", "kernels-community/flash-attn3", {"": "someone/kernel"}])
def test_kernels_on_the_hub__are_not_fetched(key, value, folder, expected):
    edit(folder / "config.json", **{key: value, "experts_implementation": "someone/kernel", "use_kernels": True})
    assert_array_equal(output(folder), expected)


@pytest.mark.parametrize("value", ["../x.safetensors", "/etc/passwd", "x.safetensors"])
def test_other_files_that_a_configuration_names__are_not_read(value, folder, expected):
    (folder.parent / "x.safetensors").write_bytes(b"not read")
    edit(folder / "config.json", transformers_weights=value, configuration_files=["../config.4.0.0.json", value])
    names = ["vocab_file", "tokenizer_file", "added_tokens_file", "special_tokens_map_file", "chat_template_file"]
    edit(folder / "tokenizer_config.json", **dict.fromkeys(names, value), name_or_path=value)
    assert_array_equal(output(folder), expected)


def test_chat_templates__are_not_rendered(folder, expected, monkeypatch):
    def render(*args, **options):
        raise AssertionError("a template was rendered")

    monkeypatch.setattr("jinja2.Environment.from_string", render)
    template = "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for i in range(10**10) %}{% endfor %}"
    edit(folder / "tokenizer_config.json", chat_template=template)
    (folder / "chat_template.jinja").write_text(template)
    assert_array_equal(output(folder), expected)


@pytest.mark.parametrize("whole", [True, False])
def test_adapters__are_refused(whole, folder):
    """Where peft is installed, transformers would follow them to another model."""
    adapter = {"base_model_name_or_path": "../elsewhere", "peft_type": "LORA", "auto_mapping": {"parent_library": "os"}}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    if not whole:
        (folder / "config.json").unlink()
    refused(folder, r"holds an adapter .* is not read.*merge_and_unload\(\)")


def test_the_directory_one_is_in__is_no_tokenizer_of_a_configuration(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert MAGFusion(backbone=tiny.make_config("bert")).schema().tokenizer is None
