"""llama.cpp on a rollout workload, with random weights written as GGUF: python -m benchmarks.peers.llamacpp W1

Every sequence of a batch runs until the longest ends (`llamacpp_each`: leaves it at its own limit, which its library
allows a caller who writes the loop); a prompt is repeated for its samples.
"""

# pyright: reportMissingImports=false

import os
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

from benchmarks import measure, workloads


@llama_cpp.llama_log_callback
def _say_nothing(_level, _text, _data):
    """Its log is a line for every tensor of the graph."""


def main(name: str, *, each: bool = False) -> None:
    llama_cpp.llama_log_set(_say_nothing, None)
    work = workloads.ROLLOUTS[name]
    if work.dtype != "float32":
        raise SystemExit(f"{name}: this peer runs float32 workloads only")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "random.gguf")
        _write_weights(work.shape, path)
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
    decoder = _Decoder(work, model)
    limits = work.limits().reshape(-1)
    if not each:
        limits = np.full_like(limits, limits.max())
    # nothing compiles, so that a few tokens warm it up
    first = np.minimum(limits, workloads.WARM_UP_TOKENS)
    measure.serve(lambda: decoder.generate(limits), first=lambda: decoder.generate(first))


class _Decoder:
    def __init__(self, work: workloads.Rollout, model):
        self.prompts = np.repeat(work.prompts(), work.num_samples, axis=0)
        self.seed = 0
        rows, length = self.prompts.shape
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_seq_max = rows * (length + int(work.limits().max())), rows * length, rows
        params.n_threads = params.n_threads_batch = int(os.environ["BENCH_THREADS"])
        params.type_k = params.type_v = 0  # float32
        self.context = llama_cpp.llama_init_from_model(model, params)
        self.batch = llama_cpp.llama_batch_init(rows * length, 0, 1)

    def generate(self, limits: np.ndarray) -> None:
        """Every row's prompt and `limits` [rows] new tokens."""
        self.seed += 1
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_temp(1.0))
        llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_dist(self.seed))
        memory = llama_cpp.llama_get_memory(self.context)
        llama_cpp.llama_memory_clear(memory, True)
        rows, length = self.prompts.shape
        last = length - 1
        entries = [(self.prompts[row, at], at, row, at == last) for row in range(rows) for at in range(length)]
        going, tokens = list(range(rows)), self._decode(chain, entries)
        for step in range(1, limits.max()):
            for row in (row for row in going if limits[row] <= step):
                llama_cpp.llama_memory_seq_rm(memory, row, -1, -1)
            fed = [(row, token) for row, token in zip(going, tokens, strict=True) if limits[row] > step]
            going = [row for row, _ in fed]
            tokens = self._decode(chain, [(token, length + step - 1, row, True) for row, token in fed])
        llama_cpp.llama_sampler_free(chain)

    def _decode(self, chain, entries) -> list[int]:
        """Feeds (token, position, sequence, wants a next token); the next tokens of those that want one."""
        batch = self.batch
        for i, (token, position, row, wanted) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.logits[i] = int(token), position, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, row
        batch.n_tokens = len(entries)
        status = llama_cpp.llama_decode(self.context, batch)
        assert status == 0, status
        wanting = [i for i, entry in enumerate(entries) if entry[3]]
        return [llama_cpp.llama_sampler_sample(chain, self.context, i) for i in wanting]


def _write_weights(shape: workloads.Shape, path: str) -> None:
    rng, hidden = np.random.default_rng(0), shape.hidden_size
    q, kv = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_context_length(32768)
    writer.add_embedding_length(hidden)
    writer.add_block_count(shape.num_layers)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.num_heads)
    writer.add_head_count_kv(shape.num_kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_tokenizer_model("none")
    writer.add_file_type(0)
    matrices = {"attn_q": (q, hidden), "attn_k": (kv, hidden), "attn_v": (kv, hidden), "attn_output": (hidden, q)}
    matrices |= {"ffn_gate": (shape.intermediate_size, hidden), "ffn_up": (shape.intermediate_size, hidden)}
    matrices |= {"ffn_down": (hidden, shape.intermediate_size)}
    writer.add_tensor("token_embd.weight", 0.02 * rng.standard_normal((shape.vocab_size, hidden), np.float32))
    writer.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    for layer in range(shape.num_layers):
        for name, size in matrices.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", 0.02 * rng.standard_normal(size, np.float32))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(hidden, np.float32))
        for name, size in (("attn_q", q), ("attn_k", kv), ("attn_v", kv)):
            writer.add_tensor(f"blk.{layer}.{name}.bias", np.zeros(size, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
