"""What can be bought: names, sizes and hosts as Google's pages list them; everything else names the nearest."""

import pytest

from rlscale_jax.planning import topologies


@pytest.mark.parametrize(
    ("name", "accelerator", "chips", "hosts"),
    [
        ("v5e:1x1", "v5litepod-1", 1, 1),
        ("v5e:2x4", "v5litepod-8", 8, 1),
        ("v5e:4x4", "v5litepod-16", 16, 4),
        ("v5e:16x16", "v5litepod-256", 256, 64),
        ("v6e:8x8", "v6e-64", 64, 16),
        ("v5p:2x2x1", "v5p-8", 4, 1),
        ("v5p:4x4x4", "v5p-128", 64, 16),
        ("v5p:8x8x8", "v5p-1024", 512, 128),
        ("v5p:4x4x28", "v5p-896", 448, 112),
        ("v5p:4x12x12", "v5p-1152", 576, 144),
        ("v5p:8x12x16", "v5p-3072", 1536, 384),
        ("v5p:8x16x16", "v5p-4096", 2048, 512),
        ("v5p:16x16x24", "v5p-12288", 6144, 1536),
        ("v4:2x2x4", "v4-32", 16, 4),
    ],
)
def test_published_slices(name, accelerator, chips, hosts):
    found = topologies.parse(name)
    assert (found.name, found.accelerator_type, found.num_chips, found.num_hosts) == (name, accelerator, chips, hosts)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("v5p:5x5x5", "v5p:4x4x8"),
        ("v5p:8x4x4", "v5p:4x4x8"),
        ("v5e:3x3", "v5e:2x4"),
        ("v5e:32x32", "v5e:16x16"),
        ("v5e:4x4x4", "v5e:8x8"),
        ("v6e:16x8", "v6e:8x16"),
        ("v5p-1024", "v5p:8x8x8"),
        ("v5litepod-16", "v5e:4x4"),
        ("v7x:2x2x1", "GKE"),
        ("h100:8", "v5e:8x8"),
        ("v5e", "v5e:8x8"),
        ("v5e:4*4", "v5e:8x8"),
    ],
)
def test_what_cannot_be_bought_names_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=nearest) as error:
        topologies.parse(name)
    assert name in str(error.value)


def test_every_shape_parses_to_itself_and_sizes_are_sold_once():
    for chip in topologies.CHIPS.values():
        sizes = [topologies.Slice(chip, shape).num_chips for shape in topologies.shapes(chip)]
        assert len(set(sizes)) == len(sizes) and max(sizes) == chip.max_chips
        for shape in topologies.shapes(chip):
            assert topologies.parse(topologies.Slice(chip, shape).name).shape == shape


def test_torus_links():
    assert topologies.parse("v5e:16x16").wraps(16) and not topologies.parse("v5e:8x8").wraps(8)
    assert topologies.parse("v5p:4x4x4").wraps(4) and not topologies.parse("v5p:2x4x4").wraps(4)
