"""race.py - attn beside the attention libraries that one would use instead, in one process, on the same tensors.

    meson setup b -Ddefault_library=shared && ninja -C b
    python3 bench/peers/race.py --lib b/instantiations/libattn.so [--cases REGEX] [--peers fa3,cudnn] [--out DIR]

Needs PyTorch and a GPU.  Peers are whatever of this can be imported: cuDNN and FlashAttention-2 (of PyTorch itself),
FlashAttention-3 (fa3_fwd_interface or flash_attn_interface), FlashAttention-4 (flash_attn.cute), FlashInfer
(flashinfer), ffpa (ffpa_attn).  Which instance of attn serves a case is attn_query's choice, and is printed.

A case makes its tensors once, normally distributed; its first call of each is held against a float32 reference; then
rounds.py times them.  What a mask hides counts nothing: causal work is half.

Writes race.jsonl, race.csv and one race_dN.svg for each head dim (if gnuplot is there), prints the table of ratios.
"""
import argparse
import csv
import ctypes
import datetime
import importlib
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import rounds

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


# ---- attn, by its own header ---------------------------------------------------------------------------------------

def read_header():
    """The structs of attn.h as ctypes have them, and the numbers of its names."""
    text = open(os.path.join(ROOT, "include/attn/attn.h")).read()
    values = open(os.path.join(ROOT, "include/attn/param.h")).read()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    plain = {"int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32, "int64_t": ctypes.c_int64,
             "size_t": ctypes.c_size_t, "uint64_t": ctypes.c_uint64, "float": ctypes.c_float, "char": ctypes.c_char}
    structs = {}
    for name, body in re.findall(r"typedef struct (attn_\w+) \{(.*?)\} \1;", text, flags=re.S):
        fields = []
        for line in filter(None, (x.strip() for x in body.split(";"))):
            kind, names = re.match(r"(?:const )?(?:struct )?(\w+)\s+(.*)", line, flags=re.S).groups()
            for one in names.split(","):
                star, field, count = re.match(r"\s*(\*?)\s*(\w+)\s*(?:\[(\d+)\])?\s*$", one).groups()
                base = ctypes.c_void_p if star else plain.get(kind) or structs[kind]
                fields.append((field, base * int(count) if count else base))
        structs[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
        if name == "attn_params":
            break
    structs["attn_info"] = type("attn_info", (ctypes.Structure,), {"_fields_": [
        ("instance", ctypes.POINTER(ctypes.c_char_p)), ("workspace", ctypes.c_size_t),
        ("workspace_least", ctypes.c_size_t), ("text", ctypes.c_char * 256)]})
    names = {n: int(v) for n, v in re.findall(r"(ATTN_\w+)\s*=\s*(\d+)", values)}
    names.update({n: int(v, 0) for n, v in re.findall(r"#define (ATTN_\w+)\s+(\d+)\b", values)})
    return structs, names


class Attn:
    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        self.structs, self.names = read_header()
        self.lib.attn_forward.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]

    def call(self, c, t):
        p = self.structs["attn_params"]()
        p.struct_size = ctypes.sizeof(p)
        p.batch, p.heads_q, p.heads_k, p.seq_q, p.seq_k = c.batch, c.heads_q, c.heads_k, c.seq_q, c.seq_k
        p.head_dim, p.head_dim_v = c.dim, c.dim_v
        for name in "qkvo":
            x, to = t[name], getattr(p, name)
            to.data, to.dtype = x.data_ptr(), self.names["ATTN_" + c.dtype.upper()]
            for n in range(4):
                to.stride[n] = x.stride(n)
        p.device = self.names["ATTN_DEVICE_CUDA"]
        p.causal = self.names["ATTN_CAUSAL_BOTTOM_RIGHT"] if c.causal else 0
        if c.window:
            p.window, p.window_left, p.window_right = 1, c.window - 1, 0 if c.causal else c.window - 1
        p.softcap = c.softcap
        p.alibi_slopes = t["slopes"].data_ptr() if c.alibi else None
        p.sink_logits = t["sinks"].data_ptr() if c.sinks else None
        if c.bias:
            p.bias.data, p.bias.dtype = t["bias"].data_ptr(), self.names["ATTN_" + c.dtype.upper()]
            p.bias.stride[1], p.bias.stride[2], p.bias.stride[3] = c.seq_q * c.seq_k, c.seq_k, 1
        info = self.structs["attn_info"]()
        if self.lib.attn_query(ctypes.byref(p), ctypes.byref(info)):
            raise ValueError(info.text.decode())
        name = info.instance[0].decode()
        workspace = torch.empty(max(1, info.workspace), dtype=torch.uint8, device="cuda")
        stream = torch.cuda.current_stream().cuda_stream
        args = (ctypes.addressof(p), workspace.data_ptr(), info.workspace, stream)

        def run(keep=(p, workspace)):
            status = self.lib.attn_forward(*args)
            if status:
                raise RuntimeError("attn_forward: status %d" % status)
            return t["o"]
        return run, name


