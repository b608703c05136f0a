"""The pool of rendered sequences: made once, the same as rendered, made anew when anything differs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lmtrack_ros.core.errors import UserError
from lmtrack_ros.phantoms import PhantomParameters, open_phantom
from lmtrack_ros.phantoms.pool import Pool


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool("ultrasound", ("demo",), (3, 4), 3, tmp_path / "pool")


def test_sequence_is_that_of_the_phantom(pool: Pool) -> None:
    phantom = open_phantom("ultrasound", PhantomParameters(preset="demo", seed=4))
    sequence = pool.load(1)
    assert sequence.parameters == PhantomParameters(preset="demo", seed=4)
    for index in range(3):
        time_s = index / phantom.info.rate_hz
        np.testing.assert_array_equal(sequence.images[index], phantom.render(1, time_s).image)
        for estimate in phantom.truth(1, time_s).estimates:
            np.testing.assert_array_equal(sequence.uv_px[estimate.id][index], estimate.uv_px)
        for name, mask in phantom.masks(time_s).items():
            np.testing.assert_array_equal(sequence.masks[name][index], mask)


def test_sequence_is_rendered_once(pool: Pool) -> None:
    pool.fill()
    made = {file: file.stat().st_mtime_ns for file in pool.directory.rglob("*.npy")}
    assert len([f for f in made if f.name == "images.npy"]) == len(pool) == 2
    pool.fill()
    assert {file: file.stat().st_mtime_ns for file in pool.directory.rglob("*.npy")} == made


def test_other_length_is_another_sequence(pool: Pool) -> None:
    pool.load(0)
    assert len(replace(pool, frames=2).load(0).images) == 2
    assert len(pool.load(0).images) == 3


def test_nothing_half_made_is_taken_for_whole(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool whose rendering was interrupted renders the sequence again."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.load(0)
    assert list(pool.directory.iterdir()) == []
    monkeypatch.undo()
    assert len(pool.load(0).images) == 3


def test_place_that_cannot_be_written(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "pool").touch()
    with pytest.raises(UserError, match="cannot keep"):
        pool.load(0)
