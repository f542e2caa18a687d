"""Which seconds become one row, and how much earlier where the disk is short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgate.store.blocks import AS_PLANNED, COARSE, MIDDLE, Block, Blocks, Horizon
from loadgate.store.disk_need import Disk, level_of

MB = 10**6


@pytest.mark.parametrize(
    ("second", "span", "block"),
    [
        (5, MIDDLE, Block(0, 10)),
        (29, MIDDLE, Block(20, 30)),
        # The steady phase begins at 35: the block before it ends there, and its own begin there.
        (34, MIDDLE, Block(30, 35)),
        (35, MIDDLE, Block(35, 45)),
        (100, COARSE, Block(95, 135)),
        (135, COARSE, Block(135, 195)),
    ],
)
def test_blocks_begin_with_the_steady_phase(second: int, span: int, block: Block) -> None:
    """With steady load from 35 s to 135 s, whole minutes of it are rows: 35..95, and 40 s that are left."""
    assert Blocks([(35.0, 135.0)]).block(second, span) == block


def test_a_fraction_of_a_second_at_an_edge_is_a_block_of_its_own() -> None:
    """Steady load from 12.6 s: the second 12 is neither before it nor whole in it."""
    blocks = Blocks([(12.6, 100.0)])
    assert [blocks.block(at, MIDDLE) for at in (11, 12, 13)] == [Block(10, 12), Block(12, 13), Block(13, 23)]


def test_what_lies_across_blocks_is_in_none() -> None:
    """A longer row of a worker that was away is merged only where one block holds it all."""
    blocks = Blocks([(0.0, 1000.0)])
    assert (blocks.holds(8, 12, MIDDLE), blocks.holds(8, 12, COARSE)) == (None, Block(0, 60))


@given(
    starts=st.lists(st.floats(0, 500), max_size=4),
    second=st.integers(-10, 1200),
    span=st.sampled_from([MIDDLE, COARSE]),
)
def test_every_second_is_in_one_block_and_minutes_hold_tens(
    starts: list[float], second: int, span: int
) -> None:
    """All seconds of a block have that block, and a block of ten seconds lies in one of a minute."""
    ends = sorted(starts)
    blocks = Blocks(list(zip(ends[::2], ends[1::2], strict=False)))
    block = blocks.block(second, span)
    assert block.first <= second < block.end <= block.first + span
    assert {blocks.block(at, span) for at in range(*block)} == {block}
    middle = blocks.block(second, MIDDLE)
    coarse = blocks.block(second, COARSE)
    assert coarse.first <= middle.first < middle.end <= coarse.end


@pytest.mark.parametrize(
    ("disk", "level"),
    [
        (Disk(0, 2**40), 0),
        (Disk(319 * MB, 2**40, 400 * MB), 0),
        (Disk(321 * MB, 2**40, 400 * MB), 1),
        (Disk(362 * MB, 2**40, 400 * MB), 3),
        (Disk(900 * MB, 2**40, 400 * MB), 7),
        (Disk(0, 2**30 - 1), 1),
        (Disk(0, 2**28), 2),
        (Disk(0, 0), 7),
    ],
)
def test_rows_are_merged_earlier_where_the_disk_is_short(disk: Disk, level: int) -> None:
    """From 80 % of the budget, a level more each 5 %; below 1 GiB free, a level more with each half."""
    assert level_of(disk) == level


def test_each_level_halves_and_a_minute_stays() -> None:
    """An hour and a day become half an hour and half a day; never less than 60 s and 10 min."""
    assert AS_PLANNED.earlier(1) == Horizon(1800, 43_200)
    assert AS_PLANNED.earlier(7) == Horizon(60, 675)
    assert AS_PLANNED.earlier(20) == Horizon(60, 600)
