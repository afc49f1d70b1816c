"""New scenes: windows of behaviour, their signatures, and whether they are what is known."""
