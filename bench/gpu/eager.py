"""npm run bench:gpu: the same step in PyTorch eager on the GPU, timed by CUDA events; a line of JSON for each case.

    eager.py STATES POSITIONS VOCAB TYPE ...      TYPE is float32, float16 or bfloat16
"""
import json
import os
import statistics
import sys

import torch

sys.path.insert(0, os.path.join(os.path.dirname(__file__), os.pardir))
from torch_step import draw, reward, similarity  # noqa: E402

WARM_UPS, TIMES, BEYOND_CACHES = 3, 21, 512 << 20


@torch.no_grad()
def run(states, positions, vocab, kind):
    dtype = getattr(torch, kind)
    size = states * positions * vocab * dtype.itemsize
    sets = [torch.empty(states, positions, vocab, dtype=dtype, device='cuda').normal_(0, 3)
            for _ in range(max(1, -(-BEYOND_CACHES // size)))]
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(4)]
    times = []
    for i in range(WARM_UPS + TIMES):
        z = sets[i % len(sets)]
        events[0].record()
        p, s = similarity(z)
        events[1].record()
        r = reward(s)
        events[2].record()
        t = draw(p)
        events[3].record()
        torch.cuda.synchronize()
        if i >= WARM_UPS:
            times.append([events[k].elapsed_time(events[k + 1]) * 1e3 for k in range(3)] +
                         [events[0].elapsed_time(events[3]) * 1e3])
        del p, s, r, t
    whole = dict(zip(['similarity', 'reward', 'draw', 'whole'],
                     [round(statistics.median(column), 2) for column in zip(*times)]))
    print(json.dumps({'shape': [states, positions, vocab], 'type': kind, **whole,
                      'extraBytes': torch.cuda.max_memory_allocated() - before}), flush=True)


def main():
    arguments = sys.argv[1:]
    print(json.dumps({'torch': torch.__version__, 'tf32': torch.backends.cuda.matmul.allow_tf32}))
    for i in range(0, len(arguments), 4):
        run(*map(int, arguments[i:i + 3]), arguments[i + 3])


main()
