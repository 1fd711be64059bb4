"""What a written graph is made of, with networks of a few tokens."""

import shutil
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from transformers import LlamaConfig

from fkinv_export.decoder import Decoder, empty
from fkinv_export.dllm import row_of
from fkinv_export.graph import write_graph
from fkinv_export.typed import halve


def decoder(tied: bool = False) -> Decoder:
    """A network of 300 tokens."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    network = empty(LlamaConfig(vocab_size=300, tie_word_embeddings=tied, **sizes))
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: torch.ones(value.shape)
        if len(value.shape) == 1
        else torch.randn(value.shape, generator=generator) * (2 / value.shape[1]) ** 0.5
        for name, value in network.named_parameters()
    }
    network.load_state_dict(weights, strict=False, assign=True)
    network.tie_weights()
    return Decoder(network)


def write(network: Decoder, folder: Path) -> Path:
    path = folder / "model.onnx"
    write_graph(network, row_of([0] * 24, range(12, 24)), ["logits"], path)
    return path


def weights_of(path: Path) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}


class Graph(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.root = Path(tempfile.mkdtemp())
        cls.network = decoder()
        (cls.root / "untied").mkdir()
        cls.path = write(cls.network, cls.root / "untied")

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.root)

    def test_a_weight_is_kept_turned_under_its_own_name(self) -> None:
        network, found = self.network, weights_of(self.path)
        for name in ("model.layers.1.mlp.up_proj.weight", "lm_head.weight"):
            np.testing.assert_array_equal(found[name], network.get_parameter(name).numpy().T)
        np.testing.assert_array_equal(found["model.embed_tokens.weight"], network.table.weight.numpy())

    def test_a_tied_table_is_kept_once(self) -> None:
        network = decoder(tied=True)
        tables = [value for value in weights_of(write(network, self.root)).values() if value.size == 300 * 64]
        self.assertEqual(len(tables), 1)
        np.testing.assert_array_equal(tables[0], network.table.weight.numpy())

    def test_all_weights_are_in_one_file_beside_the_graph(self) -> None:
        self.assertEqual(sorted(file.name for file in self.path.parent.iterdir()), ["model.onnx", "model.onnx.data"])
        model = onnx.load(self.path, load_external_data=False)
        outside = [one for one in model.graph.initializer if one.data_location == onnx.TensorProto.EXTERNAL]
        inside = [one for one in model.graph.initializer if one not in outside]
        self.assertGreater(len(outside), 14)
        self.assertLess(sum(one.ByteSize() for one in inside), 4096)

    def test_the_axes_have_names(self) -> None:
        model = onnx.load(self.path, load_external_data=False)
        axes = {
            one.name: [axis.dim_param or axis.dim_value for axis in one.type.tensor_type.shape.dim]
            for one in [*model.graph.input, *model.graph.output]
        }
        expected = {"input_ids": ["states", "positions"], "rows": ["rows"], "logits": ["states", "rows", 300]}
        self.assertEqual(axes, expected)

    def test_what_float16_overflows_is_in_float32(self) -> None:
        """
        RMSNorm's squares, of which float16 has none above 65504, and the angles. Types are looked at, as ONNX Runtime
        computes most of float16 in float32 on a CPU.
        """
        network = decoder()
        halve(network)
        model = onnx.load(write(network, self.root))
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        types = {one.name: one.type.tensor_type.elem_type for one in [*inferred.value_info, *inferred.output]}
        for kind, count in {"Pow": 5, "ReduceMean": 5, "Cos": 1, "Sin": 1}.items():
            found = [types[node.output[0]] for node in inferred.node if node.op_type == kind]
            self.assertEqual(found, [onnx.TensorProto.FLOAT] * count, kind)
        products = [types[node.output[0]] for node in inferred.node if node.op_type == "MatMul"]
        self.assertEqual(set(products), {onnx.TensorProto.FLOAT16})
        self.assertEqual(types["logits"], onnx.TensorProto.FLOAT)


if __name__ == "__main__":
    unittest.main()
