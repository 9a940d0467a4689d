"""attnres.py - Attention Residuals of attn beside flash-attn-res, in one process, on the same tensors.

    meson setup b -Ddefault_library=shared && ninja -C b
    python3 bench/peers/attnres.py --lib b/instantiations/libattn.so [--cases REGEX] [--out FILE]

Needs PyTorch and a GPU; flash-attn-res (PyPI) is timed if it can be imported.  A case makes its tensors once, normally
distributed; rounds.py times them.  Bytes count each input and output once; the ceiling is what a sum over 4 GiB reads
in a second, in the same process, beside which stand a copy and a sum of two tensors.  One JSON line a number.
"""
import argparse
import ctypes
import json
import os
import re

import torch

import rounds

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DTYPE = {torch.float32: 1, torch.float16: 2, torch.bfloat16: 3}
RES1, RES2, RES1_BACKWARD, RES2_BACKWARD = 21, 22, 23, 24
NAMES = {RES1: "attn_res_phase1", RES2: "attn_res_phase2", RES1_BACKWARD: "attn_res_phase1_backward",
         RES2_BACKWARD: "attn_res_phase2_backward"}
ADD_DV, ADD_DP, ADD_DW, FROM_LAST = 1, 2, 4, 8


def read_header():
    """attn_res_params as ctypes have it."""
    text = re.sub(r"/\*.*?\*/", "", open(os.path.join(ROOT, "include/attn/res.h")).read(), flags=re.S)
    kinds = {"int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32, "int64_t": ctypes.c_int64, "float": ctypes.c_float}
    for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", text, flags=re.S):
        fields = []
        for line in filter(None, (x.strip() for x in body.split(";"))):
            kind, names = re.match(r"(?:const )?(\w+)\s*(.*)", line, flags=re.S).groups()
            for one in names.split(","):
                field, count = re.search(r"(\w+)\s*(?:\[(\d+)\])?\s*$", one).groups()
                base = ctypes.c_void_p if "*" in one else kinds[kind]
                fields.append((field, base * int(count) if count else base))
        kinds[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return kinds["attn_res_params"]


class Info(ctypes.Structure):
    _fields_ = [("instance", ctypes.POINTER(ctypes.c_char_p)), ("workspace", ctypes.c_size_t),
                ("least", ctypes.c_size_t), ("text", ctypes.c_char * 256)]


PARAMS = read_header()


def params(tokens, dim, **fields):
    """Tensors of 2 or 3 dimensions, the last contiguous; others as they are."""
    p = PARAMS(struct_size=ctypes.sizeof(PARAMS), tokens=tokens, dim=dim, device=2)
    for name, x in fields.items():
        if not isinstance(x, torch.Tensor):
            setattr(p, name, x)
        elif name in ("lse", "dlse", "dw", "dgain"):
            setattr(p, name, x.data_ptr())
        else:
            t = getattr(p, name)
            t.data, t.dtype = x.data_ptr(), DTYPE[x.dtype]
            two = (x.stride(-2) if x.dim() > 1 else 0)
            t.stride[0], t.stride[1] = (x.stride(0), two) if x.dim() == 3 or name == "w" else (0, two)
    return p


class Attn:
    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        self.space = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")

    def query(self, kernel, p):
        info = Info()
        status = self.lib.attn_res_query(kernel, ctypes.byref(p), ctypes.byref(info))
        assert status == 0, info.text.decode()
        assert info.workspace <= self.space.numel()
        return ctypes.cast(info.instance[0], ctypes.c_char_p).value.decode()

    def caller(self, kernel, p):
        """A function that launches the call."""
        f, a = getattr(self.lib, NAMES[kernel]), ctypes.byref(p)
        space, size = ctypes.c_void_p(self.space.data_ptr()), ctypes.c_size_t(self.space.numel())
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        self.query(kernel, p)

        def call():
            assert f(a, space, size, stream) == 0
        return call


def ceiling():
    x = torch.empty(1 << 32, dtype=torch.uint8, device="cuda").view(torch.int64)
    rounds.milliseconds(x.sum, 5)
    return x.numel() * 8 / rounds.milliseconds(x.sum, 10) / 1e6


def plain():
    """GB/s of one row read for one written, and of two."""
    x = torch.ones(3, 1 << 30, device="cuda", dtype=torch.bfloat16)
    rates = []
    for run, rows in [(lambda: x[2].copy_(x[0]), 2), (lambda: torch.add(x[0], x[1], out=x[2]), 3)]:
        rounds.milliseconds(run, 5)
        rates.append(rows * x[0].numel() * 2 / rounds.milliseconds(run, 10) / 1e6)
    return rates


def randn(*shape, dtype=torch.bfloat16, by=1.0):
    return (torch.randn(*shape, device="cuda", dtype=torch.float32) * by).to(dtype) if len(shape) < 3 else \
        torch.randn(*shape, device="cuda", dtype=dtype)


def tensors(tokens, dim, n, s):
    """What the calls of a shape have in common."""
    x = {"v": randn(n, tokens, dim), "w": randn(s, dim, by=dim ** -0.5), "p": randn(1, tokens, dim)[0],
         "o1": randn(s, tokens, dim), "lse": torch.zeros(s, tokens, device="cuda"), "update": randn(1, tokens, dim)[0],
         "h": randn(1, tokens, dim)[0]}
    return x


CALLS = ["phase1", "phase2", "phase2 add", "phase1 backward", "phase2 backward"]


def calls(x, tokens, dim, n, s):
    """name: kernel, parameters, bytes of each call of a shape."""
    row = tokens * dim * 2
    x["dv"], x["do1"] = torch.empty_like(x["v"]), randn(s, tokens, dim)
    x["dlse"], x["dw"] = torch.randn(s, tokens, device="cuda"), torch.empty(s, dim, device="cuda")
    one = dict(blocks=n, queries=s, v=x["v"], w=x["w"], o1=x["o1"], lse=x["lse"])
    two = dict(w=x["w"], o1=x["o1"][0], lse=x["lse"][0])
    return {
        "phase1": (RES1, params(tokens, dim, **one), (n + s) * row + 4 * s * tokens),
        "phase2": (RES2, params(tokens, dim, p=x["p"], h=x["h"], **two), 3 * row + 4 * tokens),
        "phase2 add": (RES2, params(tokens, dim, p=x["p"], h=x["h"], update=x["update"], **two), 5 * row + 4 * tokens),
        "phase1 backward": (RES1_BACKWARD, params(tokens, dim, do1=x["do1"], dlse=x["dlse"], dv=x["dv"], dw=x["dw"],
                                                  **one), (2 * n + s) * row + 8 * s * tokens),
        "phase2 backward": (RES2_BACKWARD, params(tokens, dim, p=x["p"], dh=x["h"], dp=x["dv"][0], do1=x["do1"][0],
                                                  dlse=x["dlse"][0], dw=x["dw"], **two), 5 * row + 8 * tokens),
    }


def peers(fares, x, b, t, d, n, s):
    """flash-attn-res on the same tensors; its backward by autograd."""
    v, w, p = x["v"].view(n, b, t, d), x["w"], x["p"].view(b, t, d)
    o, l = fares.phase_1_batched_attention_triton_op(v, w, 2.0 ** -23)
    result = {"phase1": lambda: fares.phase_1_batched_attention_triton_op(v, w, 2.0 ** -23),
              "phase2": lambda: fares.phase_2_online_softmax_merge_triton_op(p, w[0], o[0], l[0], 2.0 ** -23)}

    def add():
        p.add_(x["update"].view(b, t, d))
        fares.phase_2_online_softmax_merge_triton_op(p, w[0], o[0], l[0], 2.0 ** -23)
    result["phase2 add"] = add
    if d <= 2048:  # beyond, tuning itself takes minutes
        a, c = v.detach().requires_grad_(), w.detach().requires_grad_()
        with torch.enable_grad():
            out = fares.phase_1_batched_attention_triton_op(a, c, 2.0 ** -23)
        grads = (x["do1"].view(s, b, t, d), x["dlse"].view(s, b, t))
        result["phase1 backward"] = lambda: torch.autograd.grad(out, (a, c), grads, retain_graph=True)
    return result


class Stack:
    """A network of identity layers: forward, and backward from the output's gradient.  Between the two the blocks are
    kept, and of the last one what the backward pass needs; that of the others is computed again.  Each call goes over
    the tokens the other way than the one before it."""

    def __init__(self, attn, layers, size, tokens, dim):
        self.attn, self.tokens, self.dim, self.layers, self.size = attn, tokens, dim, layers, size
        count = (layers + size - 1) // size
        new = lambda *n: torch.empty(*n, tokens, dim, device="cuda", dtype=torch.bfloat16)
        self.input, self.blocks, self.h, self.out = new(1)[0], new(count), new(1)[0], new(1)[0]
        self.o1, self.lse = new(size), torch.empty(size, tokens, device="cuda")
        self.w = torch.empty(layers + 1, dim, device="cuda", dtype=torch.bfloat16)
        self.lse_out = torch.empty(1, tokens, device="cuda")
        self.table = (ctypes.c_void_p * (count + 1))(*[x.data_ptr() for x in [self.input, *self.blocks]])
        self.keep, self.turn = [], 0
        self.forward_calls = self.forward_make(None)
        self.train_calls = self.backward_calls = None

    def v(self, name="v", table=None):
        x = PARAMS()
        getattr(x, name).dtype = 3
        table = self.table if table is None else table
        return {name: getattr(x, name), name + "_table": ctypes.cast(table, ctypes.c_void_p)}

    def call(self, kernel, flags=0, **fields):
        p = params(self.tokens, self.dim, flags=flags | self.turn, **fields)
        self.turn ^= FROM_LAST
        self.keep.append(p)
        return self.attn.caller(kernel, p)

    def forward_make(self, sums):
        count = len(self.blocks)
        calls = [c for b in range(count) for c in self.block(b, sums if b + 1 == count else None, True)]
        return calls + [self.call(RES1, blocks=count + 1, queries=1, w=self.w[self.layers:], o1=self.out[None],
                                  lse=self.lse_out, **self.v())]

    def block(self, b, sums, finish):
        """Phase 1 and what follows; sums: where the sum that each layer mixes is kept, else in the block's place."""
        first, n = b * self.size, min(self.size, self.layers - b * self.size)
        one = dict(blocks=b + 1, queries=n, w=self.w[first:first + n], lse=self.lse, **self.v())
        if b:
            one["o1"] = self.o1
        calls = [self.call(RES1, **one)]
        o1 = [self.o1[i] if b else self.input for i in range(n)]  # of one block O1 is the block
        total, update, place = o1[0], None, self.blocks[b]
        for i in range(1, n):
            two = dict(p=total, w=self.w[first + i:first + i + 1], o1=o1[i], lse=self.lse[i], h=self.h)
            if update is not None:
                total = place if sums is None else sums[i]
                two.update(update=update, p_out=total)
            calls.append(self.call(RES2, **two))
            update = self.h
        if finish:
            calls.append(self.call(RES2, p=total, p_out=place, **({"update": update} if n > 1 else {})))
        return calls

    def backward_make(self):
        tokens, dim, layers, size = self.tokens, self.dim, self.layers, self.size
        new = lambda *n: torch.empty(*n, tokens, dim, device="cuda", dtype=torch.bfloat16)
        count = len(self.blocks)
        # The gradient of a block, then those of O1 of the block's queries but the first, which it is: those of the
        # blocks above lie there, no longer needed.
        grads = new(count + size)
        self.d_out, self.d_blocks, sums = new(1)[0], grads[:count + 1], new(size)
        self.d_lse, self.d_w = torch.zeros(size, tokens, device="cuda"), torch.zeros(layers + 1, dim, device="cuda")
        table = (ctypes.c_void_p * len(self.d_blocks))(*[x.data_ptr() for x in self.d_blocks])
        self.keep += [sums, table]
        self.train_calls = self.forward_make(sums)
        calls = [self.call(RES1_BACKWARD, blocks=len(self.d_blocks), queries=1, w=self.w[layers:], lse=self.lse_out,
                           do1=self.d_out[None], dw=self.d_w[layers:], **self.v(), **self.v("dv", table)),
                 self.d_w[:layers].zero_]
        for b in reversed(range(len(self.blocks))):
            first, n = b * size, min(size, layers - b * size)
            if b + 1 < count:
                calls += self.block(b, sums, False)
            d_o1 = grads[b + 1:]
            o1 = [self.o1[i] if b else self.input for i in range(n)]
            for i in reversed(range(1, n)):  # an identity layer: dh is the gradient of the sum
                calls.append(self.call(RES2_BACKWARD, flags=ADD_DP | ADD_DW, p=sums[i] if i > 1 else o1[0],
                                       w=self.w[first + i:first + i + 1], o1=o1[i], lse=self.lse[i], dh=d_o1[0],
                                       dp=d_o1[0], do1=d_o1[i], dlse=self.d_lse[i], dw=self.d_w[first + i]))
            calls.append(self.call(RES1_BACKWARD, flags=ADD_DV | ADD_DW, blocks=b + 1, queries=n, lse=self.lse,
                                   w=self.w[first:first + n], do1=d_o1, dlse=self.d_lse, dw=self.d_w[first:],
                                   **self.v(), **self.v("dv", table)))
        self.backward_calls = calls

    def forward(self):
        for f in self.forward_calls:
            f()
        return self.out

    def train(self):
        for f in self.train_calls:
            f()
        self.backward()

    def backward(self):
        for f in self.backward_calls:
            f()
        return self.d_blocks[0], self.d_w


def peak_of(make):
    """What a function answers, and the memory that was in use at most meanwhile, GiB beyond what was before."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    result = make()
    torch.cuda.synchronize()
    return result, (torch.cuda.max_memory_allocated() - before) / 2 ** 30


def stacks(attn, fares, tell, pattern):
    for layers, size, b, t, d in [(32, 8, 64, 2048, 512), (64, 8, 32, 1024, 512), (32, 8, 4, 16384, 2048)]:
        shape = f"L{layers} S{size} B{b} T{t} D{d}"
        if not re.search(pattern, "stack " + shape):
            continue
        x, w = randn(1, b * t, d)[0], randn(layers + 1, d, by=d ** -0.5)
        g = randn(1, b * t, d)[0]

        def make():
            s = Stack(attn, layers, size, b * t, d)
            s.input.copy_(x)
            s.w.copy_(w)
            s.forward()
            return s
        s, forward_peak = peak_of(make)

        def train():
            s.backward_make()
            s.d_out.copy_(g)
            s.train()
        _, more = peak_of(train)
        functions = {"attn forward": s.forward}
        peak = {"attn forward": forward_peak, "attn both": forward_peak + more}
        off = {}

        def timed(functions):
            for who, ms in rounds.medians(functions, 3, 60.0).items():
                tell(stack=shape, who=who, ms=round(ms, 3), gib=round(peak[who], 2))
        if fares:
            from flash_attn_res.experimental.autograd import BlockAttentionResiduals
            identity = [torch.nn.Identity() for _ in range(layers)]
            xi, wi = x.view(b, t, d).clone().requires_grad_(), w.clone().requires_grad_()
            run = lambda: BlockAttentionResiduals.apply(xi, wi, identity, size, 2.0 ** -23)

            def both():
                xi.grad = wi.grad = None
                with torch.enable_grad():
                    run().backward(g.view(b, t, d))
            try:
                run()  # tuning takes memory of its own, and adds to dw more than once
                out, peak["flash-attn-res forward"] = peak_of(run)
                off["out"] = ((s.out.float() - out.view(b * t, d).float()).norm() / out.float().norm()).item()
                del out
                functions["flash-attn-res forward"] = run
                timed(functions)
                functions = {}
                both()
                _, peak["flash-attn-res both"] = peak_of(both)
                # dw says nothing: of identity layers all sums are multiples of the input, so all keys are alike
                want = xi.grad.view(b * t, d).float()
                off["dx"] = ((s.d_blocks[0].float() - want).norm() / want.norm()).item()
                del want
                functions["flash-attn-res both"] = both
            except Exception as e:  # what it cannot do is no reason to stop
                tell(stack=shape, failed=f"{type(e).__name__}: {e}"[:300])
        functions["attn both"] = s.train
        timed(functions)
        tell(stack=shape, differs={k: round(v, 5) for k, v in off.items()})
        del s, functions
        torch.cuda.empty_cache()


SHAPES = [(64, 2048, 512, 8, 8), (4, 16384, 2048, 8, 8), (8, 4096, 4096, 8, 4), (8, 4096, 7168, 8, 2)]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--lib", required=True)
    ap.add_argument("--cases", default="")
    ap.add_argument("--out", default=os.devnull)
    args = ap.parse_args()
    torch.manual_seed(0)
    attn, out = Attn(args.lib), open(args.out, "a")
    try:
        import flash_attn_res as fares
    except ImportError:
        fares = None
    torch.set_grad_enabled(False)
    peak = ceiling()

    def tell(**k):
        line = json.dumps(k)
        print(line, flush=True)
        out.write(line + "\n")
    copied, summed = plain()
    tell(gpu=torch.cuda.get_device_name(), ceiling=round(peak), copy=round(copied), sum_of_two=round(summed),
         peer=bool(fares))
    for b, t, d, n, s in SHAPES:
        shape = f"b{b} t{t} d{d} n{n} s{s}"
        wanted = [name for name in CALLS if re.search(args.cases, f"{name} {shape}")]
        if not wanted:
            continue
        x = tensors(b * t, d, n, s)
        own = calls(x, b * t, d, n, s)
        other = peers(fares, x, b, t, d, n, s) if fares else {}
        for name in wanted:
            kernel, p, size = own[name]
            functions = {"attn": attn.caller(kernel, p)}
            if name in other:
                functions["flash-attn-res"] = other[name]
            for who, ms in rounds.medians(functions, 5, 15.0).items():
                tell(case=name, shape=shape, who=who, ms=round(ms, 4), gbs=round(size / ms / 1e6),
                     share=round(size / ms / 1e6 / peak, 3), by=attn.query(kernel, p) if who == "attn" else None)
        del x, own, other
        torch.cuda.empty_cache()
    stacks(attn, fares, tell, args.cases)


if __name__ == "__main__":
    main()
