"""New scenes: what a few users of a catalogue or a category that nobody trained on are worth."""
