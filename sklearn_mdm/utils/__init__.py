"""What every layer uses: parameter objects, splits, threads."""

__all__: list[str] = []
