"""LoRA weights as values, batched from birth, and PEFT's format at the edges."""
