"""What the records say of the paper's claims, in Markdown."""
