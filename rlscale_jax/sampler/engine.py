"""The host's side of a rollout: prefill, then segment after segment until no sequence is left.

Between segments it collects what was written, drops finished rows, compacts the batch or fills it with waiting
prompts, and grows the cache. Caches stay on the device; what travels is a few numbers a row.
"""

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np

from rlscale_jax.models import Model, mesh, tiles
from rlscale_jax.sampler import cache, compilations, memory, programs, schedule
from rlscale_jax.sampler.choice import method_and_parameters
from rlscale_jax.sampler.ledger import Ledger
from rlscale_jax.sampler.rollouts import Finished, Rollouts, RolloutStats
from rlscale_jax.sampler.schedule import IDLE, Layout, Queue

SEGMENT_STEPS = 32
PREFILL_TOKENS = 16_384  # prompt tokens that go through the model at a time


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """Checked arguments of `generate`."""

    prompts: list[np.ndarray]
    num_samples: int
    limits: np.ndarray  # [P*G] int32
    temperature: float
    top_k: int
    top_p: float
    eos_ids: tuple[int, ...]
    seed: int
    step: int
    prompt_ids: np.ndarray  # [P] uint32
    capacity: int  # sequences at a time
    between_segments: Callable[[Finished], None] | None = None


class Engine:
    """One rollout of a model whose parameters are laid out for decoding."""

    def __init__(self, model: Model, request: Request):
        self.architecture, self.params, self.request = model.architecture, model.params, request
        self.method, self.parameters = method_and_parameters(request.temperature, request.top_k, request.top_p)
        self.eos_ids = np.array(request.eos_ids, np.int32)
        self.prompt_lengths = np.array([len(p) for p in request.prompts], np.int32)
        self.prompt_slots = schedule.bucket(int(self.prompt_lengths.max()), 16)
        self.segment_steps = min(SEGMENT_STEPS, schedule.bucket(max(int(request.limits.max()) - 1, 1), 8))
        self.granule = mesh.ways(jax.sharding.get_abstract_mesh(), "batch")
        self.most_rows = schedule.most_rows(len(request.prompts), request.num_samples, request.capacity, self.granule)
        self._check_memory()
        self.ledger = Ledger(request.limits, request.eos_ids)
        self.queue = Queue(list(range(len(request.prompts))), request.num_samples, request.capacity)
        self.row_keys = self._row_keys()
        self.layout = Layout(np.zeros((0, 1), np.int64))
        self.prefix: programs.Prefix = []
        self.history: programs.History = []
        self.num_steps = self.num_row_steps = self.num_segments = self.num_regroups = 0
        self.buckets: set[tuple[int, ...]] = set()
        self.reported = np.zeros(len(request.prompts), bool)

    def run(self) -> Rollouts:
        begin = time.perf_counter()
        with compilations.counted() as compiled:
            self._decode_all()
        stats = RolloutStats(
            num_steps=self.num_steps,
            num_row_steps=self.num_row_steps,
            num_segments=self.num_segments,
            num_regroups=self.num_regroups,
            num_buckets=len(self.buckets),
            num_compilations=compiled.num,
            compile_secs=compiled.secs,
            secs=time.perf_counter() - begin,
        )
        return self.ledger.rollouts(self.request.num_samples, stats)

    def _decode_all(self) -> None:
        while True:
            live = self._live_sequences()
            admitted = np.array(self.queue.admit(len(live)), np.int64)
            if len(admitted):
                self._prefill_and_enter(live, admitted)
            elif not len(live):
                break
            else:
                self._compact(live)
                self._decode_segment()
            self._report_finished()

    def _report_finished(self) -> None:
        """Hands over the groups that have ended since the last time; the receiver may raise to leave the rollout."""
        if not self.request.between_segments:
            return
        num_samples = self.request.num_samples
        going = self.ledger.is_live(np.arange(len(self.request.limits))).reshape(-1, num_samples)
        ended = ~going.any(axis=1)
        new = np.flatnonzero(ended & ~self.reported)
        self.reported = ended
        sequences = _sequences_of(new, num_samples)
        shape = len(new), num_samples
        tokens = self.ledger.tokens[sequences].reshape(*shape, self.ledger.tokens.shape[1])
        lengths = self.ledger.lengths[sequences].reshape(shape)
        self.request.between_segments(Finished(prompts=new, tokens=tokens, lengths=lengths))

    def _check_memory(self) -> None:
        r = self.request
        memory.check_fits(
            self.architecture,
            prompts=self.most_rows // r.num_samples,
            sequences=self.most_rows,
            prompt_slots=self.prompt_slots,
            slots=int(r.limits.max()),
            size=self.params["embed"]["embedding"].dtype.itemsize,
        )

    def _row_keys(self) -> np.ndarray:
        """[P*G 2]."""
        r = self.request
        samples = np.arange(r.num_samples, dtype=np.uint32)
        seed = np.array([r.seed >> 32, r.seed & 0xFFFFFFFF], np.uint32)
        keys = programs.row_keys(seed, np.uint32(r.step), r.prompt_ids, samples)
        return np.asarray(keys).reshape(-1, 2)

    def _live_sequences(self) -> np.ndarray:
        begun = self.layout.rows[self.layout.rows != IDLE]
        return np.sort(begun[self.ledger.is_live(begun)])

    def _prefill_and_enter(self, live: np.ndarray, admitted: np.ndarray) -> None:
        """Prefills the admitted prompts, records first tokens, and lays out those that go on beside the live rows."""
        most = self._prefill_prompts(len(admitted))
        chunks = [admitted[i : i + most] for i in range(0, len(admitted), most)]
        prefixes = [self._prefill(chunk, most) for chunk in chunks]
        sequences = _sequences_of(admitted, self.request.num_samples)
        entering = sequences[self.ledger.is_live(sequences)]
        places = {int(p): i // most * most + i % most for i, p in enumerate(admitted)}
        self._regroup(self._arranged(np.sort(np.concatenate([live, entering]))), prefixes, places)

    def _prefill_prompts(self, wanted: int) -> int:
        """Prompts to prefill at a time: all that may decode together or a half, a quarter, ... of them."""
        most = min(self.most_rows // self.request.num_samples, self.granule * PREFILL_TOKENS // self.prompt_slots)
        while most > 2 * self.granule and most // 2 >= wanted:
            most //= 2
        return -(-max(most, 1) // self.granule) * self.granule

    def _prefill(self, prompts: np.ndarray, size: int):
        """Caches of up to `size` prompts; their samples' first tokens go to the ledger."""
        tokens, lengths = self._padded_prompts(prompts, size)
        sequences = _sequences_of(np.resize(prompts, size), self.request.num_samples)
        keys = self.row_keys[sequences].reshape(size, -1, 2)
        fixed = (self.architecture, self.method, self.params, self.parameters)
        self.buckets.add(tokens.shape)
        prefill = programs.prefill_from_tiles if tiles.has_tiles(self.params) else programs.prefill
        prefix, choices = prefill(*fixed, tokens, lengths, keys)
        num_real = len(prompts) * self.request.num_samples
        choices = jax.tree.map(lambda a: np.asarray(a).reshape(1, -1)[:, :num_real], choices)
        self.ledger.add(sequences[:num_real], np.ones(num_real, np.int32), choices)
        return prefix

    def _padded_prompts(self, prompts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        tokens = np.zeros((size, self.prompt_slots), np.int32)
        lengths = np.ones(size, np.int32)
        for row, prompt in enumerate(prompts):
            lengths[row] = self.prompt_lengths[prompt]
            tokens[row, : lengths[row]] = self.request.prompts[prompt]
        return tokens, lengths

    def _compact(self, live: np.ndarray) -> None:
        """A smaller batch, once so few rows are live that one of the sizes holds them."""
        if len(live) * 4 <= self.layout.num_rows * 3:
            smaller = self._arranged(live)
            if smaller.num_rows < self.layout.num_rows:
                self._regroup(smaller, [])

    def _arranged(self, sequences: np.ndarray) -> Layout:
        if not len(sequences):
            return Layout(np.zeros((0, 1), np.int64))
        return schedule.arrange(sequences, self.request.num_samples, rows=self.most_rows, granule=self.granule)

    def _regroup(self, layout: Layout, new_prefixes: list, new_places: dict[int, int] | None = None) -> None:
        """Takes on a layout; caches of rows that were decoding move to their new rows."""
        old, self.layout = self.layout, layout
        if not layout.num_rows:
            return
        self.num_regroups += 1
        self.prefix = self._regrouped_prefix(old, new_prefixes, new_places or {})
        if not old.num_rows:
            self.history = self._empty_history()
        else:
            at = {int(s): row for row, s in enumerate(old.rows) if s != IDLE}
            rows = np.array([at.get(int(s), 0) for s in self.layout.rows], np.int32)
            for layer, one in enumerate(self.history):
                self.history[layer] = programs.take([one], rows)

    def _empty_history(self) -> programs.History:
        a, dtype = self.architecture, self.params["embed"]["embedding"].dtype
        shape = cache.rows_shape(self.layout.num_rows, a.num_kv_heads)
        one = cache.KeysValues(np.zeros((*shape, a.head_dim, 0), dtype), np.zeros((*shape, 0, a.head_dim), dtype))
        return [one] * a.num_layers

    def _regrouped_prefix(self, old: Layout, new_prefixes: list, new_places: dict[int, int]):
        """Each unit's prompt cache, from the units before or from a new prefill."""
        num_samples = self.request.num_samples
        source = {int(p): i for i, p in enumerate(old.prompts(num_samples)) if p != IDLE}
        source |= {prompt: place + len(old.sequences) for prompt, place in new_places.items()}
        units = np.array([source.get(int(p), 0) for p in self.layout.prompts(num_samples)], np.int32)
        trees = ([self.prefix] if len(old.sequences) else []) + new_prefixes
        if len(trees) == 1 and np.array_equal(units, np.arange(len(jax.tree.leaves(trees[0])[0]))):
            return trees[0]
        regrouped = []
        while trees[0]:  # layer by layer: what has been moved is freed
            regrouped.append(programs.take([tree.pop(0) for tree in trees], units))
        return regrouped

    def _decode_segment(self) -> None:
        rows, ages = self._rows()
        lengths = self.prompt_lengths[self.layout.prompts(self.request.num_samples)]
        fixed = (self.architecture, self.method, self.segment_steps, self.params, self.parameters, self.eos_ids)
        self.buckets.add((*self.layout.sequences.shape, self.history[0].keys.shape[-1]))
        recent, written = programs.segment(*fixed, lengths, self.prefix, self.history, rows)
        written = jax.tree.map(np.asarray, written)
        self.ledger.add(self.layout.rows, written.num_steps, written.choices)
        self.num_steps += int(written.num_steps.max())
        self.num_row_steps += int(written.num_steps.max()) * self.layout.num_rows
        self.num_segments += 1
        live = self._live_sequences()
        if len(live):
            slots = schedule.bucket(int(self.ledger.lengths[live].max()) - 1, self.segment_steps)
            for layer in range(len(recent)):
                self.history[layer] = programs.fold(self.history[layer], recent[layer], ages, slots=slots)

    def _rows(self) -> tuple[programs.Rows, np.ndarray]:
        sequences = self.layout.rows
        live = (sequences != IDLE) & self.ledger.is_live(sequences)
        ages = np.where(live, self.ledger.lengths[sequences] - 1, 0).astype(np.int32)
        rows = programs.Rows(
            token=self.ledger.last_tokens(sequences),
            prompt_length=self.prompt_lengths[sequences // self.request.num_samples],
            age=ages,
            limit=self.request.limits[sequences],
            live=live,
            key=self.row_keys[sequences],
        )
        return rows, ages


def _sequences_of(prompts: np.ndarray, num_samples: int) -> np.ndarray:
    return (prompts[:, None] * num_samples + np.arange(num_samples)).reshape(-1)
