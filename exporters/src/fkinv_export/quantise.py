"""
8 and 4 bits, by ONNX Runtime's own tools; and the quantised weights again as numbers, so that PyTorch can compute what
the graph should give.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from torch import nn

BLOCK = 32
"""Inputs of a 4-bit weight that share a scale."""


def quantise(source: Path, target: Path, dtype: str) -> None:
    """
    Writes the float32 graph `source` as `target`, with all products with a weight quantised: `int4` has the weights in
    4 bits, symmetric, 32 to a scale (MatMulNBits), and computes in float32; `int8` has weights and activations in 8
    bits, the latter with a scale that is found anew in each run and is one for all rows of the run (MatMulInteger).

    8-bit weights are unsigned: with signed ones x64 processors without VNNI saturate (onnxruntime.ai/docs,
    quantization).
    """
    if dtype == "int4":
        quantiser = MatMulNBitsQuantizer(onnx.load(source), bits=4, block_size=BLOCK, is_symmetric=True)
        quantiser.process()
        save(quantiser.model.model, target)
        return
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        between = Path(folder) / "model.onnx"
        options = {"op_types_to_quantize": ["MatMul"], "weight_type": QuantType.QUInt8, "per_channel": True}
        quantize_dynamic(source, between, use_external_data_format=True, **options)
        save(onnx.load(between), target)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Writes a graph as write_graph() does: its weights in one file beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = f"{path.name}.data"
    onnx.save_model(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=data)


def read_back(graph: Path, module: nn.Module) -> None:
    """
    Gives the linear layers of `module` the weights that the quantised `graph` has for them, as numbers. They are found
    by the initialisers' names, which begin with the module's own.
    """
    model = onnx.load(graph)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    values = lambda name: numpy_helper.to_array(tensors[name])  # noqa: E731
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            name, weight = node.input[1].removesuffix("_Q4"), from_4_bits(values(node.input[1]), values(node.input[2]))
        elif node.op_type == "MatMulInteger":
            name = node.input[1].removesuffix("_quantized")
            scale, zero = values(f"{name}_scale"), values(node.input[3])
            weight = values(node.input[1]).astype(np.float32)
            weight -= zero
            weight *= scale
            weight = weight.T
        else:
            continue
        layer = module.get_submodule(name.removesuffix(".weight"))
        assert isinstance(layer, nn.Linear)
        inputs = layer.weight.shape[1]
        layer.weight = nn.Parameter(torch.from_numpy(np.ascontiguousarray(weight[:, :inputs])), requires_grad=False)


def from_4_bits(packed: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """
    The weight [outputs, inputs] of MatMulNBits' B [outputs, blocks, 16], whose bytes have the even inputs in their low
    bits.
    """
    outputs, blocks, _ = packed.shape
    numbers = np.empty((outputs, blocks, BLOCK), dtype=np.float32)
    numbers[:, :, ::2], numbers[:, :, 1::2] = packed & 15, packed >> 4
    numbers -= 8
    numbers *= scales.reshape(outputs, blocks, 1)
    return numbers.reshape(outputs, blocks * BLOCK)


@contextmanager
def rounded_activations(module: nn.Module) -> Iterator[None]:
    """
    Within it the linear layers of `module` compute as int8 graphs do: with the 256 values that DynamicQuantizeLinear
    leaves their inputs (onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html).
    """
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_pre_hook(rounded) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def rounded(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    (x,) = inputs
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = (high - low) / 255
    zero = (-low / scale).round().clamp(0, 255)
    return (((x / scale).round() + zero).clamp(0, 255).sub(zero) * scale,)
