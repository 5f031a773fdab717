"""Compiles a program ahead of time and reads what the compiler knows: memory on a device, collectives, or no fit.

What was learnt of a program is kept (`memo`): compiling one of a large model takes minutes.
"""

import dataclasses
import re
import time
from typing import Any

from rlscale_jax.planning import collectives, flops, hbm, memo
from rlscale_jax.planning.programs import Program


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device: what comes in (donated arguments are reused), what is new in the result, scratch space."""

    arguments: int
    new_outputs: int
    temporaries: int
    code: int

    @property
    def total(self) -> int:
        return self.arguments + self.new_outputs + self.temporaries + self.code


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """What is known of a compiled program. `memory` is None where it does not fit; `over` then says by the compiler."""

    name: str
    memory: Memory | None
    over: str
    compile_secs: float  # when it was compiled
    flops: float  # of all devices, one run
    moved_bytes: float  # between a device and its memory, one run; 0 where nothing was compiled
    traffic: tuple[collectives.Traffic, ...]
    fingerprint: str = ""  # of what was compiled, for which devices, by which compiler


def compile_program(program: Program) -> Compiled:
    """Traces, counts, lowers and compiles, or finds the result of an earlier time.

    A program that does not fit is a result, not an error.
    """
    begin = time.perf_counter()
    traced = program.trace()
    work = flops.count(traced.jaxpr, loop_steps=program.loop_steps)
    lowered = traced.lower(lowering_platforms=(program.mesh.devices.flat[0].platform,))
    fingerprint = memo.fingerprint(program, lowered.as_text())
    kept = memo.place(fingerprint)
    found = memo.read(kept)
    if not found:
        found = _compile(lowered)
        found["compile_secs"] = time.perf_counter() - begin
        memo.write(kept, found)
    return Compiled(
        name=program.name,
        fingerprint=fingerprint,
        memory=Memory(**found["memory"]) if found["memory"] else None,
        over=found["over"],
        compile_secs=found["compile_secs"],
        flops=work,
        moved_bytes=hbm.moved_bytes(found["text"], loop_steps=program.loop_steps),
        traffic=collectives.read(found["text"], program.mesh, loop_steps=program.loop_steps),
    )


def _compile(lowered: Any) -> dict[str, Any]:
    try:
        compiled = lowered.compile()
    except Exception as error:  # XLA's type for this is private; anything but memory is raised again
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"memory": None, "over": _over(str(error)), "text": ""}
    stats = compiled.memory_analysis()
    arguments, new_outputs = stats.argument_size_in_bytes, stats.output_size_in_bytes - stats.alias_size_in_bytes
    memory = Memory(
        arguments=arguments,
        new_outputs=new_outputs,
        # what is alive at the fullest moment, which is what libtpu holds against the limit; `temp_size_in_bytes` also
        # counts what never is alive together
        temporaries=max(0, stats.peak_memory_in_bytes - arguments - new_outputs),
        code=stats.generated_code_size_in_bytes,
    )
    return {"memory": dataclasses.asdict(memory), "over": "", "text": compiled.as_text()}


def _over(message: str) -> str:
    found = re.search(r"\(([\d.]+[KMGT])\) exceeds available HBM \(([\d.]+[KMGT])\)", message)
    return f"needs {found[1]}iB of {found[2]}iB" if found else message.splitlines()[0][:200]
