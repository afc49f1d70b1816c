"""Base training at length: in several processes, resumable after a kill, tracked."""
