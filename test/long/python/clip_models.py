"""Makes CLIP folders, and what their models give in PyTorch.

clip_models.py make <folder> <case>…             exports the cases' graphs into <folder>/<case>
clip_models.py reference <in.json> <out.json>    { case, texts, pictures: PNG files } → { text, image: embeddings }, of each in a list
"""

import json
import sys
import uuid
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
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
    for suffix, dtype in (("", torch.float32), *([("_fp16", torch.float16)] if is_clip else [])):
        case.model.to(dtype)
        outputs = ("text_embeds", "image_embeds") if is_clip else ("pooler_output", "pooler_output")
        pixels = {"pixel_values": torch.zeros(1, 3, side, side, dtype=dtype)}
        axes = {key: value for key, value in free.items() if key in text}
        export(case, "text", folder / "onnx" / f"text_model{suffix}.onnx", text, outputs[0], axes)
        export(case, "image", folder / "onnx" / f"vision_model{suffix}.onnx", pixels, outputs[1], {"pixel_values": free["pixel_values"]})
    if is_clip:
        quantise(folder / "onnx")


def quantise(folder):
    for tower in ("text_model", "vision_model"):
        source = folder / f"{tower}.onnx"
        for suffix, kind in (("quantized", QuantType.QUInt8), ("int8", QuantType.QInt8), ("uint8", QuantType.QUInt8)):
            quantize_dynamic(
                source, folder / f"{tower}_{suffix}.onnx", weight_type=kind, op_types_to_quantize=["MatMul"], per_channel=suffix == "int8"
            )
        for suffix, of in (("q4", ""), ("q4f16", "_fp16")):
            packed = MatMulNBitsQuantizer(onnx.load(folder / f"{tower}{of}.onnx"), block_size=32, is_symmetric=True)
            packed.process()
            packed.model.save_model_to_file(str(folder / f"{tower}_{suffix}.onnx"))


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


def of_graph(folder, suffix):
    """Embeddings by onnxruntime itself, of the same ids without padding and of the same pixels."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [
        onnxruntime.InferenceSession(folder / "onnx" / f"{tower}_model{suffix}.onnx", options) for tower in ("text", "vision")
    ]

    def text(ids, mask):
        width = int(mask.sum())
        row = {"input_ids": ids[:, :width].numpy(), "attention_mask": mask[:, :width].numpy()}
        return torch.from_numpy(sessions[0].run(None, row)[0])[0].double()

    def image(pixels):
        half = sessions[1].get_inputs()[0].type == "tensor(float16)"
        return torch.from_numpy(sessions[1].run(None, {"pixel_values": pixels.numpy().astype(np.float16 if half else np.float32)})[0])[0].double()

    return text, image


def reference(jobs):
    made, results = {}, []
    for job in jobs:
        name = job["case"]
        case = made.setdefault(name, None) or CASES[name]()
        made[name] = case
        with torch.no_grad():
            if "suffix" in job:
                text, image = of_graph(Path(job["folder"]), job["suffix"])
                texts = [text(*case.ids(one)) for one in job["texts"]]
            else:
                image = lambda pixels: case.image(pixels)[0].double()
                texts = [case.embed_text(one) for one in job["texts"]]
            if "pixels" in job:  # as fkinv resized them
                pixels = [torch.tensor(np.fromfile(file, np.float32)).view(1, 3, *job["size"]) for file in job["pixels"]]
            else:
                pixels = [case.pixels(Image.open(file).convert("RGB")) for file in job["pictures"]]
            images = [image(one) for one in pixels]
        results.append({"text": [one.tolist() for one in texts], "image": [one.tolist() for one in images]})
    return results


if __name__ == "__main__":
    command, first, *rest = sys.argv[1:]
    if command == "make":
        make(first, rest)
    else:
        Path(rest[0]).write_text(json.dumps(reference(json.loads(Path(first).read_text()))))
