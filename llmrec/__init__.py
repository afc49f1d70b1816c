"""llmrec: learn a new shopper or a new category in milliseconds."""
