"""LoRA weights as batched values, and conversion from and to PEFT's format."""
