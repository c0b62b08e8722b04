"""The version, where everything below the package's top can read it."""

__version__ = "0.1.0.dev0"
