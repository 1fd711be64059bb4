"""A PyTorch module as an ONNX graph: `model.onnx`, and its weights in one file beside it, `model.onnx.data`."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxscript.optimizer
import torch
from torch import nn

OPSET = 18


@dataclass(frozen=True)
class Input:
    """An input of a graph: what it is traced with, and the names of the axes that stay free."""

    name: str
    example: torch.Tensor
    free: dict[int, str] = field(default_factory=dict)


def write_graph(module: nn.Module, inputs: Sequence[Input], outputs: Sequence[str], path: Path) -> None:
    """
    Writes `module`, whose forward takes the `inputs` in their order, as the graph `path`. Its weights go to one file
    beside it whatever their size, as protobuf ends at 2 GB, and one by one: none is in memory twice. The graph's
    initialisers have the module's own names for them.
    """
    module = module.eval().requires_grad_(False)
    axes = {axis: torch.export.Dim(axis) for one in inputs for axis in one.free.values()}
    shapes = tuple({i: axes[axis] for i, axis in one.free.items()} for one in inputs)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            tuple(one.example for one in inputs),
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=OPSET,
            input_names=[one.name for one in inputs],
            output_names=list(outputs),
            dynamic_shapes=shapes,
        )
    model = program.model
    turn_weights(model.graph)  # before the optimiser does it to those that are small, and gives them other names
    onnxscript.optimizer.optimize(model)
    name_axes(model, inputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    ir.save(model, path, external_data=f"{path.name}.data")


def release(module: nn.Module) -> None:
    """Frees the weights of a module that is done with: torch.onnx keeps all that it has seen."""
    for parameter in module.parameters():
        parameter.data = torch.empty(0)


def name_axes(model: ir.Model, inputs: Sequence[Input]) -> None:
    """Calls the free axes what `inputs` call them: torch numbers them."""
    names = {}
    for value, one in zip(model.graph.inputs, inputs, strict=True):
        for axis, name in one.free.items():
            names[str(value.shape[axis].value)] = name
    for value in [*model.graph.inputs, *model.graph.outputs]:
        for axis, extent in enumerate(value.shape):
            if not isinstance(extent, int) and str(extent.value) in names:
                value.shape[axis] = ir.SymbolicDim(names[str(extent.value)])


def turn_weights(graph: ir.Graph) -> None:
    """
    PyTorch keeps a linear layer's weight as [outputs, inputs] and turns it as it runs: the graph keeps it turned, as
    MatMul wants it and as quantisation looks for it. A weight that something else reads too is kept once and as it is.
    """
    for node in list(graph):
        if node.op_type != "Transpose" or not is_weight(graph, node.inputs[0]) or len(node.inputs[0].shape) != 2:
            continue
        if len(list(node.inputs[0].uses())) == 1:
            keep_turned(graph, node.inputs[0], node.outputs[0])


def is_weight(graph: ir.Graph, value: ir.Value | None) -> bool:
    return value is not None and value.name in graph.initializers and value.const_value is not None


def keep_turned(graph: ir.Graph, weight: ir.Value, turned: ir.Value) -> None:
    tensor = weight.const_value
    rows, columns = tensor.shape

    def read() -> ir.Tensor:
        return ir.Tensor(np.ascontiguousarray(tensor.numpy().T), dtype=tensor.dtype)

    lazy = ir.LazyTensor(read, dtype=tensor.dtype, shape=ir.Shape([columns, rows]), name=weight.name)
    kept = ir.Value(name=weight.name, shape=lazy.shape, type=ir.TensorType(tensor.dtype), const_value=lazy)
    ir.convenience.replace_all_uses_with(turned, kept)
    graph.remove(turned.producer(), safe=True)
    del graph.initializers[weight.name]
    graph.initializers[weight.name] = kept
