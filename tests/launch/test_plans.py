"""The table of plans: made of what is kept, says what is missing, adds up the study."""

import json

from launch import plans, runs

NUMBERS = {
    "model": "qwen2.5-7b-base",
    "topology": "v5e:8x8",
    "accelerator_type": "v5litepod-64",
    "layout": "mesh 1x16x4, waves of 2048",
    "fits": True,
    "notes": ["Compiled by libtpu 1."],
    "peak_bytes": 12 * 2**30,
    "peak_moment": "segment",
    "limit_bytes": 15.75 * 2**30,
    "secs_per_iteration": 440.0,
    "tokens_per_sec_per_chip": 800.0,
    "mfu_bound": 0.6,
    "checkpoint_bytes": 91e9,
    "checkpoint_secs": 5.0,
    "chip_hours": 100.0,
    "compile_secs": 300.0,
    "moments": [{"name": "accumulate", "total_bytes": 7 * 2**30}, {"name": "segment", "total_bytes": 12 * 2**30}],
}


def test_the_table_is_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(plans, "ROOT", tmp_path)
    monkeypatch.setattr(plans, "KEPT", tmp_path / "docs" / "plans")
    plans.KEPT.mkdir(parents=True)
    (plans.KEPT / "qwen2.5-7b_v5e-8x8.json").write_text(json.dumps(NUMBERS))
    plans.write_table()
    text = (tmp_path / "docs" / "plans.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("| qwen2.5-7b-base")]
    assert [cell.strip() for cell in line.split("|")][2:9] == [
        "v5e:8x8 (v5litepod-64)",
        "mesh 1x16x4, waves of 2048",
        "yes",
        "12.0 (segment)",
        "15.8",
        "7.0",
        "12.0",
    ]
    assert "Not planned yet: qwen2.5-0.5b_v5e-4x4" in text
    # 6 main runs; 2 x 9 of 100 steps; 2 x groups of 4, 16 and 32
    amount = 6 + 18 * 100 / 105 + 2 * (4 + 16 + 32) / 8
    assert f"| qwen2.5-7b | v5e:8x8 | 30 | 100 | {100 * amount:,.0f} |" in text


def test_every_run_of_the_study_belongs_to_one_home():
    amounts = [runs.amount(config, topology) for config, topology, *_ in plans.HOMES.values()]
    assert sum(number for number, _ in amounts) == 7 * 6 + 24 + 4 * 3
    assert all(standard > 0 for _, standard in amounts)
    assert len(plans.HOMES) == 11 and len(plans.CASES) == 31
