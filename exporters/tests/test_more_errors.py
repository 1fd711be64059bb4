"""test_errors.py for MDLM, LLaDA-V and CLIPs: one line that says what and where, and no folder left behind."""

import logging
import os
import shutil
import tempfile
import unittest
from pathlib import Path

import torch
from checkpoints_more import llada_v, mdlm
from clips import MODELS, edit
from safetensors.torch import load_file, save_file

from fkinv_export.cli import arguments, run
from fkinv_export.errors import ExportError

OPEN_CLIP = "CLIP-ViT-H-14-laion2B-s32B-b79K"


class MoreErrors(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.root = Path(tempfile.mkdtemp())
        for name in ("mdlm", "llada-v", OPEN_CLIP):
            (cls.root / name).mkdir()
        mdlm(cls.root / "mdlm")
        llada_v(cls.root / "llada-v")
        MODELS[OPEN_CLIP](cls.root / OPEN_CLIP, None)

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.root)

    def altered(self, name: str) -> Path:
        folder = self.root / "altered"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.root / name, folder)
        return folder

    def fails(self, folder: Path, *expected: str, options: tuple[str, ...] = ()) -> None:
        with self.assertRaises(ExportError) as caught:
            run(arguments().parse_args([str(folder), str(self.root / "out"), *options]))
        message = str(caught.exception)
        self.assertNotIn("\n", message)
        for part in expected:
            self.assertIn(part, message)
        self.assertEqual(list(self.root.glob("out*")), [])

    def test_mdlm_without_a_tokenizer(self) -> None:
        folder = self.altered("mdlm")
        (folder / "tokenizer.json").unlink()
        self.fails(
            folder, "altered has no tokenizer.json: put that of openai-community/gpt2", "(openai-community/gpt2: "
        )

    def test_mdlm_that_looks_at_the_time(self) -> None:
        folder = self.altered("mdlm")
        edit(folder / "config.json", {"time_conditioning": True})
        self.fails(folder, "time_conditioning is True, and this exporter knows False only")

    def test_pictures_of_another_side(self) -> None:
        for name in ("mdlm", "llada-v"):
            folder = self.altered(name)
            self.fails(folder, f"--image-size: {name} leaves no size to choose", options=("--image-size", "448"))
        folder = self.altered(OPEN_CLIP)
        self.fails(folder, "--image-size 100 is no multiple of 14", options=("--image-size", "100"))

    def test_llada_v_with_another_projector(self) -> None:
        folder = self.altered("llada-v")
        edit(folder / "config.json", {"mm_projector_type": "linear"})
        self.fails(folder, "mm_projector_type is 'linear', and this exporter knows 'mlp2x_gelu' only")

    def test_llada_v_with_another_tower(self) -> None:
        folder = self.altered("llada-v")
        edit(folder / "config.json", {"mm_hidden_size": 216})
        self.fails(folder, "patch_embedding.weight is [144, 3, 14, 14], config.json makes it [216, 3, 14, 14]")

    def test_open_clip_of_another_network(self) -> None:
        folder = self.altered(OPEN_CLIP)
        edit(folder / "open_clip_config.json", {"model_cfg": {"embed_dim": 64, "vision_cfg": {"timm_model_name": "x"}}})
        self.fails(folder, "open_clip_config.json: timm_model_name makes another network")

    def test_open_clip_without_a_setting(self) -> None:
        folder = self.altered(OPEN_CLIP)
        edit(folder / "open_clip_config.json", {"model_cfg": {"embed_dim": 64, "vision_cfg": {"image_size": 56}}})
        self.fails(folder, "open_clip_config.json: width is missing")

    def test_open_clip_with_a_weight_left_over(self) -> None:
        folder = self.altered(OPEN_CLIP)
        file = folder / "open_clip_model.safetensors"
        save_file(load_file(file) | {"visual.ls.gamma": torch.zeros(3)}, str(file))
        self.fails(folder, "there is no place for the weight visual.ls.gamma")


logging.disable(logging.WARNING)

if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    unittest.main()
