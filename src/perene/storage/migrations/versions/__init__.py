"""One file per revision, named by its number. A revision that has been released is never changed."""
