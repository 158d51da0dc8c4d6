"""Edits of a project's files under a process that has read them: it goes on by what it read, and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

LOOK_EVERY_S = 1.0
Stamps = Mapping[Path, tuple[int, int]]


class Edits:
    """What becomes of the files that declare a project after this was made, which is when the process has read them.

    A look costs a ``stat`` of each; they are read again only when that shows a change.
    """

    def __init__(self, folder: Path, patterns: Sequence[str]) -> None:
        from perene.definition.project import imported_files, matching_files

        self._folder = folder.resolve()
        self._known = {*imported_files(self._folder)}
        self._known.update(path for pattern in patterns for path in matching_files(self._folder, pattern))
        self._patterns = [pattern for pattern in patterns if "**" not in pattern]  # those are no walk of all folders
        self._seen = self._judged = self._stamped()
        self._first = self._told = _digests(self._seen)

    def look(self) -> list[str]:
        """The files that are not as they were at first, told once for each change.

        What one look sees is told by the next, if that finds all as it was: an editor, or git, writes in several steps.
        """
        try:
            stamps = self._stamped()
        except OSError:  # no reason to end: the project's folder cannot be read at this moment
            return []
        before, self._seen = self._seen, stamps
        if self._seen != before or self._seen == self._judged:
            return []
        self._judged = self._seen
        digests = _digests(self._seen)
        if digests == self._told:
            return []
        self._told = digests
        return sorted({path.relative_to(self._folder).as_posix() for path, _ in digests.items() ^ self._first.items()})

    def told(self, who: str, *, again: str) -> str:
        """What a look found as a line of a log, or "": ``who goes on`` by the files as they were, until ``again``."""
        files = self.look()
        if not files:
            return ""
        return (
            f"{', '.join(files)} changed: {who} by what was read at the start (rows, source, schedule, settings); "
            "training reads the code anew, and a trained version keeps its own. To take the change over: perene check, "
            f"then start {again} again"
        )

    def _stamped(self) -> Stamps:
        from perene.definition.project import matching_files
        from perene.definition.settings import settings_file

        new = (path for pattern in self._patterns for path in matching_files(self._folder, pattern))
        stamps = {}
        for path in {settings_file(self._folder), *self._known, *new}:
            try:
                found = path.stat()
            except OSError:
                continue  # it is not there, or cannot be seen
            stamps[path] = found.st_mtime_ns, found.st_size
        return stamps


def _digests(stamps: Stamps) -> dict[Path, str]:
    from perene.storage.hashing import sha256_of

    digests = {}
    for path in stamps:
        try:
            digests[path] = sha256_of(path)
        except OSError:
            continue
    return digests
