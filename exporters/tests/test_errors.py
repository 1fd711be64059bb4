"""
What is wrong with a checkpoint ends in one line that says what and where, and leaves no folder behind.

    python -m unittest discover exporters/tests
"""

import argparse
import json
import os
import shutil
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from checkpoints import llada, qwen3_mdlm
from safetensors.torch import load_file, save_file

from fkinv_export import parity
from fkinv_export.cli import arguments, run
from fkinv_export.errors import ExportError

HEAD = "model.transformer.ff_out.weight"


def edit(file: Path, change: Callable[[dict], object]) -> None:
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


class Errors(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.root = Path(tempfile.mkdtemp())
        cls.sound = cls.root / "sound"
        cls.sound.mkdir()
        llada(cls.sound)

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.root)

    def setUp(self) -> None:
        self.folder = self.root / "altered"
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.sound, self.folder)

    def fails(self, *expected: str, given: list[str] | None = None, keep: bool = False) -> None:
        out = self.root / "out"
        with self.assertRaises(ExportError) as caught:
            run(arguments().parse_args([*(given or [str(self.folder)]), str(out)]))
        message = str(caught.exception)
        self.assertNotIn("\n", message)
        for part in expected:
            self.assertIn(part, message)
        self.assertEqual([path.name for path in self.root.glob("out*")], ["out"] if keep else [])

    def altered_weights(self, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
        index = json.loads((self.folder / "model.safetensors.index.json").read_text())["weight_map"]
        file = self.folder / index[HEAD]
        weights = load_file(file)
        change(weights)
        save_file(weights, str(file))
        edit(
            self.folder / "model.safetensors.index.json",
            lambda value: value.update(
                weight_map={name: at for name, at in index.items() if at != file.name}
                | dict.fromkeys(weights, file.name)
            ),
        )
        return file

    def test_no_such_checkpoint(self) -> None:
        self.fails("/nowhere/at/all: neither a folder nor a name of the Hub", given=["/nowhere/at/all"])

    def test_the_hub_does_not_answer(self) -> None:
        for name in ("nobody/nothing", "hf:nobody/nothing"):
            self.fails("nobody/nothing: the Hub did not give it", given=[name])

    def test_no_config(self) -> None:
        (self.folder / "config.json").unlink()
        self.fails("config.json cannot be read (No such file or directory): a checkpoint has it")

    def test_config_is_no_json(self) -> None:
        (self.folder / "config.json").write_text("{")
        self.fails("config.json is not JSON")

    def test_a_setting_is_missing(self) -> None:
        edit(self.folder / "config.json", lambda config: config.pop("d_model"))
        self.fails("config.json: d_model is missing")

    def test_unknown_family(self) -> None:
        edit(self.folder / "config.json", lambda config: config.update(model_type="gpt2"))
        self.fails("altered: its model_type is 'gpt2'; there are exporters for llada, dream, qwen3-mdlm, qwen3-bd3lm")

    def test_misspelt_family(self) -> None:
        self.fails(
            "--family lama: no family is called so; known are llada, ", given=["--family", "lama", str(self.folder)]
        )

    def test_no_size_to_choose(self) -> None:
        self.fails("--image-size: llada leaves no size to choose", given=["--image-size", "384", str(self.folder)])

    def test_the_name_does_not_tell(self) -> None:
        edit(self.folder / "config.json", lambda config: config.update(model_type="a2d-qwen3"))
        self.fails("which is qwen3-mdlm or qwen3-bd3lm: say which by --family")

    def test_another_network(self) -> None:
        edit(self.folder / "config.json", lambda config: config.update(block_type="sequential"))
        self.fails("config.json: block_type is 'sequential', and this exporter knows 'llama' only")

    def test_a_weight_is_missing(self) -> None:
        self.altered_weights(lambda weights: weights.pop(HEAD))
        self.fails(f"altered: the weight {HEAD} is missing")

    def test_a_weight_is_left_over(self) -> None:
        bias = "model.transformer.blocks.0.q_proj.bias"
        self.altered_weights(lambda weights: weights.update({bias: torch.zeros(64)}))
        self.fails(f"there is no place for the weight {bias}")

    def test_a_weight_of_another_shape(self) -> None:
        self.altered_weights(lambda weights: weights.update({HEAD: torch.zeros(126464, 32)}))
        self.fails(f"the weight {HEAD} is [126464, 32], config.json makes it [126464, 64]")

    def test_half_a_file(self) -> None:
        file = self.altered_weights(lambda weights: None)
        file.write_bytes(file.read_bytes()[:1000])
        self.fails(f"{file.name} cannot be read")

    def test_no_weights(self) -> None:
        for file in self.folder.glob("*.safetensors*"):
            file.unlink()
        self.fails("has no weights: no file ends in .safetensors")

    def test_no_tokenizer(self) -> None:
        (self.folder / "tokenizer.json").unlink()
        self.fails("has no tokenizer.json, and no vocab.json with merges.txt either")

    def test_another_tokenizer(self) -> None:
        other = self.root / "other"
        other.mkdir()
        qwen3_mdlm(other)
        for name in ["tokenizer.json", "tokenizer_config.json"]:
            shutil.copyfile(other / name, self.folder / name)
        shutil.rmtree(other)
        self.fails("tokenizer.json has no token <|eot_id|>: it is another model's, or a base model's")

    def test_ids_that_disagree(self) -> None:
        def swap(config: dict) -> None:
            config["added_tokens_decoder"]["126347"] = config["added_tokens_decoder"].pop("126348")

        edit(self.folder / "tokenizer_config.json", swap)
        self.fails("the tokenizer gives <|eot_id|> the id 126348, and tokenizer_config.json says 126347")

    def test_a_template_that_fails(self) -> None:
        template = "{{ raise_exception('no!') }}"
        edit(self.folder / "tokenizer_config.json", lambda config: config.update(chat_template=template))
        self.fails("the chat template fails: no!")

    def test_a_template_without_the_question(self) -> None:
        edit(self.folder / "tokenizer_config.json", lambda config: config.update(chat_template="hello"))
        self.fails("the chat template does not repeat what the user says")

    def test_the_folder_exists(self) -> None:
        out = self.root / "out"
        out.mkdir()
        (out / "mine.txt").write_text("mine")
        self.fails("out exists: name a folder that does not, or an empty one", keep=True)
        shutil.rmtree(out)

    def test_a_folder_that_cannot_be_written(self) -> None:
        given = argparse.Namespace(model=str(self.folder), out=Path("/dev/null/out"), dtype="fp32")
        given.image_size = given.family = given.revision = None
        with self.assertRaisesRegex(ExportError, "^/dev/null/out cannot be written"):
            run(given)


class Parity(unittest.TestCase):
    logits = np.array([[1.0, 2.0, 4.0], [3.0, 0.0, 1.0]], dtype=np.float32)

    def test_a_case_holds_for_its_own_logits_alone(self) -> None:
        case = parity.dllm_case([5, 6, 7], [1, 2], self.logits, 0.001)
        self.assertEqual(case["argmax"], [2, 0])
        self.assertEqual(parity.difference(case, self.logits), 0)
        for row, column in np.ndindex(2, 3):
            other = self.logits.copy()
            other[row, column] += 0.5
            self.assertAlmostEqual(parity.difference(case, other), 0.5, places=6)

    def test_what_is_off_or_no_number_is_refused(self) -> None:
        parity.expect("here", 1.0, 1.0)
        for difference in (1.01, float("nan")):
            with self.assertRaisesRegex(ExportError, "^parity here: the graph is off by"):
                parity.expect("here", difference, 1.0)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    unittest.main()
