"""The command `fkinv-export`."""

import argparse
import logging
import os
import sys
from pathlib import Path

from .errors import ExportError

DTYPES = ("fp32", "fp16", "int8", "int4")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fkinv-export",
        description="Makes a model folder for fkinv of a checkpoint, and holds its graphs to the PyTorch model.",
    )
    parser.add_argument("model", help="folder of a checkpoint, or its name on the Hub: org/name or hf:org/name")
    parser.add_argument("out", type=Path, help="the folder to write, which must not exist")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="of the weights (default: %(default)s)")
    parser.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="side of the pictures, for towers that take several"
    )
    parser.add_argument("--family", help="what the model is, where its files do not tell")
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    return parser


def run(given: argparse.Namespace) -> None:
    # These take seconds to load: after the arguments are known to be right.
    from .checkpoint import Checkpoint
    from .families import Options, family_of
    from .folder import new_folder

    checkpoint = Checkpoint.find(given.model, given.revision)
    family = family_of(checkpoint, given.family)
    if given.image_size is not None and not family.takes_image_size:
        raise ExportError(f"--image-size: {family.name} leaves no size to choose")
    print(f"{checkpoint.name} is of the family {family.name}", flush=True)
    with new_folder(given.out) as out:
        family.export(checkpoint, out, Options(given.dtype, given.image_size))
    print(f"wrote {given.out}")


def main() -> None:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.disable(logging.WARNING)  # the libraries say by the line what they do
    try:
        run(arguments().parse_args())
    except ExportError as error:
        print(f"fkinv-export: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
