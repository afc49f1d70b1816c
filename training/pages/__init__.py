"""Pages that are written out of reports and code: the figures and tables of the README, and the file tree."""
