"""How much each modality matters, to a score and to single samples, and pictures of it."""

__all__: list[str] = []
