"""Grade and time the reference sampler on scenes.

python3 run.py ../../test/fixtures/scenes [--count 64] [--batch 1] [--threads 2] [--json] 'key=value,…' …   (one run per setting; '-' is the defaults)
"""
import argparse, json, re, time
from pathlib import Path
import numpy as np, torch
from PIL import Image
import models, sampler, tokenizers_json

here = Path(__file__).resolve().parent; demo = here.parents[1] / 'models'


def load(name, make):
    saved = torch.load(here / 'weights' / f'{name}.pt'); net = make(saved['arch'])
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in saved['net'].items()}); return net.eval()


def grade(prompt, facts): return {k: bool(re.search(p, prompt.lower())) for k, p in facts.items()}


if __name__ == '__main__':
    a = argparse.ArgumentParser(); a.add_argument('scenes', type=Path); a.add_argument('settings', nargs='*', default=['-']); a.add_argument('--count', type=int, default=64)
    a.add_argument('--batch', type=int, default=1); a.add_argument('--threads', type=int, default=2); a.add_argument('--json', action='store_true'); a.add_argument('--show', type=int, default=0); a = a.parse_intermixed_args()
    torch.set_num_threads(a.threads)
    words, bpe = tokenizers_json.Words(demo / 'clip' / 'tokenizer.json'), tokenizers_json.BPE(demo / 'dllm' / 'tokenizer.json')
    make_clip = lambda arch: models.CLIP(len(words.vocab), **arch)
    clip, dllm = load('clip', make_clip), load('dllm', lambda arch: models.DLLM(len(bpe.vocab), **arch))
    rows = json.load(open(a.scenes / 'scenes.json'))[:a.count]
    x = np.stack([np.asarray(Image.open(a.scenes / r['file']).convert('RGB').resize((64, 64), Image.BICUBIC)) for r in rows])
    x = (torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255 - .5) / .5
    with torch.no_grad(): E = clip.image(x)
    for spec in a.settings:
        kw = {k: (float(v) if '.' in v else int(v)) for k, v in (p.split('=') for p in spec.split(','))} if spec != '-' else {}
        out, start = [], time.time()
        for i in range(0, len(rows), a.batch): out += sampler.invert(dllm, clip.text, words, bpe, E[i:i + a.batch], seed=kw.get('seed', 0) * 100003 + i, **{k: v for k, v in kw.items() if k != 'seed'})
        seconds = (time.time() - start) / len(rows); by = {}
        for o, r in zip(out, rows):
            for k, ok in grade(o['prompt'], r['facts']).items(): b = by.setdefault(k.split(':')[0], [0, 0]); b[0] += ok; b[1] += 1
        res = {'settings': spec, 'facts': sum(b[0] for b in by.values()) / sum(b[1] for b in by.values()), 'r_clip': float(np.mean([o['r_clip'] for o in out])),
               'r_edit': float(np.mean([o['r_edit'] for o in out])), 'seconds_an_image': seconds, 'by': {k: f'{h}/{n}' for k, (h, n) in sorted(by.items())}}
        print(json.dumps(res) if a.json else f"{spec}: " + '  '.join(f'{k} {v:.4f}' for k, v in res.items() if isinstance(v, float)) + f"  {res['by']}", flush=True)
        for o, r in list(zip(out, rows))[:a.show]: print('   got :', o['prompt'], '\n   true:', r['captions'][0], flush=True)