# ---- peers: each answers a function without parameters, or says why not ----------------------------------------------

class No(Exception):
    pass


def need(condition, text):
    if not condition:
        raise No(text)


def plain(c, *extra):
    for name in ("window", "softcap", "alibi", "bias", "sinks"):
        need(name in extra or not getattr(c, name), "no " + name)


def sdpa(backend):
    def make(c, t):
        plain(c)
        need(c.seq_q == c.seq_k or not c.causal, "other alignment")
        q, k, v = (t[n].transpose(1, 2) for n in "qkv")

        def run():
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, is_causal=c.causal,
                                                      enable_gqa=c.heads_q != c.heads_k).transpose(1, 2)
        return run
    return make


def fa3(c, t):
    try:
        m = importlib.import_module("fa3_fwd_interface")
    except ImportError:
        m = importlib.import_module("flash_attn_interface")
    plain(c, "softcap", "window")
    options = {"causal": c.causal}
    if c.softcap:
        options["softcap"] = c.softcap
    if c.window:
        options["window_size"] = (c.window - 1, 0 if c.causal else c.window - 1)
    return lambda: first(m.flash_attn_func(t["q"], t["k"], t["v"], **options))


def fa4(c, t):
    f = importlib.import_module("flash_attn.cute").flash_attn_func
    plain(c, "window")
    window = (c.window - 1, 0 if c.causal else c.window - 1) if c.window else (None, None)
    return lambda: first(f(t["q"], t["k"], t["v"], causal=c.causal, window_size=window))


def flashinfer(c, t):
    m = importlib.import_module("flashinfer")
    plain(c, "window", "softcap")
    need(c.dim in (64, 128, 256) and c.dim_v == c.dim, "head dim not built")
    wrapper = m.BatchPrefillWithRaggedKVCacheWrapper(
        torch.empty(256 << 20, dtype=torch.uint8, device="cuda"), "NHD", backend="fa3")
    at_q = torch.arange(c.batch + 1, dtype=torch.int32, device="cuda") * c.seq_q
    at_k = torch.arange(c.batch + 1, dtype=torch.int32, device="cuda") * c.seq_k
    wrapper.plan(at_q, at_k, c.heads_q, c.heads_k, c.dim, causal=c.causal, q_data_type=t["q"].dtype,
                 window_left=c.window - 1 if c.window else -1, logits_soft_cap=c.softcap or None)
    q, k, v = (t[n].flatten(0, 1) for n in "qkv")
    return lambda: wrapper.run(q, k, v).view_as(t["o"])


def ffpa(c, t):
    f = importlib.import_module("ffpa_attn").ffpa_attn_func
    plain(c)
    need(c.dim >= 256 and c.dim == c.dim_v, "head dims from 256 on")
    q, k, v = (t[n].transpose(1, 2).contiguous() for n in "qkv")
    return lambda: first(f(q, k, v, is_causal=c.causal, backend="cutedsl")).transpose(1, 2)


def first(x):
    return x[0] if isinstance(x, (tuple, list)) else x


PEERS = {"cudnn": sdpa(SDPBackend.CUDNN_ATTENTION), "fa2": sdpa(SDPBackend.FLASH_ATTENTION), "fa3": fa3, "fa4": fa4,
         "flashinfer": flashinfer, "ffpa": ffpa}


# ---- cases -----------------------------------------------------------------------------------------------------------

