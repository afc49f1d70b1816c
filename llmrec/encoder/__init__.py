"""One pretrained transformer, two jobs: item text to a vector, and a prompt of item slots to a user vector."""
