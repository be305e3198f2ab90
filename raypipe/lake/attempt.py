"""One try at a commit: a folder for its files, which goes again when it is sure that nobody will ever name them."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from sqlalchemy.exc import DBAPIError

from raypipe.lake import storage
from raypipe.lake.state import has_attempt


@contextmanager
def attempt(table: Table) -> Iterator[str]:
    """A new folder, whose last part names the attempt; the commit says that name.

    A commit whose answer was lost is looked up, and is a success when it is there. When it is not, the catalog may
    still be about to make it: the files stay, and go as orphans if it never does.
    """
    name = f"{table.metadata.next_sequence_number():08d}-{uuid.uuid4().hex[:8]}"
    folder = f"{table.location()}/data/{name}"
    storage.make_folder(folder)
    try:
        yield folder
    except BaseException as error:
        if has_attempt(table.refresh(), name):
            if isinstance(error, Exception):
                return
        elif not isinstance(error, DBAPIError):
            storage.remove_folder(folder)
        if isinstance(error, FileNotFoundError) and name in str(error):
            raise CommitFailedException("what was written was taken away meanwhile, to be forgotten") from None
        raise