class Case:
    """name: 'group shape'.  ramp: K grows along the keys up to this, so that a row's greatest score keeps rising."""
    fields = dict(dtype="bf16", batch=1, heads_q=16, heads_k=0, dim=128, dim_v=0, seq_q=4096, seq_k=0, causal=False,
                  window=0, softcap=0.0, alibi=False, bias=False, sinks=False, gain=1.0, ramp=0.0)

    def __init__(self, name, **given):
        self.__dict__.update(self.fields, **given)
        self.name = name
        self.heads_k = self.heads_k or self.heads_q
        self.dim_v = self.dim_v or self.dim
        self.seq_k = self.seq_k or self.seq_q

    def visible(self):
        """Scores of one head that count."""
        shift, n = self.seq_k - self.seq_q, 0
        if not self.causal and not self.window:
            return self.seq_q * self.seq_k
        if self.causal and not self.window:
            return self.seq_q * self.seq_k - self.seq_q * self.seq_q / 2 if shift else self.seq_q * self.seq_k / 2
        for i in range(self.seq_q):
            last = i + shift + (0 if self.causal else self.window - 1)
            n += min(last, self.seq_k - 1) - max(0, i + shift - self.window + 1) + 1
        return n

    def flops(self):
        return 2.0 * self.batch * self.heads_q * self.visible() * (self.dim + self.dim_v)

    def tensors(self):
        dtype = DTYPES[self.dtype]

        def randn(*shape):
            return torch.randn(*shape, device="cuda", dtype=dtype)
        t = {"q": randn(self.batch, self.seq_q, self.heads_q, self.dim) * self.gain,
             "k": randn(self.batch, self.seq_k, self.heads_k, self.dim),
             "v": randn(self.batch, self.seq_k, self.heads_k, self.dim_v),
             "o": torch.empty(self.batch, self.seq_q, self.heads_q, self.dim_v, device="cuda", dtype=dtype)}
        if self.ramp:
            t["k"] *= torch.linspace(0.05, self.ramp, self.seq_k, device="cuda").to(dtype)[None, :, None, None]
        if self.alibi:
            t["slopes"] = 2.0 ** (-8.0 * torch.arange(1, self.heads_q + 1, device="cuda") / self.heads_q)
        if self.sinks:
            t["sinks"] = torch.randn(self.heads_q, device="cuda")
        if self.bias:
            t["bias"] = randn(self.heads_q, self.seq_q, self.seq_k)
        return t

    def reference(self, t, rows=128):
        """The last rows of the first sequence and head, in float32."""
        rows = min(rows, self.seq_q)
        q = t["q"][0, -rows:, 0].float()
        s = q @ t["k"][0, :, 0].float().T / math.sqrt(self.dim)
        i = torch.arange(self.seq_q - rows, self.seq_q, device="cuda")[:, None] + self.seq_k - self.seq_q
        j = torch.arange(self.seq_k, device="cuda")[None]
        if self.softcap:
            s = self.softcap * torch.tanh(s / self.softcap)
        if self.bias:
            s = s + t["bias"][0, -rows:].float()
        if self.alibi:
            s = s + t["slopes"][0] * (j - i)
        hidden = torch.zeros_like(s, dtype=torch.bool)
        if self.causal:
            hidden |= j > i
        if self.window:
            hidden |= (j <= i - self.window) | (j >= i + self.window)
        s = s.masked_fill(hidden, float("-inf"))
        if self.sinks:
            s = torch.cat([s, t["sinks"][0].expand(rows, 1)], 1)
        return s.softmax(1)[:, :self.seq_k] @ t["v"][0, :, 0].float()


