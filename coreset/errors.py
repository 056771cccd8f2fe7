"""Everything that coreset raises on purpose.

::

    CoresetError            base; never raised itself
    ├── RequestError        the request is wrong: job file, option, path, header of an input   (exit status 2)
    └── WorkError           the work failed                                                    (exit status 1)
        └── DataError       the data itself is bad: NaN, truncation, lost electrons            (exit status 1)

A message is one short paragraph: the place (file and line, or key), what was expected, what was found, the way out.
`RequestError` and `DataError` are `ValueError`s too, so that callers of the Python functions need not know this tree.
"""


def brief(told: object) -> str:
    """What another library's exception or a file says, on one line of at most 200 characters, to be quoted."""
    return " ".join(str(told).split())[:200]


class CoresetError(Exception):
    """Base of the tree; `status` is the exit status that the command line gives it."""

    status = 1


class RequestError(CoresetError, ValueError):
    """The request was wrong, and nothing was started or written."""

    status = 2


class WorkError(CoresetError):
    """The work was begun and failed; what was finished is kept, so running again resumes."""


class DataError(WorkError, ValueError):
    """An input holds what no computation should use."""
