"""`lay_out`: a model's weights as decoding wants them, once per policy version.

On every device they are cast and placed for decoding; CPUs multiply faster by matrices with columns side by side, and
few rows by large matrices faster where these are cut into tiles (figures in benchmarks/NOTES.md).
"""

import jax.numpy as jnp

from rlscale_jax.models import Model, mesh, runtime
from rlscale_jax.sampler import programs

FEW_ROWS = 12  # up to here reading large weights from memory takes longer than multiplying by them


def lay_out(model: Model, dtype=None, *, rows: int = 0) -> Model:
    """The model with parameters laid out for decoding, cast to `dtype`; unchanged when they already are.

    On a trainer's mesh they are moved to its sampler's (`mesh.for_sampling`).

    `rows` is how many sequences will decode at a time, 0 for many.
    """
    dtype = jnp.dtype(dtype or model.dtype)
    if isinstance(model.params["layers"], list) and dtype == model.dtype:
        return model
    devices = model.params["embed"]["embedding"].sharding.device_set
    on_cpu = all(device.platform == "cpu" for device in devices)
    large = model.architecture.num_params * dtype.itemsize > runtime.CPU_CACHE_BYTES
    cut = on_cpu and large and 0 < rows <= FEW_ROWS
    with mesh.of(model.params, to_sample=True):
        trained_on = mesh.trained_on(model.params)
        params = programs.lay_out(model.params, dtype=dtype, own_head=on_cpu, cut=cut, trained_on=trained_on)
    return Model(model.architecture, params)
