"""Times the reference in rounds, for npm run bench:inversions: after a line about itself, a line of JSON out for each one in.

    python3 rounds.py SCENES THREADS

In: {"count": images, "batch": images at a time, "seed": …}. Out: {"secondsAnImage": …, "rewardClip": mean, "rewardEdit": mean}; images are encoded before.
"""
import json, os, platform, sys, time
os.environ['OMP_NUM_THREADS'] = sys.argv[2]   # read when PyTorch and its BLAS are loaded
import numpy as np, torch
from pathlib import Path
from PIL import Image
import models, sampler, tokenizers_json
from run import demo, load


def blas():
    """The file of the BLAS that matrix products go to, where the system tells."""
    maps = Path('/proc/self/maps')
    files = {line.split()[-1] for line in maps.read_text().splitlines()} if maps.exists() else set()
    return ', '.join(sorted(Path(f).name for f in files if 'blas' in Path(f).name)) or 'unknown'


scenes, threads = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
words, bpe = tokenizers_json.Words(demo / 'clip' / 'tokenizer.json'), tokenizers_json.BPE(demo / 'dllm' / 'tokenizer.json')
clip, dllm = load('clip', lambda arch: models.CLIP(len(words.vocab), **arch)), load('dllm', lambda arch: models.DLLM(len(bpe.vocab), **arch))
rows = json.load(open(scenes / 'scenes.json'))
x = np.stack([np.asarray(Image.open(scenes / r['file']).convert('RGB').resize((64, 64), Image.BICUBIC)) for r in rows])
with torch.no_grad(): E = clip.image((torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255 - .5) / .5)
print(json.dumps({'Python': platform.python_version(), 'PyTorch': torch.__version__, 'BLAS': blas()}), flush=True)
for line in sys.stdin:
    job = json.loads(line); out, start = [], time.perf_counter()
    for i in range(0, job['count'], job['batch']):
        out += sampler.invert(dllm, clip.text, words, bpe, E[i:min(i + job['batch'], job['count'])], seed=job['seed'] * 100003 + i)
    seconds = time.perf_counter() - start
    print(json.dumps({'secondsAnImage': seconds / job['count'], 'rewardClip': float(np.mean([o['r_clip'] for o in out])), 'rewardEdit': float(np.mean([o['r_edit'] for o in out]))}), flush=True)