def cases():
    """Everything that docs/performance.md has a table of."""
    out = []

    def add(group, text, **given):
        out.append(Case("%s %s" % (group, text), **given))
    for dim in (64, 128, 256):
        for causal in (False, True):
            for seq in (512, 1024, 2048, 4096, 8192, 16384):
                add("forward", "d%d %s %d" % (dim, "causal" if causal else "full", seq), dim=dim, causal=causal,
                    seq_q=seq, batch=16384 // seq, heads_q=2048 // dim)
    for dim, dim_v, heads in ((96, 96, 21), (192, 192, 10), (192, 128, 16), (80, 80, 25), (160, 160, 12)):
        add("dims", "d%d/%d causal 4096" % (dim, dim_v), dim=dim, dim_v=dim_v, heads_q=heads, causal=True, batch=4)
    for dim in (64, 128):
        for seq in (8192, 16384):
            add("window", "d%d 1024 causal %d" % (dim, seq), dim=dim, heads_q=2048 // dim, seq_q=seq, causal=True,
                window=1024, batch=16384 // seq)
    for heads_k in (32, 8, 1):
        for causal in (False, True):
            add("gqa", "32/%d d128 %s 4096" % (heads_k, "causal" if causal else "full"), heads_q=32, heads_k=heads_k,
                batch=2, causal=causal)
    add("chunk", "512 on 16384, 32/8, causal", batch=8, heads_q=32, heads_k=8, seq_q=512, seq_k=16384, causal=True)
    for dim in (64, 128, 256):
        for causal in (False, True):
            shape = dict(dim=dim, heads_q=2048 // dim, batch=4, causal=causal)
            text = "d%d %s 4096" % (dim, "causal" if causal else "full")
            add("f16", text, dtype="f16", **shape)
            add("f16", text + " gain 8", dtype="f16", gain=8.0, **shape)
            add("f16", text + " ramp", dtype="f16", gain=6.0, ramp=20.0, **shape)
            add("bf16", text + " ramp", gain=60.0, ramp=3.0, **shape)
    for dim in (64, 128):
        for one in (dict(softcap=30.0), dict(alibi=True), dict(bias=True), dict(sinks=True)):
            add("score", "d%d %s causal 4096" % (dim, list(one)[0]), dim=dim, heads_q=2048 // dim, batch=4, causal=True,
                **one)
    return out


# ---- the race --------------------------------------------------------------------------------------------------------

def race(c, attn, peers, count, budget):
    torch.manual_seed(0)
    t = c.tensors()
    runs, row = {}, {"case": c.name, "dim": c.dim, "causal": c.causal, "seq": c.seq_k, "flops": c.flops()}
    want = c.reference(t)
    for name in ["attn"] + peers:
        try:
            if name == "attn":
                run, row["instance"] = attn.call(c, t)
            else:
                run = PEERS[name](c, t)
            got = run()[0, -want.shape[0]:, 0].float()
            error = ((got - want).norm() / want.norm()).item()
            if not error < 2e-2:
                raise No("wrong: error %.1e" % error)
            row["error_" + name] = error
            runs[name] = run
        except Exception as e:  # a peer refuses in many ways
            row["refused_" + name] = ("%s: %s" % (type(e).__name__, e)).split("\n")[0][:160]
    for name, ms in rounds.medians(runs, count, budget).items():
        row["tflops_" + name] = c.flops() / ms / 1e9
    others = [row["tflops_" + n] for n in peers if n in runs]
    if others and "attn" in runs:
        row["ratio"] = row["tflops_attn"] / max(others)
    return row


def plot(rows, peers, out):
    for dim in sorted({r["dim"] for r in rows if r["case"].startswith("forward")}):
        data, curves = os.path.join(out, "race_d%d.dat" % dim), []
        with open(data, "w") as f:
            for causal in (False, True):
                for name in ["attn"] + peers:
                    points = [(r["seq"], r["tflops_" + name]) for r in rows if r["case"].startswith("forward")
                              and r["dim"] == dim and r["causal"] == causal and "tflops_" + name in r]
                    if points:
                        f.write("\n".join("%d %.1f" % p for p in points) + "\n\n\n")
                        curves.append((name, causal))
        names = ["attn"] + peers
        script = ["set terminal svg size 760,440 font 'sans,12' background 'white'",
                  "set output '%s'" % os.path.join(out, "race_d%d.svg" % dim), "set logscale x 2", "set key outside",
                  "set title 'head dim %d, bf16, %s, %s'" % (dim, torch.cuda.get_device_name(), datetime.date.today()),
                  "set grid", "set xlabel 'sequence length (16384 tokens in all)'", "set ylabel 'TFLOP/s'",
                  "set yrange [0:]",
                  "plot " + ", ".join("'%s' index %d with linespoints lc %d dt %d title '%s%s'" %
                                      (data, n, names.index(name) + 1, 2 if causal else 1, name,
                                       ", causal" if causal else "") for n, (name, causal) in enumerate(curves))]
        subprocess.run(["gnuplot"], input="\n".join(script), text=True, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lib", required=True, help="libattn.so")
    parser.add_argument("--cases", default="", help="only cases whose name matches this regular expression")
    parser.add_argument("--peers", default=",".join(PEERS), help="of %(default)s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ms", type=float, default=12, help="milliseconds of each in a round")
    parser.add_argument("--out", default=".", help="folder of the files")
    args = parser.parse_args()
    peers = [n for n in args.peers.split(",") if n]
    unknown = [n for n in peers if n not in PEERS]
    if unknown:
        parser.error("--peers %s: have %s" % (unknown[0], ", ".join(PEERS)))
    os.makedirs(args.out, exist_ok=True)
    attn, rows = Attn(args.lib), []
    chosen = [c for c in cases() if re.search(args.cases, c.name)]
    if not chosen:
        parser.error("--cases %s: matches none" % args.cases)
    with torch.no_grad(), open(os.path.join(args.out, "race.jsonl"), "w") as log:
        for c in chosen:
            row = race(c, attn, peers, args.rounds, args.ms)
            rows.append(row)
            log.write(json.dumps(row) + "\n")
            log.flush()
            print("%-34s %s  %s" % (c.name, "  ".join(
                "%s %.0f" % (n, row["tflops_" + n]) for n in ["attn"] + peers if "tflops_" + n in row),
                "ratio %.3f" % row["ratio"] if "ratio" in row else row.get("refused_attn", "")), flush=True)
    columns = sorted({k for r in rows for k in r}, key=lambda k: (not k.startswith("case"), k))
    with open(os.path.join(args.out, "race.csv"), "w", newline="") as f:
        table = csv.DictWriter(f, columns)
        table.writeheader()
        table.writerows(rows)
    for r in rows[:1]:
        print("\n".join("%s: %s" % (k[8:], v) for k, v in r.items() if k.startswith("refused_")))
    ratios = [r["ratio"] for r in rows if "ratio" in r]
    if ratios:
        print("%d cells, ratio to the best peer: least %.3f, geometric mean %.3f" % (
            len(ratios), min(ratios), math.exp(statistics.fmean(map(math.log, ratios)))))
    if shutil.which("gnuplot"):
        plot(rows, peers, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
