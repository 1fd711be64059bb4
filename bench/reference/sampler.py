"""The method in plain PyTorch, step by step and over a batch of images: what the product is checked and timed against.

As docs/algorithm.md says it, with the random opening order, one guess and multinomial resampling at every step; random
numbers are PyTorch's, so single prompts differ from the product's and only averages compare.
"""
import torch


def edit_reward(z, counted=None):
    """Logits [..., N, V] -> (r_edit [...], S [..., N, N]); `counted` [..., N] marks the positions that count (default all).

    The mean-centring of the formula cancels in the softmax; with suppressed tokens at -inf it must be left out.
    """
    p = z.softmax(-1)
    s = p @ p.transpose(-1, -2)
    off = ~torch.eye(s.shape[-1], dtype=torch.bool).expand(s.shape)
    if counted is not None: off = off & counted[..., None] & counted[..., None, :]
    off = off.to(s.dtype); pairs = off.sum((-1, -2)).clamp(min=1)
    mean = (s * off).sum((-1, -2)) / pairs
    var = ((s - mean[..., None, None]) ** 2 * off).sum((-1, -2)) / pairs
    return 1 - (mean + var.sqrt()), s


def multinomial(p, g):
    """One token for each row of p [..., V]."""
    return torch.multinomial(p.reshape(-1, p.shape[-1]), 1, generator=g).view(p.shape[:-1])


def cut(ids, eos): return ids[:ids.index(eos)] if eos in ids else ids


@torch.no_grad()
def invert(dllm, clip_text, words, bpe, embeds, length=28, min_length=4, particles=8, steps=24, lambda_clip=100., lambda_edit=20., temperature=1., all_positions=False, seed=0):
    """Image embeddings [B, E] -> for each image {prompt, r_clip, r_edit, trace}; all_positions counts what follows <eos> in r_edit too."""
    g = torch.Generator().manual_seed(seed)
    B, K, N, T = len(embeds), particles, length, steps
    x = torch.full((B, K, N), bpe.mask)
    cond = embeds[:, None].expand(-1, K, -1).reshape(B * K, -1)
    clip_prev = edit_prev = log_w = torch.zeros(B, K); trace = []
    for i in range(T + 1):
        t, s = 1 - i / T, 1 - (i + 1) / T
        z = dllm(x.view(B * K, N), cond).view(B, K, N, -1)
        z[..., bpe.mask] = -torch.inf; z[:, :, :min_length, bpe.eos] = -torch.inf
        tau = (z / temperature).softmax(-1)
        guess = torch.where(x == bpe.mask, multinomial(tau, g), x)
        texts = [[bpe.decode(cut(row, bpe.eos)) for row in rows] for rows in guess.tolist()]
        unique = sorted({w for row in texts for w in row}); index = {w: j for j, w in enumerate(unique)}
        e = clip_text(torch.tensor([words.encode(w) for w in unique]))
        r_clip = torch.stack([e[[index[w] for w in row]] @ embeds[b] for b, row in enumerate(texts)])
        r_edit, _ = edit_reward(z, None if all_positions else (guess == bpe.eos).cumsum(-1) == 0)
        log_w = log_w + lambda_clip * (r_clip - clip_prev) + lambda_edit * (r_edit - edit_prev)
        trace.append((r_clip.mean(1), r_edit.mean(1)))
        if i == T: break
        a = torch.multinomial((log_w - log_w.amax(-1, keepdim=True)).exp(), K, replacement=True, generator=g)
        pick = lambda v: torch.gather(v, 1, a.view(B, K, *[1] * (v.ndim - 2)).expand(B, K, *v.shape[2:]))
        x, z, tau, clip_prev, edit_prev = pick(x), pick(z), pick(tau), pick(r_clip), pick(r_edit)
        opens = x == bpe.mask
        if i < T - 1: opens &= torch.rand(x.shape, generator=g) < (t - s) / t
        drawn = multinomial(tau, g)
        x = torch.where(opens, drawn, x); log_w = torch.zeros(B, K)
        if temperature != 1:
            ratio = (z.log_softmax(-1) - (z / temperature).log_softmax(-1)).gather(-1, drawn[..., None])[..., 0]
            log_w = (ratio * opens).sum(-1)
    best = (lambda_clip * r_clip + lambda_edit * r_edit).argmax(1).tolist()
    return [{'prompt': texts[b][j], 'r_clip': r_clip[b, j].item(), 'r_edit': r_edit[b, j].item(),
             'trace': [(c[b].item(), e[b].item()) for c, e in trace]} for b, j in enumerate(best)]
