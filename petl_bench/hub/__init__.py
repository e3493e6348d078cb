"""The Hugging Face Hub: adapters and data sets that are fetched from it, adapters that are pushed to it."""
