"""Pages that are written out of reports and code: the overview of the README, and the file tree."""
