"""The eleven methods that the demonstration used to compare: ablations of the adapter, and LoRA for a held-out category."""
