"""Run a gallery script from the command line and keep what it prints and draws."""

import argparse
import os
import runpy
import sys
from pathlib import Path


class Tee:
    """Write to several streams at once."""

    def __init__(self, *streams):
        self.streams = streams

    def write(self, text):
        """Write text to every stream."""
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self):
        """Flush every stream."""
        for stream in self.streams:
            stream.flush()


def main():
    """Run one script; write ``<name>.txt`` and ``<name>_<number>.png`` to the output folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("script", type=Path)
    parser.add_argument("--output", type=Path, default=Path("results"))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)

    # Set before pyplot is imported: the script must run where there is no screen.
    os.environ["MPLBACKEND"] = "Agg"
    import matplotlib.pyplot as plt

    # Gallery scripts end a cell with plt.show(), which would warn here and which some back ends follow by closing.
    plt.show = lambda *args, **kwargs: None

    name = args.script.stem
    for stale in args.output.glob(f"{name}_*.png"):
        stale.unlink()
    text = args.output / f"{name}.txt"
    stdout = sys.stdout
    with text.open("w", encoding="utf-8") as file:
        sys.stdout = Tee(stdout, file)
        try:
            runpy.run_path(str(args.script), run_name="__main__")
        finally:
            sys.stdout = stdout

    written = [text]
    for number, figure in enumerate(map(plt.figure, plt.get_fignums()), start=1):
        written.append(args.output / f"{name}_{number}.png")
        figure.savefig(written[-1], dpi=120, bbox_inches="tight")
    print("\nwritten:")
    for path in written:
        print(f"  {path}")


if __name__ == "__main__":
    main()
