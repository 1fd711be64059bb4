"""Tokenizers of the kinds that public CLIPs have: CLIP's own, and small ones that are trained here where the vocabulary is not to be had."""

import gzip
import json
import string
from pathlib import Path

import open_clip
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, Siglip2Tokenizer


def clip_tokenizer():
    """openai/clip-vit-base-patch32's, of the merges that open_clip carries."""
    own = open_clip.SimpleTokenizer()
    packed = Path(open_clip.tokenizer.default_bpe())
    merges = gzip.open(packed).read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    vocab = {
        {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}.get(token, token): i
        for token, i in own.encoder.items()
    }
    return CLIPTokenizer(vocab=vocab, merges=[tuple(merge.split()) for merge in merges], model_max_length=77)


def corpus():
    """Some English: this repository's documentation."""
    root = Path(__file__).parents[3]
    return [line for file in sorted(root.glob("docs/*.md")) for line in file.read_text().lower().split("\n")]


def t5_tokenizer(canonicalises):
    """Unigram pieces with a space before a word and </s> behind the text, as SigLIP has: pad </s> is 1."""
    tokenizer = Tokenizer(models.Unigram())
    cleaning = [
        normalizers.Lowercase(),
        normalizers.Replace(Regex("[" + "".join("\\" + c for c in string.punctuation) + "]"), ""),
    ]
    tokenizer.normalizer = normalizers.Sequence(
        [
            *(cleaning if canonicalises else []),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.NFKC(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=3000, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **T5)


T5 = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>", "model_max_length": 64}


def t5_from(folder):
    """Of the tokenizer.json in `folder`, whatever class its tokenizer_config.json names."""
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **T5)


def gemma_tokenizer():
    """BPE over pieces with spaces in them and bytes for what has none, <eos> behind the text, as SigLIP 2 has: <pad> is 0."""
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=[*specials, *bytes_])
    trained.train_from_iterator(corpus(), trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Siglip2Tokenizer(vocab=model["vocab"], merges=merges, padding_side="right")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    return tokenizer
