"""npm run bench:kernels: PyTorch eager as a contender (contender.ts has the protocol).

    torch_eager.py TYPE P N V THREADS LOGITS RESULTS
"""
import json
import os
import sys
import time

kind, states, positions, vocab, threads = sys.argv[1], *map(int, sys.argv[2:6])
logits, results = sys.argv[6:]
os.environ['OPENBLAS_NUM_THREADS'] = str(threads)  # a BLAS of its own threads, which PyTorch does not set
import torch  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(__file__), os.pardir))
from torch_step import draw, reward, similarity  # noqa: E402

torch.set_num_threads(threads)


def step(z):
    start = time.perf_counter()
    p, s = similarity(z)
    after_similarity = time.perf_counter()
    r = reward(s)
    after_reward = time.perf_counter()
    draw(p)
    end = time.perf_counter()
    seconds = {'similarity': after_similarity - start, 'reward': after_reward - after_similarity,
               'draw': end - after_reward, 'whole': end - start}
    return seconds, s, r


def peak_bytes():
    """The most memory that was resident since reset_peak(); None where the system does not tell."""
    try:
        with open('/proc/self/status') as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith('VmHWM:'))
    except OSError:
        return None


def reset_peak():
    try:
        with open('/proc/self/clear_refs', 'w') as file:
            file.write('5')
    except OSError:
        pass


def blas():
    """The library that matrix products go to; None where the system does not tell."""
    try:
        with open('/proc/self/maps') as maps:
            files = {line.split()[-1] for line in maps if 'blas' in line.split()[-1].rpartition('/')[2]}
    except OSError:
        return None
    return ', '.join(sorted({os.path.basename(os.path.realpath(file)) for file in files}))


@torch.no_grad()
def main():
    step(torch.randn(1, positions, 2048))  # what is loaded and started once
    z = torch.empty(states, positions, vocab, dtype={'float32': torch.float32, 'float16': torch.float16}[kind])
    with open(logits, 'rb') as file:
        assert file.readinto(memoryview(z.numpy()).cast('B')) == z.numel() * z.element_size()
    reset_peak()
    before = peak_bytes()
    seconds, s, r = step(z)
    extra = None if before is None else peak_bytes() - before
    about = {'Python': sys.version.split()[0], 'PyTorch': torch.__version__, 'PyTorch’s BLAS': blas() or 'unknown'}
    with open(results, 'wb') as file:
        file.write(s.numpy().tobytes() + r.double().numpy().tobytes())
    del s, r
    print(json.dumps({'first': seconds, 'extraBytes': extra, 'about': about}), flush=True)
    for line in sys.stdin:
        print(json.dumps([step(z)[0] for _ in range(int(line))]), flush=True)


main()
