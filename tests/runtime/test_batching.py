from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from langchain_xlm.runtime.batching import Backlog, Unit, fill_batch


def backlog(*lengths: int, group: str = "a") -> Backlog[int]:
    made: Backlog[int] = Backlog()
    made.add(
        Unit(payload=place, tokens=tokens, group=group) for place, tokens in enumerate(lengths)
    )
    return made


def test_a_batch_takes_the_longest_rows_that_fit_the_budget() -> None:
    batch = fill_batch([backlog(3, 9, 5, 8, 1)], max_tokens=20)
    assert [(place, unit.tokens) for _, place, unit in batch] == [(1, 9), (3, 8)]


def test_a_row_wider_than_the_budget_runs_alone() -> None:
    waiting = backlog(50, 60)
    assert [place for _, place, _ in fill_batch([waiting], max_tokens=20)] == [1]
    assert [place for _, place, _ in fill_batch([waiting], max_tokens=20)] == [0]
    assert not waiting


def test_rows_of_other_groups_stay() -> None:
    waiting = backlog(4, 4)
    waiting.add([Unit(payload=9, tokens=4, group="b")])
    assert {unit.group for _, _, unit in fill_batch([waiting], max_tokens=100)} == {"a"}
    assert [unit.payload for _, _, unit in fill_batch([waiting], max_tokens=100)] == [9]


def test_the_first_backlog_leads_and_others_fill_up() -> None:
    batch = fill_batch([backlog(4), backlog(100, 4, 3)], max_tokens=16)
    assert [(index, unit.tokens) for index, _, unit in batch] == [(0, 4), (1, 4), (1, 3)]


def test_rows_without_tokens_can_run() -> None:
    assert len(fill_batch([backlog(0, 0)], max_tokens=1)) == 1


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 40), st.sampled_from("ab")), max_size=12), max_size=4
    ),
    st.integers(1, 64),
)
def test_every_row_leaves_exactly_once_and_no_batch_breaks_the_budget(
    requests: list[list[tuple[int, str]]], max_tokens: int
) -> None:
    waiting = []
    for rows in requests:
        made: Backlog[tuple[int, int]] = Backlog()
        made.add(
            Unit(payload=(len(waiting), place), tokens=tokens, group=group)
            for place, (tokens, group) in enumerate(rows)
        )
        waiting.append(made)
    seen = []
    while any(waiting):
        active = [one for one in waiting if one]
        batch = fill_batch(active, max_tokens=max_tokens)
        assert batch
        width = max(unit.tokens for _, _, unit in batch)
        assert len(batch) == 1 or len(batch) * width <= max_tokens
        assert len({unit.group for _, _, unit in batch}) == 1
        for _, place, unit in batch:
            assert unit.payload[1] == place
            seen.append(unit.payload)
    expected = [(index, place) for index, rows in enumerate(requests) for place in range(len(rows))]
    assert sorted(seen) == expected
    assert all(one.tokens == 0 for one in waiting)


def test_a_batch_has_a_multiple_of_rows_where_there_are_enough() -> None:
    waiting = backlog(*[10] * 8)
    taken = [len(fill_batch([waiting], max_tokens=50, multiple=2)) for _ in range(2)]
    assert taken == [4, 4]
    assert len(fill_batch([backlog(10, 10, 10)], max_tokens=50, multiple=2)) == 3
    assert len(fill_batch([backlog(10, 10, 10)], max_tokens=20, multiple=8)) == 2
