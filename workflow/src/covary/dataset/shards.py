"""Pure arithmetic of shards: which subjects each one holds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """The subjects `start … stop - 1`, written by one job."""

    index: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def partition(n_subjects: int, shard_subjects: int) -> list[Shard]:
    """Cut subjects into consecutive shards; only the last may be short.

    Raises ValueError if either number is below 1.
    """
    if n_subjects < 1 or shard_subjects < 1:
        raise ValueError(
            f"need at least 1 subject and 1 subject per shard, got {n_subjects} and {shard_subjects}"
        )
    starts = range(0, n_subjects, shard_subjects)
    return [Shard(i, start, min(start + shard_subjects, n_subjects)) for i, start in enumerate(starts)]
