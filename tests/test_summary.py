"""What a summary says of trainings."""

from coreset.summary import slowed


def test_slower_second_tries_are_told_by_run_where_there_are_any() -> None:
    assert slowed([{"loss": 0.1}, {"loss": 0.2}]) == {}
    assert slowed([{"loss": 0.1}, {"loss": 0.2, "slowed_to": 1e-4}]) == {"slowed_to": [None, 1e-4]}
