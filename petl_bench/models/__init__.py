"""ViCLIP and CLIP as one dual encoder: towers, attachment sites, tokenizer, checkpoints."""
