"""Makes CLIP folders, and what their models give in PyTorch.

clip_models.py make <folder> <case>…                    exports the cases' graphs into <folder>/<case>
clip_models.py reference <folder> <in.json> <out.json>  a list of { case, texts, pictures: PNG files } → of each { text, image: embeddings }
"""

import json
import sys
import uuid
import warnings
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.transformers.float16 import convert_float_to_float16
from PIL import Image

from clip_cases import CASES, OpenClip

warnings.filterwarnings("ignore")
torch.backends.mha.set_fastpath_enabled(False)  # it has no ONNX operator
OPSET = 17


class Tower(torch.nn.Module):
    """One of a case's functions, as the exporter takes it."""

    def __init__(self, case, name):
        super().__init__()
        self.model, self.run = case.model, getattr(case, name)

    def forward(self, *inputs):
        return self.run(*inputs)


def export(case, name, file, inputs, output, axes):
    file.parent.mkdir(exist_ok=True)
    torch.onnx.export(
        Tower(case, name),
        tuple(inputs.values()),
        str(file),
        input_names=list(inputs),
        output_names=[output],
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
    )


def export_hugging_face(case, folder):
    is_clip = case.model.config.model_type == "clip"
    ids = case.ids("a photo")[0]
    text = {"input_ids": ids, "attention_mask": torch.ones_like(ids)} if is_clip else {"input_ids": ids}
    free = {"input_ids": {0: "batch", 1: "width"}, "attention_mask": {0: "batch", 1: "width"}, "pixel_values": {0: "batch"}}
    side = case.model.config.vision_config.image_size
    outputs = ("text_embeds", "image_embeds") if is_clip else ("pooler_output", "pooler_output")
    axes = {key: value for key, value in free.items() if key in text}
    export(case, "text", folder / "onnx" / "text_model.onnx", text, outputs[0], axes)
    pixels = {"pixel_values": torch.zeros(1, 3, side, side)}
    export(case, "image", folder / "onnx" / "vision_model.onnx", pixels, outputs[1], {"pixel_values": free["pixel_values"]})
    if is_clip:
        convert(folder / "onnx")


def convert(folder):
    """To 16, 8 and 4 bits, by the tools that public repositories are made with."""
    for tower in ("text_model", "vision_model"):
        source = folder / f"{tower}.onnx"
        onnx.save(convert_float_to_float16(onnx.load(source)), folder / f"{tower}_fp16.onnx")
        for suffix, kind in (("quantized", QuantType.QUInt8), ("int8", QuantType.QInt8)):
            quantize_dynamic(
                source, folder / f"{tower}_{suffix}.onnx", weight_type=kind, op_types_to_quantize=["MatMul"], per_channel=suffix == "int8"
            )
        packed = MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric=True)
        packed.process()
        packed.model.save_model_to_file(str(folder / f"{tower}_q4.onnx"))


def export_open_clip(case, folder):
    side = case.preprocess.size
    text = {"text": torch.ones(1, case.width, dtype=torch.int32)}
    export(case, "text", folder / "textual" / "model.onnx", text, "embedding", {})
    export(case, "image", folder / "visual" / "model.onnx", {"image": torch.zeros(1, 3, side, side)}, "embedding", {})
    for tower in ("visual", "textual"):  # weights beside the graph, under a name that says nothing
        file = folder / tower / "model.onnx"
        model = onnx.load(file)
        file.unlink()
        onnx.save(model, file, save_as_external_data=True, location=str(uuid.UUID(int=len(tower))), size_threshold=1024)


def make(root, names):
    for name in names:
        folder = Path(root) / name
        folder.mkdir(parents=True)
        case = CASES[name]()
        case.save(folder)
        with torch.no_grad():
            (export_open_clip if isinstance(case, OpenClip) else export_hugging_face)(case, folder)


def reference(root, jobs):
    cases, results = {}, []
    for job in jobs:
        folder = Path(root) / job["case"]
        if job["case"] not in cases:
            cases = {job["case"]: CASES[job["case"]](folder)}  # one at a time: they are large
        case = cases[job["case"]]
        with torch.no_grad():
            texts = [case.embed_text(one) for one in job["texts"]]
            images = [case.embed_image(Image.open(file).convert("RGB")) for file in job["pictures"]]
        results.append({"text": [one.tolist() for one in texts], "image": [one.tolist() for one in images]})
    return results


if __name__ == "__main__":
    command, first, *rest = sys.argv[1:]
    if command == "make":
        make(first, rest)
    else:
        jobs, results = map(Path, rest)
        results.write_text(json.dumps(reference(first, json.loads(jobs.read_text()))))
